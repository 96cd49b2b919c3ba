//! The guard path stays small: few crates stand between a request and the daemon.

use std::collections::BTreeSet;
use std::io;
use std::process::Command;

use crate::repository::Repository;
use crate::violation::Violation;

/// Crates that the guard path may be built from, its own included.
pub(crate) const MOST: usize = 60;

const GUARD_PATH: [&str; 5] =
    ["palisade-core", "palisade-host", "palisade-journal", "palisade-pipeline", "palisade-pm2"];

/// The firewall, which adds the reader of the policy to it.
const FIREWALL: [&str; 1] = ["palisade-firewall"];

/// What `cargo tree` says of the guard path.
#[derive(Debug)]
pub(crate) struct Tree {
    names: BTreeSet<String>,
    /// Of what it is.
    what: &'static str,
    /// What cargo said where it failed.
    failure: Option<String>,
}

impl Tree {
    /// Asks cargo. The lock file must be up to date.
    ///
    /// # Errors
    /// Cargo cannot be run. That it fails is a violation instead.
    pub(crate) fn of(repository: &Repository) -> io::Result<Self> {
        Self::of_packages(repository, "the guard path", &GUARD_PATH)
    }

    /// As [`Self::of`], for the firewall by itself.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(crate) fn of_firewall(repository: &Repository) -> io::Result<Self> {
        Self::of_packages(repository, "the firewall", &FIREWALL)
    }

    fn of_packages(repository: &Repository, what: &'static str, packages: &[&str]) -> io::Result<Self> {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(repository.root()).args(["tree", "--locked", "-e", "normal", "--prefix", "none"]);
        let output = cargo.args(packages.iter().flat_map(|name| ["-p", name])).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let failure = (!output.status.success()).then(|| said.lines().next().unwrap_or_default().to_owned());
        Ok(Self { names: names(&String::from_utf8_lossy(&output.stdout)), what, failure })
    }

    /// Distinct names of crates.
    pub(crate) fn count(&self) -> usize {
        self.names.len()
    }
}

/// Lines of Rust in the firewall's own crate, without empty ones, comments and tests.
pub(crate) fn lines_of_firewall(repository: &Repository) -> usize {
    let own = repository.rust().filter(|file| file.path().starts_with("crates/firewall/src/"));
    own.flat_map(|file| file.production()).filter(|(_, line)| !line.trim().is_empty()).count()
}

/// Holds the count against the budget.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let said = |message: String| vec![Violation::new("Cargo.lock", 1, message)];
    match &tree.failure {
        Some(failure) => said(format!("cargo tree failed: {failure}")),
        None if tree.count() > MOST => said(format!(
            "{} is built from {} crates, at most {MOST}: `cargo tree -e normal` shows them",
            tree.what,
            tree.count()
        )),
        None => Vec::new(),
    }
}

fn names(tree: &str) -> BTreeSet<String> {
    tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_counts_once_whatever_its_versions() {
        let names = names("serde v1.0.2\n  \nserde v1.0.1 (*)\nserde_core v1.0.2\n");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["serde", "serde_core"]);
    }

    #[test]
    fn too_many_crates_and_a_failing_cargo_are_violations() {
        let tree = |count: usize, failure: Option<&str>| Tree {
            names: (0..count).map(|number| number.to_string()).collect(),
            what: "the guard path",
            failure: failure.map(str::to_owned),
        };
        assert_eq!(check(&tree(MOST, None)), []);
        assert!(
            check(&tree(MOST + 1, None))[0].message.starts_with("the guard path is built from 61 crates")
        );
        assert_eq!(check(&tree(0, Some("error: x")))[0].message, "cargo tree failed: error: x");
    }
}
