//! The lowest epochs that workflows may run with, kept in the state folder.
//!
//! One file holds them all, beside a lock file that holds the number of the file's last generation. The generation
//! is written after the file, so a file that is gone, or older than one that was there before, is found out: the
//! answer is then an error and never "no epochs". Nothing in it belongs to a boot.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use palisade_core::canonical;
use palisade_core::epoch::Ratchet;
use serde::{Deserialize, Serialize};

use crate::files;
use crate::state::StateDirectory;

/// The format of the file; another one is not read.
const FORMAT: u32 = 1;
/// Largest file that is read.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Length of the mark in the lock file: a generation in 20 digits and a line break.
const MARK_BYTES: usize = 21;

/// Why the epochs cannot be read or raised.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of them cannot be opened, read or written, or must not be trusted.
    #[error("the file of epochs cannot be used")]
    File(#[from] files::Error),
    /// The lock cannot be taken or its mark be read or written.
    #[error("cannot use {}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{} is damaged: {rule}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which rule it breaks.
        rule: &'static str,
    },
    /// There were epochs, and their file is gone.
    #[error("{} is gone, and its generation {generation} was there", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
        /// The last generation.
        generation: u64,
    },
}

impl Error {
    /// How to go on, in one sentence.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::File(_) | Self::Lock { .. } => {
                "mend the owner and mode of the state folder's files, or run as their owner".to_owned()
            }
            Self::Damaged { path, .. } | Self::Gone { path, .. } => format!(
                "put the file back from a backup; without one move {} and epochs.lock away and raise each epoch again: \
                 `palisade journal export` has every `epoch-raised`",
                path.display()
            ),
        }
    }
}

/// What the file holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    format: u32,
    /// Grows by one with each write.
    generation: u64,
    minimums: Ratchet,
}

/// The ratchet as it is now.
///
/// # Errors
/// The files cannot be read, are damaged, or are older than what was there before.
pub fn read(state: &StateDirectory) -> Result<Ratchet, Error> {
    let path = state.epochs();
    let lock = lock_path(&path);
    // The mark first: the file is written before it, so what is read after it is at least as new.
    let mark = match files::open_private(&lock) {
        Ok(file) => read_mark(&file, &lock)?,
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    kept(&path, mark).map(|kept| kept.minimums)
}

/// The ratchet while nobody else can change it.
#[derive(Debug)]
pub struct Locked {
    path: PathBuf,
    // Held for its lock, which lives as long as the open file.
    lock: File,
    kept: Kept,
}

/// Waits for the lock and reads.
///
/// # Errors
/// As [`read`].
pub fn lock(state: &StateDirectory) -> Result<Locked, Error> {
    files::private_folder(state.root())?;
    let path = state.epochs();
    let lock_path = lock_path(&path);
    let lock = files::open_or_create_private(&lock_path)?;
    crate::lock::wait(&lock).map_err(|source| Error::Lock { path: lock_path.clone(), source })?;
    let mark = read_mark(&lock, &lock_path)?;
    let kept = kept(&path, mark)?;
    Ok(Locked { path, lock, kept })
}

impl Locked {
    /// The ratchet as it is.
    #[must_use]
    pub const fn ratchet(&self) -> &Ratchet {
        &self.kept.minimums
    }

    /// Replaces it by one that was raised; on return that is durable.
    ///
    /// # Errors
    /// The file or the mark cannot be written.
    pub fn write(self, minimums: Ratchet) -> Result<(), Error> {
        let generation = self.kept.generation.checked_add(1).ok_or_else(|| Error::Damaged {
            path: self.path.clone(),
            rule: "its generation is the largest there is",
        })?;
        let kept = Kept { format: FORMAT, generation, minimums };
        let text = format!("{}\n", canonical::json(&kept));
        files::write_atomic(&self.path, text.as_bytes(), 0o600)?;
        let mark = format!("{generation:020}\n");
        let written = self.lock.write_all_at(mark.as_bytes(), 0).and_then(|()| self.lock.sync_all());
        written.map_err(|source| Error::Lock { path: lock_path(&self.path), source })
    }
}

fn lock_path(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

fn kept(path: &Path, mark: Option<u64>) -> Result<Kept, Error> {
    let damaged = |rule| Error::Damaged { path: path.to_owned(), rule };
    let file = match (files::open_private(path), mark) {
        (Ok(file), _) => file,
        (Err(error), None) if error.is_not_found() => {
            return Ok(Kept { format: FORMAT, generation: 0, minimums: Ratchet::default() });
        }
        (Err(error), Some(generation)) if error.is_not_found() => {
            return Err(Error::Gone { path: path.to_owned(), generation });
        }
        (Err(error), _) => return Err(error.into()),
    };
    let bytes = files::read_from(file, path, MAX_BYTES)?;
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|_| damaged("it is not the JSON of epochs"))?;
    if kept.format != FORMAT {
        return Err(damaged("its format is of another version of Palisade"));
    }
    if mark.is_some_and(|mark| kept.generation < mark) {
        return Err(damaged("it is older than one that was there before"));
    }
    Ok(kept)
}

/// The generation in the lock file; `None` as long as it is empty.
fn read_mark(lock: &File, path: &Path) -> Result<Option<u64>, Error> {
    let mut bytes = [0; MARK_BYTES + 1];
    let length =
        lock.read_at(&mut bytes, 0).map_err(|source| Error::Lock { path: path.to_owned(), source })?;
    if length == 0 {
        return Ok(None);
    }
    let text = std::str::from_utf8(&bytes[..length]).ok().filter(|text| text.len() == MARK_BYTES);
    let number = text.and_then(|text| text.strip_suffix('\n')?.parse().ok());
    number.map(Some).ok_or_else(|| Error::Damaged {
        path: path.to_owned(),
        rule: "it is neither empty nor a generation in 20 digits",
    })
}
