//! One command after the other, where two that look first and write later would both find room.
//!
//! The lock is the kernel's and lies on the folder itself: nothing is made for it, so that it can also be had on a full
//! disk, and a holder that dies has none.

use std::fs::File;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::files::{self, Error};
use crate::lock;

/// Held until it is dropped.
#[derive(Debug)]
pub struct Turn {
    _folder: File,
}

impl Turn {
    /// Waits until no other command has its turn over this private folder, which is made where it is missing.
    ///
    /// # Errors
    /// As [`files::private_folder`], or the folder cannot be locked.
    pub fn take(folder: &Path) -> Result<Self, Error> {
        files::private_folder(folder)?;
        let failed = |operation| move |source| Error::Io { operation, path: folder.to_owned(), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened =
            openat(CWD, folder, flags, Mode::empty()).map_err(|errno| failed("open")(errno.into()))?;
        let opened = File::from(opened);
        lock::wait(&opened).map_err(failed("lock"))?;
        Ok(Self { _folder: opened })
    }
}
