//! The policy in force: read again when its file is another one, kept when that cannot be used.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use crate::HostPolicy;

/// The host's policy file, as it was last read.
#[derive(Debug)]
pub struct PolicyFile {
    path: PathBuf,
    seen: Option<Stamp>,
}

/// What tells one content of a file from another, without reading it.
type Stamp = (u64, u64, u64, i64, i64);

/// What came of a look at the file.
#[derive(Debug)]
pub enum Look {
    /// It is the one that was read last.
    Same,
    /// It is another one.
    Changed(Box<HostPolicy>),
    /// It is another one, and cannot be used.
    Unusable(crate::Error),
}

impl PolicyFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// It cannot be read, or is no policy.
    pub fn open(path: PathBuf) -> Result<(Self, HostPolicy), crate::Error> {
        // Before the content: a change in between is seen at the next look.
        let seen = stamp(path.metadata());
        let host = crate::load(&path)?;
        Ok((Self { path, seen }, host))
    }

    /// Looks whether it changed, and reads it if so.
    pub fn look(&mut self) -> Look {
        let now = stamp(self.path.metadata());
        if now == self.seen {
            return Look::Same;
        }
        self.seen = now;
        match crate::load(&self.path) {
            Ok(host) => Look::Changed(Box::new(host)),
            Err(error) => Look::Unusable(error),
        }
    }
}

fn stamp(found: std::io::Result<Metadata>) -> Option<Stamp> {
    let found = found.ok()?;
    Some((found.dev(), found.ino(), found.size(), found.ctime(), found.ctime_nsec()))
}
