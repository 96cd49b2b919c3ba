//! Clients of PostgreSQL that know nothing of Palisade, from npm and PyPI: drivers, and whole job libraries.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::npm;

/// The `node_modules` of the demo's small app: the driver `pg`.
///
/// # Panics
/// If npm cannot install it; the message says why.
#[must_use]
pub fn atom() -> PathBuf {
    installed("../../scripts/atom", "atom")
}

/// The `node_modules` with pg-boss and graphile-worker.
///
/// # Panics
/// If npm cannot install them; the message says why.
#[must_use]
pub fn queues() -> PathBuf {
    installed("queues", "queues")
}

/// The `node_modules` with Prisma's client and its adapter for PostgreSQL, and the client of the jobs table for them.
///
/// # Panics
/// If npm cannot install them; the message says why.
#[must_use]
pub fn prisma() -> (PathBuf, PathBuf) {
    let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("prisma/client.mjs");
    (with("prisma", "prisma", &["--omit=optional", "--omit=peer"]), client)
}

/// A folder for `PYTHONPATH` with psycopg and SQLAlchemy.
///
/// # Panics
/// If pip cannot install them; the message says why.
#[must_use]
pub fn python() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = manifest.join("../../.cache/python");
    let complete = folder.join(".complete");
    fs::create_dir_all(&folder).expect("the files of a test can be written");
    let lock = File::create(folder.with_extension("lock")).expect("the files of a test can be written");
    lock.lock().expect("the files of a test can be written");
    let wanted =
        fs::read_to_string(manifest.join("python/requirements.txt")).expect("it is in the repository");
    if fs::read_to_string(&complete).is_ok_and(|there| there == wanted) {
        return folder;
    }
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--upgrade",
        "--only-binary",
        ":all:",
        "--target",
    ]);
    let ran = pip.arg(&folder).arg("-r").arg(manifest.join("python/requirements.txt")).output();
    let ran = ran.expect("python3 is missing: apt-get install python3-pip");
    assert!(
        ran.status.success(),
        "`python3 -m pip install` failed; pip has to be there, and PyPI reachable once: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    fs::write(&complete, wanted).expect("the files of a test can be written");
    folder
}

fn installed(locks: &str, name: &str) -> PathBuf {
    with(locks, name, &[])
}

fn with(locks: &str, name: &str, options: &[&str]) -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = manifest.join("../../.cache").join(name);
    npm::install(&manifest.join(locks), &folder, options, |_| Ok(()))
        .unwrap_or_else(|error| panic!("{error}"));
    folder.join("node_modules")
}
