//! Which daemons earlier commands have met, so that they need not introduce themselves again.
//!
//! A process offers the same methods as long as it lives. Once it was asked for them and they were as expected, the
//! next command asks for the list and nothing else: the introduction costs the daemon as much as a tenth of that list.
//! A process is known by its boot, number and start time, so that none is mistaken. What changes anything asks for the
//! methods on every connection.

use std::fs;
use std::path::{Path, PathBuf};

use palisade_core::actor::ProcessRef;
use palisade_host::{clock, files, process};

/// Larger than any boot id.
const MAX_BYTES: u64 = 64;

/// A folder with one small file for each daemon that was met. What cannot be read or written there only costs time.
#[derive(Debug, Clone)]
pub struct Acquainted {
    folder: PathBuf,
}

impl Acquainted {
    /// The daemons noted in `folder`, which is made (0700) with the first one.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Whether this very process was met before.
    #[must_use]
    pub fn with(&self, daemon: ProcessRef) -> bool {
        let noted = files::read_if_of(&self.path(daemon), &[files::own_uid()], MAX_BYTES);
        noted.is_some_and(|noted| clock::boot_id().is_ok_and(|boot| boot.as_bytes() == noted))
    }

    /// Notes a process that introduced itself as expected, and forgets those that have ended.
    pub fn note(&self, daemon: ProcessRef) {
        let Ok(boot) = clock::boot_id() else { return };
        if files::private_folder(&self.folder).is_ok() {
            self.forget_ended();
            files::replace(&self.path(daemon), boot.as_bytes(), 0o600).ok();
        }
    }

    fn forget_ended(&self) {
        let noted = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for path in noted.map(|entry| entry.path()) {
            if noted_in(&path).is_none_or(|daemon| !process::is_alive(daemon)) {
                fs::remove_file(path).ok();
            }
        }
    }

    fn path(&self, daemon: ProcessRef) -> PathBuf {
        self.folder.join(format!("{}-{}", daemon.pid, daemon.start_ticks))
    }
}

fn noted_in(path: &Path) -> Option<ProcessRef> {
    let (pid, start_ticks) = path.file_name()?.to_str()?.split_once('-')?;
    Some(ProcessRef { pid: pid.parse().ok()?, start_ticks: start_ticks.parse().ok()? })
}
