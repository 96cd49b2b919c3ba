//! Repository chores: `cargo xtask tidy` checks the rules of this house that a program can check.
//!
//! It reads the files that git tracks and knows Rust only as text without comments and strings ([`source`]), so
//! a rule can be got round on purpose. It is there to catch what is forgotten.

mod checks;
mod repository;
mod source;
mod violation;

use std::io::{self, Write as _};
use std::process::ExitCode;

use repository::Repository;

fn main() -> io::Result<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => tidy(),
        _ => {
            writeln!(io::stderr(), "usage: cargo xtask tidy")?;
            Ok(ExitCode::from(2))
        }
    }
}

/// Runs every check and prints what it finds, in the order of the files.
fn tidy() -> io::Result<ExitCode> {
    let repository = Repository::read()?;
    let tree = checks::budget::Tree::of(&repository)?;
    let firewall = checks::budget::Tree::of_firewall(&repository)?;
    let mut found = checks::all(&repository);
    found.extend(checks::budget::check(&tree));
    found.extend(checks::budget::check(&firewall));
    found.sort();
    found.dedup();
    let mut out = io::stdout().lock();
    for violation in &found {
        writeln!(out, "{violation}")?;
    }
    writeln!(
        out,
        "tidy: {} files, {} crates on the guard path and {} in the firewall (at most {}), {} lines of the firewall's own, \
         {} violations",
        repository.len(),
        tree.count(),
        firewall.count(),
        checks::budget::MOST,
        checks::budget::lines_of_firewall(&repository),
        found.len()
    )?;
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
