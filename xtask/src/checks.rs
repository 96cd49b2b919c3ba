//! The rules, one module each. Every check is a function from the repository to violations.

mod arrows;
pub(crate) mod budget;
mod callers;
mod canonical;
mod forbidden;
mod links;
mod pages;
mod places;
mod purity;
mod size;

use crate::repository::Repository;
use crate::violation::Violation;

type Check = fn(&Repository) -> Vec<Violation>;

/// Every check that needs nothing but the files.
const CHECKS: [Check; 9] = [
    pages::check,
    purity::check,
    arrows::check,
    callers::check,
    forbidden::check,
    size::check,
    places::check,
    canonical::check,
    links::check,
];

/// What all of them find.
pub(crate) fn all(repository: &Repository) -> Vec<Violation> {
    CHECKS.iter().flat_map(|check| check(repository)).collect()
}

/// The messages that `check` has for a repository of `files`, as `file:line: message`.
#[cfg(test)]
fn found(check: Check, files: &[(&str, &str)]) -> Vec<String> {
    check(&Repository::of(files)).iter().map(ToString::to_string).collect()
}
