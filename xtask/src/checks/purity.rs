//! Pure crates do no IO, read no clock and no environment, and have no async functions.

use crate::repository::Repository;
use crate::source::has_word;
use crate::violation::Violation;

/// Crates that only decide. Those that do not exist yet are listed so that they are born pure.
const PURE: [&str; 6] = ["core", "audit", "ci", "lease", "jobs", "scan"];

const WORDS: [&str; 11] = [
    "async fn",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::env",
    "SystemTime::now",
    "Instant::now",
    "println!",
    "eprintln!",
    "tokio::",
];

/// Modules that must not come in through `use std::{...}` either.
const MODULES: [&str; 5] = ["fs", "net", "os", "process", "env"];

/// Looks at all lines of pure crates that are not tests.
pub(crate) fn check(repository: &Repository) -> Vec<Violation> {
    // The suite that a crate has for the stores of its trait is a test, behind a feature.
    let is_suite = |path: &str| path.contains("/src/conformance");
    let is_pure = |path: &str| PURE.iter().any(|name| path.starts_with(&format!("crates/{name}/src/")));
    let is_pure = |path: &str| is_pure(path) && !is_suite(path);
    let files = repository.rust().filter(|file| is_pure(file.path()));
    let mut found = Vec::new();
    for file in files {
        for (number, line) in file.production() {
            found.extend(impure(line).map(|word| {
                let message = format!("`{word}` in a pure crate: time, bytes and surroundings are arguments");
                Violation::new(file.path(), number, message)
            }));
        }
    }
    found
}

fn impure(line: &str) -> Option<&'static str> {
    let named = WORDS.into_iter().find(|word| has_word(line, word));
    let grouped = || {
        let (_, group) = line.split_once("std::{")?;
        let mut names = group.split([',', '{', '}', ';']).map(str::trim);
        let first = |name: &str| name.split("::").next().unwrap_or_default().to_owned();
        names.find_map(|name| MODULES.into_iter().find(|module| first(name) == *module))
    };
    named.or_else(grouped)
}

#[cfg(test)]
mod tests {
    use super::super::found;
    use super::*;

    #[test]
    fn io_and_clocks_are_found_in_pure_crates_only() {
        let text = "use std::fs;\nasync fn a() {}\nlet t = Instant::now();\n// std::env\nuse std::{fmt, net::TcpStream};\n";
        let expected = "in a pure crate: time, bytes and surroundings are arguments";
        assert_eq!(
            found(check, &[("crates/core/src/a.rs", text), ("crates/host/src/a.rs", text)]),
            [
                format!("crates/core/src/a.rs:1: `std::fs` {expected}"),
                format!("crates/core/src/a.rs:2: `async fn` {expected}"),
                format!("crates/core/src/a.rs:3: `Instant::now` {expected}"),
                format!("crates/core/src/a.rs:5: `net` {expected}"),
            ]
        );
    }

    #[test]
    fn tests_of_pure_crates_may_do_what_they_need() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    use std::env;\n}\n";
        let suite = ("crates/jobs/src/conformance/keys.rs", "async fn a() {}");
        assert_eq!(
            found(
                check,
                &[("crates/core/src/a.rs", text), ("crates/core/tests/a.rs", "use std::fs;"), suite]
            ),
            [""; 0]
        );
    }
}
