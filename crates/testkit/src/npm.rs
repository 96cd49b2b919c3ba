//! Packages from the npm registry, installed once from a lock file of this crate into `.cache/`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why a package could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum NpmError {
    /// A file could not be made.
    #[error("cannot {what} {path}")]
    Files {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// npm is missing or failed.
    #[error(
        "`npm ci` in {folder} failed: {message}\n\
         Node 18 or later with npm has to be on the PATH, and the npm registry reachable once"
    )]
    Npm {
        /// Where it ran.
        folder: PathBuf,
        /// What npm said.
        message: String,
    },
}

/// Installs what the lock file in `locks` names into `folder`, unless it is there; `finish` runs before it counts.
///
/// Tests that ask at the same time wait for the one that installs.
pub(crate) fn install(
    locks: &Path,
    folder: &Path,
    options: &[&str],
    finish: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<(), NpmError> {
    let complete = folder.join(".complete");
    if complete.exists() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(files("make", folder))?;
    let lock_path = folder.with_extension("lock");
    let lock = File::create(&lock_path).map_err(files("create", &lock_path))?;
    lock.lock().map_err(files("lock", &lock_path))?;
    if complete.exists() {
        return Ok(());
    }
    for name in ["package.json", "package-lock.json"] {
        fs::copy(locks.join(name), folder.join(name)).map_err(files("copy", &locks.join(name)))?;
    }
    run(folder, options)?;
    finish(folder).map_err(files("finish", folder))?;
    fs::write(&complete, "").map_err(files("write", &complete))
}

fn files(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> NpmError {
    let path = path.to_owned();
    move |source| NpmError::Files { what, path, source }
}

fn run(folder: &Path, options: &[&str]) -> Result<(), NpmError> {
    let failed = |message: String| NpmError::Npm { folder: folder.to_owned(), message };
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund"]).args(options);
    let ran = npm.current_dir(folder).output().map_err(|error| failed(error.to_string()))?;
    if ran.status.success() { Ok(()) } else { Err(failed(String::from_utf8_lossy(&ran.stderr).into_owned())) }
}
