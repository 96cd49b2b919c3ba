//! Every code has a page, and every page a code.

use std::collections::BTreeMap;

use crate::repository::Repository;
use crate::source::Source;
use crate::violation::Violation;

const CODES: &str = "crates/core/src/code.rs";
const PAGES: &str = "docs/errors/";

/// A code as `code.rs` has it.
struct Code {
    line: usize,
    title: String,
}

/// Compares the codes of `code.rs` with the first lines of the pages.
pub(crate) fn check(repository: &Repository) -> Vec<Violation> {
    let Some(source) = repository.file(CODES) else {
        return vec![Violation::new(CODES, 1, "is not there: codes are read from it")];
    };
    let codes = codes(source);
    let mut found = Vec::new();
    if codes.is_empty() {
        found.push(Violation::new(CODES, 1, "no code was found in it: is `codes!` written in another way?"));
    }
    for (number, code) in &codes {
        let path = format!("{PAGES}PAL-{number}.md");
        let expected = format!("# PAL-{number}: {}", code.title);
        match repository.file(&path).map(|page| page.lines().next().map_or("", |(_, line)| line)) {
            None => found.push(Violation::new(CODES, code.line, format!("PAL-{number} has no page {path}"))),
            Some(first) if first != expected => {
                found.push(Violation::new(&path, 1, format!("the first line must be {expected:?}")));
            }
            Some(_) => {}
        }
    }
    let pages = repository.files().filter(|file| file.path().starts_with(PAGES));
    let orphans =
        pages.filter(|file| !number_of(file.path()).is_some_and(|number| codes.contains_key(number)));
    found.extend(orphans.map(|page| Violation::new(page.path(), 1, "is the page of no code")));
    found
}

/// The digits in `docs/errors/PAL-101.md`.
fn number_of(path: &str) -> Option<&str> {
    path.strip_prefix(PAGES)?.strip_prefix("PAL-")?.strip_suffix(".md")
}

/// Lines like `ForeignTarget = 101, "a title";`, by number in three digits.
fn codes(source: &Source) -> BTreeMap<String, Code> {
    source.lines().filter_map(|(line, text)| code(line, text)).collect()
}

fn code(line: usize, text: &str) -> Option<(String, Code)> {
    let (variant, rest) = text.trim().split_once(" = ")?;
    let (number, title) = rest.strip_suffix("\";")?.split_once(", \"")?;
    let number = number.parse::<u16>().ok()?;
    let is_name = variant.chars().all(char::is_alphanumeric);
    is_name.then(|| (format!("{number:03}"), Code { line, title: title.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::super::found;
    use super::*;

    const ONE: (&str, &str) = (CODES, "codes! {\n    /// Doc.\n    One = 1, \"a title\";\n}\n");

    #[test]
    fn a_page_with_the_codes_title_is_right() {
        assert_eq!(
            found(check, &[ONE, ("docs/errors/PAL-001.md", "# PAL-001: a title\n\nText.\n")]),
            [""; 0]
        );
    }

    #[test]
    fn a_missing_page_another_title_and_an_orphan_are_found() {
        assert_eq!(
            found(check, &[ONE]),
            ["crates/core/src/code.rs:3: PAL-001 has no page docs/errors/PAL-001.md",]
        );
        let pages = [ONE, ("docs/errors/PAL-001.md", "# PAL-001: other\n"), ("docs/errors/PAL-009.md", "")];
        assert_eq!(
            found(check, &pages),
            [
                "docs/errors/PAL-001.md:1: the first line must be \"# PAL-001: a title\"",
                "docs/errors/PAL-009.md:1: is the page of no code",
            ]
        );
    }
}
