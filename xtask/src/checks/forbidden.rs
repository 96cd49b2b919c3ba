//! What stands nowhere, tests included.

use crate::repository::Repository;
use crate::source::has_word;
use crate::violation::Violation;

const FORBIDDEN: [(&str, &str); 6] = [
    ("#[allow(", "use #[expect(.., reason = \"..\")]"),
    ("#![allow(", "use #![expect(.., reason = \"..\")]"),
    ("todo!", "finish it, or leave it out"),
    ("unimplemented!", "finish it, or leave it out"),
    ("dbg!", "take it out"),
    ("#[ignore", "a test runs, or is deleted"),
];

/// Looks through all Rust code.
pub(crate) fn check(repository: &Repository) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in repository.rust() {
        for (number, line) in file.code() {
            let words = FORBIDDEN.iter().filter(|(word, _)| has_word(line, word));
            found.extend(
                words.map(|(word, fix)| Violation::new(file.path(), number, format!("`{word}`: {fix}"))),
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::found;
    use super::*;

    #[test]
    fn forbidden_words_are_found_in_code_and_not_in_text() {
        let text =
            "#[allow(unused)]\nfn a() { todo!() }\n// todo! later\nlet s = \"dbg!\";\n#[ignore]\nfn b() {}\n";
        assert_eq!(
            found(check, &[("crates/x/tests/a.rs", text)]),
            [
                "crates/x/tests/a.rs:1: `#[allow(`: use #[expect(.., reason = \"..\")]",
                "crates/x/tests/a.rs:2: `todo!`: finish it, or leave it out",
                "crates/x/tests/a.rs:5: `#[ignore`: a test runs, or is deleted",
            ]
        );
    }
}
