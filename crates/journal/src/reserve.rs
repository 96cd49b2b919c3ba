//! Space set aside for a full disk: freed so that the outcome of what was begun can still be written.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

use crate::error::Error;
use crate::files::{self, Durability};

const NAME: &str = "reserve";

/// Free space, in reserves, that there must be before one is made: else it would itself fill the disk.
const ROOM: u64 = 4;

/// Whether a write failed because there is no space for it.
pub(crate) fn is_full(error: &Error) -> bool {
    let Error::Unwritable { source, .. } = error else { return false };
    matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Bytes that are set aside; 0 once they were needed.
pub(crate) fn size(dir: &Path) -> u64 {
    std::fs::symlink_metadata(dir.join(NAME)).map_or(0, |metadata| metadata.len())
}

/// Gives the space back to the file system. `false` if there was none.
pub(crate) fn free(dir: &Path) -> bool {
    std::fs::remove_file(dir.join(NAME)).is_ok()
}

/// Sets `bytes` aside if they are not and there is room. Says whether they are.
///
/// A failure is no error: the journal works without, and `stat` shows it.
pub(crate) fn ensure(dir: &Path, bytes: u64) -> bool {
    if size(dir) >= bytes {
        return true;
    }
    let room = statvfs(dir).is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) >= bytes * ROOM);
    let made = room && make(&dir.join(NAME), bytes).is_ok();
    if !made {
        free(dir);
    }
    made
}

fn make(path: &Path, bytes: u64) -> Result<(), Error> {
    files::write_new(path, b"", 0o600, Durability::Process)?;
    let file = files::open_to_write(path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP) => fill(&file, bytes).map_err(Error::unwritable("fill", path)),
        result => result.map_err(|errno| Error::unwritable("allocate", path)(errno.into())),
    }
}

/// For file systems that cannot allocate without writing.
fn fill(mut file: &File, bytes: u64) -> io::Result<()> {
    let block = [0; 4096];
    let mut left = bytes;
    while left > 0 {
        let part = left.min(block.len() as u64);
        file.write_all(&block[..usize::try_from(part).map_err(io::Error::other)?])?;
        left -= part;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_reserve_takes_real_blocks_and_gives_them_back() {
        let folder = tempfile::tempdir().unwrap();
        assert!(ensure(folder.path(), 100_000));
        assert_eq!(size(folder.path()), 100_000);
        assert!(folder.path().join(NAME).metadata().unwrap().blocks() * 512 >= 100_000, "not a sparse file");
        assert!(free(folder.path()));
        assert_eq!(size(folder.path()), 0);
        assert!(!free(folder.path()));
    }

    #[test]
    fn a_reserve_is_not_made_where_it_would_fill_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!ensure(folder.path(), 1 << 60));
        assert_eq!(size(folder.path()), 0);
    }

    #[test]
    fn filling_writes_every_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fill(&File::create(&path).unwrap(), 10_000).unwrap();
        assert_eq!(path.metadata().unwrap().len(), 10_000);
    }

    #[test]
    fn only_a_lack_of_space_counts_as_full() {
        let error = |errno: Errno| Error::unwritable("write", Path::new("/x"))(errno.into());
        assert!(is_full(&error(Errno::NOSPC)) && is_full(&error(Errno::DQUOT)));
        assert!(!is_full(&error(Errno::IO)) && !is_full(&error(Errno::ROFS)));
    }
}
