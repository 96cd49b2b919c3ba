//! Clients of PostgreSQL that know nothing of Palisade, from the npm registry: a driver, and whole job libraries.

use std::path::{Path, PathBuf};

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

fn installed(locks: &str, name: &str) -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = manifest.join("../../.cache").join(name);
    npm::install(&manifest.join(locks), &folder, &[], |_| Ok(())).unwrap_or_else(|error| panic!("{error}"));
    folder.join("node_modules")
}
