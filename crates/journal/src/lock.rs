//! The lock that lets several commands share one journal: `flock` on a file of its own, held for one append.
//!
//! Waiting has no limit: the lock is the kernel's, so a dead holder has none, and a live one holds it for a flush.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::Error;
use crate::files;

const NAME: &str = "lock";

/// Held until it is dropped: closing the file frees it, also when the process is killed.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// The only writer. Waits for others, which hold it for one append.
    pub(crate) fn exclusive(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(NAME);
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(files::nofollow())
            .open(&path)
            .map_err(Error::unwritable("open", &path))?;
        let locked = rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive));
        locked.map_err(|errno| Error::unwritable("lock", &path)(errno.into()))?;
        Ok(Self { _file: file })
    }

    /// A moment without a writer. `None` where there is no lock file: in a copy of a journal nobody writes.
    pub(crate) fn shared(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(NAME);
        let file = match files::open(&path) {
            Ok(file) => file,
            Err(Error::Unreadable { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let locked = rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockShared));
        locked.map_err(|errno| Error::unreadable("lock", &path)(errno.into()))?;
        Ok(Some(Self { _file: file }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_free(dir: &Path) -> bool {
        let file = File::open(dir.join(NAME)).unwrap();
        flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    #[test]
    fn a_lock_excludes_others_until_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::exclusive(folder.path()).unwrap();
        assert!(!is_free(folder.path()));
        drop(lock);
        assert!(is_free(folder.path()));
    }

    #[test]
    fn readers_share_and_keep_a_writer_out() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Lock::shared(folder.path()).unwrap().is_none(), "no lock file, no writer");
        drop(Lock::exclusive(folder.path()).unwrap());
        let (one, two) = (Lock::shared(folder.path()).unwrap(), Lock::shared(folder.path()).unwrap());
        assert!(one.is_some() && two.is_some());
        assert!(!is_free(folder.path()));
    }
}
