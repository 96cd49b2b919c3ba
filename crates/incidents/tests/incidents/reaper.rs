//! 2026-05-04, end to end: the demo's small app, its worker and the stale reaper, on a real server.

use std::path::Path;
use std::process::Command;

use palisade_testkit::{Postgres, clients};

use crate::site::binary;

/// Each act of the script insists on its own outcome, and it ends what it started.
fn goes_as_told(version: &str, server: &str, choose: &[(&str, &str)]) {
    let programs = Postgres::programs(version);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/demo-database.sh");
    let mut demo = Command::new("sh");
    demo.arg(&script)
        .env("PALISADE", binary())
        .env("ATOM_MODULES", clients::atom())
        .envs(choose.iter().copied());
    let ran = demo.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{} {said}", programs.display());
    for part in [server, "reaper: 2 jobs cancelled", "ERROR PL301", "Each act went as told."] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn unguarded_the_stale_reaper_takes_the_jobs_and_guarded_it_is_named_undone_and_refused() {
    goes_as_told("15", "(PostgreSQL) ", &[]);
}

#[test]
fn the_same_on_the_postgresql_that_comes_from_npm_where_none_is_installed() {
    goes_as_told("18", "(PostgreSQL) 18.", &[("PALISADE_DEMO_NPM_POSTGRES", "1")]);
}
