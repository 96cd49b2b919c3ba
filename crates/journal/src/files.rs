//! The few file operations that everything else is made of. No symbolic link is followed at the last step.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::Error;

/// Largest file that is read as a whole; heads and keys have some hundred bytes.
const MAX_SMALL: u64 = 64 * 1024;

pub(crate) fn nofollow() -> i32 {
    // The flag's bits fit: the kernel's own type for them is an int.
    OFlags::NOFOLLOW.bits().cast_signed()
}

/// Opens for reading.
pub(crate) fn open(path: &Path) -> Result<File, Error> {
    let file = OpenOptions::new().read(true).custom_flags(nofollow()).open(path);
    file.map_err(Error::unreadable("open", path))
}

/// Opens an existing file for writing.
pub(crate) fn open_to_write(path: &Path) -> Result<File, Error> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(nofollow()).open(path);
    file.map_err(Error::unwritable("open", path))
}

/// The content of a small file.
pub(crate) fn read_small(path: &Path) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    open(path)?.take(MAX_SMALL).read_to_end(&mut content).map_err(Error::unreadable("read", path))?;
    Ok(content)
}

/// [`read_small`], with `None` where there is no such file.
pub(crate) fn read_small_if_there(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match read_small(path) {
        Ok(content) => Ok(Some(content)),
        Err(Error::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// How much a replacement must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The death of this process.
    Process,
    /// A power cut, too.
    Power,
}

/// Replaces `path` by `content` in one step: readers see the old bytes or the new ones.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32, durability: Durability) -> Result<(), Error> {
    let temporary = path.with_added_extension("new");
    write_new(&temporary, content, mode, durability)?;
    std::fs::rename(&temporary, path).map_err(Error::unwritable("replace", path))?;
    match durability {
        Durability::Process => Ok(()),
        Durability::Power => sync_parent(path),
    }
}

/// Creates `path`, or replaces a left-over of it.
pub(crate) fn write_new(path: &Path, content: &[u8], mode: u32, durability: Durability) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::unwritable("remove", path)(error));
        }
        _removed_or_absent => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(nofollow())
        .open(path)
        .map_err(Error::unwritable("create", path))?;
    file.write_all(content).map_err(Error::unwritable("write", path))?;
    match durability {
        Durability::Process => Ok(()),
        Durability::Power => file.sync_all().map_err(Error::unwritable("flush", path)),
    }
}

/// Makes the entries of a file's folder durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), Error> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _relative => Path::new("."),
    };
    let handle = File::open(folder).map_err(Error::unwritable("open", folder))?;
    handle.sync_all().map_err(Error::unwritable("flush", folder))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_replaced_file_has_the_new_bytes_and_mode_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("head");
        for content in ["one", "two"] {
            replace(&path, content.as_bytes(), 0o600, Durability::Power).unwrap();
            assert_eq!(read_small(&path).unwrap(), content.as_bytes());
        }
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn a_left_over_temporary_file_does_not_stand_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("head");
        std::fs::write(folder.path().join("head.new"), "half").unwrap();
        replace(&path, b"whole", 0o600, Durability::Process).unwrap();
        assert_eq!(read_small(&path).unwrap(), b"whole");
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        std::fs::write(&target, "x").unwrap();
        symlink(&target, &link).unwrap();
        assert!(matches!(open(&link), Err(Error::Unreadable { .. })));
        assert!(matches!(open_to_write(&link), Err(Error::Unwritable { .. })));
    }

    #[test]
    fn an_absent_file_is_none_and_an_unreadable_one_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_small_if_there(&folder.path().join("absent")).unwrap(), None);
        assert!(read_small_if_there(folder.path()).is_err(), "a folder has no bytes");
    }
}
