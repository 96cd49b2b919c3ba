//! PM2 from the npm registry, installed once per version into the repository's `.cache/pm2/`.

use std::path::{Path, PathBuf};

use crate::npm::{self, NpmError};

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
    /// npm could not install it.
    #[error(transparent)]
    Npm(#[from] NpmError),
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
    let folder = manifest.join("../../.cache/pm2").join(version);
    npm::install(&locks, &folder, &["--omit=optional"], |_| Ok(()))?;
    Ok(folder)
}
