//! No file without end.

use crate::repository::Repository;
use crate::violation::Violation;

/// Lines of one Rust file, without its tests.
const MOST: usize = 600;

/// Counts the lines that are no tests.
pub(crate) fn check(repository: &Repository) -> Vec<Violation> {
    let sizes = repository.rust().map(|file| (file.path(), file.production().len()));
    let large = sizes.filter(|(_, lines)| *lines > MOST);
    large
        .map(|(path, lines)| {
            Violation::new(
                path,
                MOST + 1,
                format!("{lines} lines without tests, at most {MOST}: split by concept"),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::found;
    use super::*;

    #[test]
    fn lines_of_tests_do_not_count() {
        let most = "fn a() {}\n".repeat(MOST);
        let with_tests = format!("{most}#[cfg(test)]\nmod tests {{\n}}\n");
        assert_eq!(found(check, &[("crates/x/src/a.rs", &with_tests)]), [""; 0]);
        let more = format!("{most}fn b() {{}}\n");
        assert_eq!(
            found(check, &[("crates/x/src/a.rs", &more), ("crates/x/tests/a.rs", &more)]),
            ["crates/x/src/a.rs:601: 601 lines without tests, at most 600: split by concept",]
        );
    }
}
