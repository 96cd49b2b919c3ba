//! The kernel's lock on an open file (flock(2)): it is freed when its holder ends, however that happens. A signal
//! interrupts no wait.

use std::fs::File;
use std::io;

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};

/// Waits until this open file alone has the lock.
///
/// # Errors
/// What the kernel said: the file system has no locks, or too many are held.
pub fn wait(file: &File) -> io::Result<()> {
    Ok(retry_on_intr(|| flock(file, FlockOperation::LockExclusive))?)
}

/// Takes the lock unless another open file has it. Says whether it was taken.
///
/// # Errors
/// As [`wait`].
pub fn take(file: &File) -> io::Result<bool> {
    at_once(file, FlockOperation::NonBlockingLockExclusive)
}

/// Whether another open file has the lock alone. Where none has, this one shares it until it is closed.
///
/// # Errors
/// As [`wait`].
pub fn is_taken(file: &File) -> io::Result<bool> {
    at_once(file, FlockOperation::NonBlockingLockShared).map(|shared| !shared)
}

fn at_once(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match retry_on_intr(|| flock(file, operation)) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_open_file_has_the_lock_until_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let open = || File::options().create(true).append(true).open(&path).unwrap();
        let (one, other) = (open(), open());
        assert!(!is_taken(&open()).unwrap());
        wait(&one).unwrap();
        assert!(is_taken(&open()).unwrap() && !take(&other).unwrap());
        drop(one);
        assert!(take(&other).unwrap() && is_taken(&open()).unwrap());
    }
}
