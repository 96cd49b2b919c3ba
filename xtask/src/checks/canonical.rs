//! Each check that can be switched off has a canonical test, which must then fail.

use std::collections::BTreeSet;

use crate::repository::Repository;
use crate::source::{Line, Source};
use crate::violation::Violation;

const CHECKS: &str = "crates/core/src/ablation.rs";
const PREFIX: &str = "canonical_";

/// Compares `Check::ALL` with the names of the tests: `canonical_foreign_target_...` belongs to "foreign-target".
pub(crate) fn check(repository: &Repository) -> Vec<Violation> {
    let Some(source) = repository.file(CHECKS) else {
        return vec![Violation::new(CHECKS, 1, "is not there: checks are read from it")];
    };
    let checks: Vec<(usize, &str)> = source.lines().filter_map(name_of_check).collect();
    let mut found = Vec::new();
    if checks.is_empty() {
        found.push(Violation::new(
            CHECKS,
            1,
            "no check was found in it: is `Check::ALL` written in another way?",
        ));
    }
    let mut tested = BTreeSet::new();
    let files = repository.rust().filter(|file| file.path().starts_with("crates/"));
    let tests: Vec<_> = files.flat_map(canonical_tests).collect();
    found.extend(unknown_in_documents(repository, &tests.iter().map(|(_, _, name)| *name).collect()));
    for (file, number, name) in tests {
        match check_of(name, checks.iter().map(|(_, check)| *check)) {
            Some(check) => {
                tested.insert(check);
            }
            None => {
                let message = format!("{name} names no check of Check::ALL");
                found.push(Violation::new(file.path(), number, message));
            }
        }
    }
    found.extend(checks.iter().filter(|(_, check)| !tested.contains(check)).map(|(line, check)| {
        let test = check.replace('-', "_");
        Violation::new(CHECKS, *line, format!("check \"{check}\" has no canonical test {PREFIX}{test}_..."))
    }));
    found
}

/// Canonical tests that a document names and that are not there. `canonical_share_...` stands for a beginning.
fn unknown_in_documents(repository: &Repository, tests: &BTreeSet<&str>) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in repository.files().filter(|file| file.path().ends_with(".md")) {
        for (number, line) in file.lines() {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let words = line.split(|c: char| !is_name(c)).filter(|word| word.starts_with(PREFIX));
            let whole = words.filter(|word| !word.ends_with('_') && !tests.contains(word));
            found.extend(whole.map(|word| {
                Violation::new(file.path(), number, format!("{word} is named here and is no test in crates/"))
            }));
        }
    }
    found
}

/// The name in a line like `(Self::ForeignTarget, "foreign-target"),`.
fn name_of_check((number, line): Line<'_>) -> Option<(usize, &str)> {
    let (_, rest) = line.trim().strip_prefix("(Self::")?.split_once(", \"")?;
    Some((number, rest.strip_suffix("\"),")?))
}

fn canonical_tests(file: &Source) -> impl Iterator<Item = (&Source, usize, &str)> {
    file.code().filter_map(move |(number, line)| {
        let (_, rest) = line.split_once("fn ")?;
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        rest.starts_with(PREFIX).then_some((file, number, &rest[..end]))
    })
}

/// The check with the longest name that `test` begins with.
fn check_of<'a>(test: &str, checks: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let rest = test.strip_prefix(PREFIX)?;
    let names = |check: &&str| {
        let name = check.replace('-', "_");
        rest.strip_prefix(&name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    };
    checks.filter(names).max_by_key(|check| check.len())
}

#[cfg(test)]
mod tests {
    use super::super::found;
    use super::*;

    const TWO: (&str, &str) =
        (CHECKS, "    (Self::Share, \"share\"),\n    (Self::TargetPin, \"target-pin\"),\n");

    #[test]
    fn every_check_has_its_test() {
        let tests = "fn canonical_share_seven_of_eight() {}\nasync fn canonical_target_pin() {}\n";
        assert_eq!(found(check, &[TWO, ("crates/core/tests/a.rs", tests)]), [""; 0]);
    }

    #[test]
    fn a_check_without_test_and_a_test_without_check_are_found() {
        let tests =
            "fn canonical_shared_thing() {}\n// fn canonical_target_pin() {}\nfn canonical_share() {}\n";
        assert_eq!(
            found(check, &[TWO, ("crates/core/tests/a.rs", tests)]),
            [
                "crates/core/tests/a.rs:1: canonical_shared_thing names no check of Check::ALL",
                "crates/core/src/ablation.rs:2: check \"target-pin\" has no canonical test canonical_target_pin_...",
            ]
        );
    }

    #[test]
    fn a_document_names_tests_that_are_there() {
        let tests = "fn canonical_share() {}\nfn canonical_target_pin() {}\n";
        let page = "`canonical_share`, `canonical_<check>_...`, `canonical_share_...`\n`canonical_pin`\n";
        assert_eq!(
            found(check, &[TWO, ("crates/core/tests/a.rs", tests), ("docs/a.md", page)]),
            ["docs/a.md:2: canonical_pin is named here and is no test in crates/",]
        );
    }

    #[test]
    fn the_longest_name_wins() {
        let checks = ["share", "share-of-all"];
        assert_eq!(check_of("canonical_share_of_all_is_refused", checks.into_iter()), Some("share-of-all"));
        assert_eq!(check_of("canonical_share_of_some", checks.into_iter()), Some("share"));
    }
}
