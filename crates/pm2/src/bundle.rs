//! Restore bundles: the private values behind a redacted snapshot.
//!
//! A bundle is one file, 0600 in a 0700 folder, named by the SHA-256 of its content, so that what a snapshot refers
//! to cannot be exchanged unnoticed. It holds the salt of the snapshot's fingerprints and each process's whole
//! configuration as PM2 gave it. It is never shown, exported or sent anywhere but back to PM2.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use palisade_core::Timestamp;
use palisade_core::canonical::sha256_hex;
use palisade_core::process::{DaemonIdentity, Pin, Status};
use palisade_core::redact::Salt;
use palisade_host::files;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::list::Listed;

/// The format of a bundle; another number is refused.
pub const FORMAT: u32 = 1;

/// Largest bundle that is read, in bytes: some ten thousand processes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What a restore needs. Debug shows no values.
#[derive(Serialize, Deserialize)]
pub struct Bundle {
    format: u32,
    /// In hex. Salts the fingerprints of the snapshot that belongs to it.
    salt: String,
    daemon: DaemonIdentity,
    processes: Vec<Kept>,
}

/// A bundle as it is written: its bytes, and the name that they give it. Debug shows neither.
pub struct Sealed {
    hash: String,
    content: Vec<u8>,
}

impl Sealed {
    /// SHA-256 of its content, in hex: its name.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} bytes)", self.content.len())
    }
}

/// One process with all its values. Debug shows none.
#[derive(Clone, Serialize, Deserialize)]
pub struct Kept {
    /// What pinned it.
    pub pin: Pin,
    /// Its status, which it comes back in.
    pub status: Status,
    /// PM2's own entry.
    configuration: Box<RawValue>,
}

impl Kept {
    /// PM2's own entry, values and all.
    #[must_use]
    pub fn secret_configuration(&self) -> &RawValue {
        &self.configuration
    }
}

impl Bundle {
    /// What `listed` showed on `daemon`, modules left out: PM2 installs those itself.
    #[must_use]
    pub fn new(salt: &Salt, daemon: DaemonIdentity, listed: &[Listed]) -> Self {
        let keep = |entry: &Listed| Kept {
            pin: entry.process.pin.clone(),
            status: entry.process.status.clone(),
            configuration: entry.secret_configuration().to_owned(),
        };
        let processes = listed.iter().filter(|entry| !entry.process.module).map(keep).collect();
        Self { format: FORMAT, salt: salt.to_hex(), daemon, processes }
    }

    /// The bundle as it is written.
    #[must_use]
    pub fn seal(&self) -> Sealed {
        let content = serde_json::to_vec(self).expect("maps have text keys and raw values are JSON");
        Sealed { hash: sha256_hex(&content), content }
    }

    /// The daemon that it was taken from.
    #[must_use]
    pub const fn daemon(&self) -> &DaemonIdentity {
        &self.daemon
    }

    /// Every process, in the daemon's order.
    #[must_use]
    pub fn processes(&self) -> &[Kept] {
        &self.processes
    }

    /// The process that `pin` named. Workers of one cluster share a UUID, so the number counts too.
    #[must_use]
    pub fn find(&self, pin: &Pin) -> Option<&Kept> {
        let same = |kept: &&Kept| kept.pin.unique_id == pin.unique_id && kept.pin.pm_id == pin.pm_id;
        self.processes.iter().find(same)
    }
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bundle({} processes)", self.processes.len())
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept({})", palisade_core::text::escaped(&self.pin.name))
    }
}

/// Why a bundle was not written, read or pruned.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file cannot be written, read or trusted.
    #[error("cannot {operation} a restore bundle")]
    File {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        #[source]
        source: files::Error,
    },
    /// The name is no SHA-256 in lowercase hex.
    #[error("{0:?} is not the name of a restore bundle")]
    Name(String),
    /// The content is not what the name promises.
    #[error("restore bundle {hash} was changed: its content has the hash {found}")]
    Changed {
        /// The name.
        hash: String,
        /// The hash of what is there.
        found: String,
    },
    /// It is no bundle of this version. The parser's own message is left out, for it may quote a value.
    #[error("restore bundle {hash} is not of format {FORMAT}")]
    Format {
        /// The name.
        hash: String,
    },
    /// The folder cannot be listed, or an old bundle cannot be removed.
    #[error("cannot prune {}", path.display())]
    Prune {
        /// The folder or file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The folder of restore bundles.
#[derive(Debug, Clone)]
pub struct Bundles {
    folder: PathBuf,
}

impl Bundles {
    /// The bundles in `folder`, which is made (0700) when the first one is written.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Writes a bundle (0600, durable). Writing the same content again changes nothing.
    ///
    /// # Errors
    /// The folder is not private, or the file cannot be written.
    pub fn write(&self, bundle: &Sealed) -> Result<(), BundleError> {
        let error = |source| BundleError::File { operation: "write", source };
        files::private_folder(&self.folder).map_err(error)?;
        files::write_atomic(&self.path(&bundle.hash), &bundle.content, 0o600).map_err(error)
    }

    /// Reads a bundle back and compares its content with its name.
    ///
    /// # Errors
    /// It is not there, may not be trusted, was changed, or is of another format.
    pub fn read(&self, hash: &str) -> Result<Bundle, BundleError> {
        if hash.len() != 64 || !hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(BundleError::Name(hash.to_owned()));
        }
        let error = |source| BundleError::File { operation: "read", source };
        let path = self.path(hash);
        let file = files::open_private(&path).map_err(error)?;
        let content = files::read_from(file, &path, MAX_BYTES).map_err(error)?;
        let found = sha256_hex(&content);
        if found != hash {
            return Err(BundleError::Changed { hash: hash.to_owned(), found });
        }
        let format = || BundleError::Format { hash: hash.to_owned() };
        let bundle: Bundle = serde_json::from_slice(&content).map_err(|_| format())?;
        if bundle.format == FORMAT { Ok(bundle) } else { Err(format()) }
    }

    /// Whether there is a bundle of this name. That it can be used is for [`Bundles::read`] to say.
    #[must_use]
    pub fn contains(&self, hash: &str) -> bool {
        self.path(hash).exists()
    }

    /// Removes bundles that are older than `max_age` at `now`, but none of the `keep_newest` newest. Gives the
    /// names of those that were removed.
    ///
    /// # Errors
    /// The folder cannot be listed, or a file cannot be removed. No folder means nothing to prune.
    pub fn prune(
        &self,
        keep_newest: usize,
        max_age: Duration,
        now: Timestamp,
    ) -> Result<Vec<String>, BundleError> {
        let mut bundles = self.written()?;
        bundles.sort_by(|(left, _), (right, _)| right.cmp(left));
        let mut removed = Vec::new();
        for (written_at, path) in bundles.into_iter().skip(keep_newest) {
            if now.since(written_at) > max_age {
                fs::remove_file(&path).map_err(|source| BundleError::Prune { path: path.clone(), source })?;
                removed.extend(path.file_stem().and_then(|stem| Some(stem.to_str()?.to_owned())));
            }
        }
        Ok(removed)
    }

    fn written(&self) -> Result<Vec<(Timestamp, PathBuf)>, BundleError> {
        let error = |path: &Path| {
            let path = path.to_owned();
            move |source| BundleError::Prune { path, source }
        };
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(other) => return Err(error(&self.folder)(other)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(error(&self.folder))?.path();
            if path.extension().is_some_and(|extension| extension == "bundle") {
                let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
                let age = modified.map_err(error(&path))?.duration_since(UNIX_EPOCH).unwrap_or_default();
                let unix_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
                found.push((Timestamp::from_unix_ms(unix_ms), path));
            }
        }
        Ok(found)
    }

    fn path(&self, hash: &str) -> PathBuf {
        self.folder.join(format!("{hash}.bundle"))
    }
}
