//! PM2 from the npm registry, installed once per version into the repository's `.cache/pm2/`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The PM2 versions that tests run against; each has a lock file in this crate.
pub const VERSIONS: [&str; 3] = ["7.0.4", "6.0.14", "5.4.3"];

/// Why PM2 could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// No lock file for that version.
    #[error("no lock file for PM2 {version} in {folder}; versions with one: {}", VERSIONS.join(", "))]
    UnknownVersion {
        /// The version asked for.
        version: String,
        /// Where lock files are.
        folder: PathBuf,
    },
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
        "`npm ci` for PM2 {version} in {folder} failed: {message}\n\
         Node 18 or later with npm has to be on the PATH, and the npm registry reachable once"
    )]
    Npm {
        /// The version asked for.
        version: String,
        /// Where it ran.
        folder: PathBuf,
        /// What npm said.
        message: String,
    },
}

/// The folder of an installed PM2, `node_modules/pm2` and all; installs it if it is not there yet.
///
/// Tests that ask at the same time wait for the one that installs.
///
/// # Errors
/// No lock file for that version, an unwritable cache, or npm's failure.
pub fn installed(version: &str) -> Result<PathBuf, InstallError> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let locks = manifest.join("pm2").join(version);
    if !VERSIONS.contains(&version) {
        return Err(InstallError::UnknownVersion {
            version: version.to_owned(),
            folder: manifest.join("pm2"),
        });
    }
    let cache = manifest.join("../../.cache/pm2");
    let folder = cache.join(version);
    let complete = folder.join(".complete");
    if complete.exists() {
        return Ok(folder);
    }
    let files = |what, path: &Path| {
        let path = path.to_owned();
        move |source| InstallError::Files { what, path, source }
    };
    fs::create_dir_all(&folder).map_err(files("make", &folder))?;
    let lock_path = cache.join(format!("{version}.lock"));
    let lock = File::create(&lock_path).map_err(files("create", &lock_path))?;
    lock.lock().map_err(files("lock", &lock_path))?;
    if complete.exists() {
        return Ok(folder);
    }
    for name in ["package.json", "package-lock.json"] {
        fs::copy(locks.join(name), folder.join(name)).map_err(files("copy", &locks.join(name)))?;
    }
    run_npm(version, &folder)?;
    fs::write(&complete, version).map_err(files("write", &complete))?;
    Ok(folder)
}

fn run_npm(version: &str, folder: &Path) -> Result<(), InstallError> {
    let failed = |message: String| InstallError::Npm {
        version: version.to_owned(),
        folder: folder.to_owned(),
        message,
    };
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--omit=dev", "--omit=optional", "--no-audit", "--no-fund"]);
    let ran = npm.current_dir(folder).output().map_err(|error| failed(error.to_string()))?;
    if ran.status.success() { Ok(()) } else { Err(failed(String::from_utf8_lossy(&ran.stderr).into_owned())) }
}
