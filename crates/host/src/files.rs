//! Files that nobody else can swap, read or write: private folders, atomic writes, bounded reads.
//!
//! Checks are made on the open file, never on the path before opening it, so that a swap in between gains nothing.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use palisade_core::canonical::hex;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fchmod, fsync, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::random;

/// Why a file was not read, written or trusted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried: `open`, `write`.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It is there and must not be trusted. Nothing of it has been used.
    #[error("{} {rule}; {fix}", path.display())]
    Unsafe {
        /// The file or folder.
        path: PathBuf,
        /// Which rule it breaks.
        rule: &'static str,
        /// What to do about it.
        fix: &'static str,
    },
    /// It is larger than it may be. Nothing of it has been used.
    #[error("{} is larger than {max_bytes} bytes; move it away if it is not the file that belongs there", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        max_bytes: u64,
    },
    /// No random name could be made for a temporary file.
    #[error("cannot name a temporary file beside {}", path.display())]
    Random {
        /// The file to be written.
        path: PathBuf,
        /// Why.
        #[source]
        source: random::Error,
    },
}

impl Error {
    /// Whether the reason is that nothing is at that path.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

const LINK: (&str, &str) = ("is a symbolic link", "remove the link and put the real file or folder there");
const FOREIGN: (&str, &str) =
    ("belongs to another user", "run as its owner, or move it away so that it is made anew");

fn io_error<E: Into<io::Error>>(operation: &'static str, path: &Path) -> impl FnOnce(E) -> Error {
    move |source| Error::Io { operation, path: path.to_owned(), source: source.into() }
}

fn refuse(path: &Path, (rule, fix): (&'static str, &'static str)) -> Error {
    Error::Unsafe { path: path.to_owned(), rule, fix }
}

/// Reads a regular file of at most `max` bytes. Symbolic links are followed; pipes and devices are refused.
///
/// # Errors
/// [`Error::TooLarge`] above `max`, [`Error::Unsafe`] if it is no regular file, else what the kernel said.
pub fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, Error> {
    // Without NONBLOCK, opening a pipe waits for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(openat(CWD, path, flags, Mode::empty()).map_err(io_error("open", path))?);
    if !metadata(&file, path)?.is_file() {
        return Err(refuse(path, ("is not a regular file", "put a regular file there")));
    }
    read_from(file, path, max)
}

/// As [`read_bounded`], for a file that is open already, from where it stands.
///
/// # Errors
/// [`Error::TooLarge`] above `max`, else what the kernel said.
pub fn read_from(file: File, path: &Path, max: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut bytes).map_err(io_error("read", path))?;
    if bytes.len() as u64 > max {
        return Err(Error::TooLarge { path: path.to_owned(), max_bytes: max });
    }
    Ok(bytes)
}

/// The first `max` bytes of a file of the kernel's, whose end does not matter.
pub(crate) fn read_start(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    // Such files have no size to be told beforehand; most are smaller than this.
    let mut bytes = Vec::with_capacity(4096);
    File::open(path)?.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes `bytes` to `path` so that a reader, and a machine that loses power, see the old file or the new one whole.
///
/// The file gets exactly `mode`, whatever the umask. A symbolic link at `path` is replaced, not followed.
///
/// # Errors
/// What the kernel said; the old file is then still there, unless only making the new name durable failed.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let folder = place(path, bytes, mode)?;
    fsync(&folder).map_err(io_error("make durable", path))
}

/// As [`write_atomic`], but a machine that loses power may have the old file again: never a part of the new one.
///
/// # Errors
/// As [`write_atomic`].
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    place(path, bytes, mode).map(drop)
}

/// Puts a durable file of this content under the name, and gives the folder that it is in.
fn place(path: &Path, bytes: &[u8], mode: u32) -> Result<OwnedFd, Error> {
    let (folder, name) = split(path)?;
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder_fd = openat(CWD, folder, directory, Mode::empty()).map_err(io_error("open", folder))?;
    let random = random::bytes::<8>().map_err(|source| Error::Random { path: path.to_owned(), source })?;
    let temporary = format!(".{}.{}.tmp", name.to_string_lossy(), hex(&random));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let owner_only = Mode::from_raw_mode(0o600);
    let file = openat(&folder_fd, &temporary, flags, owner_only).map_err(io_error("create", path))?;
    let placed = fill(file, path, bytes, mode)
        .and_then(|()| renameat(&folder_fd, &temporary, &folder_fd, name).map_err(io_error("rename", path)));
    if placed.is_err() {
        // The first error is the one to report; a leftover temporary file is private and harmless.
        unlinkat(&folder_fd, &temporary, AtFlags::empty()).ok();
    }
    placed.map(|()| folder_fd)
}

fn fill(file: OwnedFd, path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    fchmod(&file, Mode::from_raw_mode(mode)).map_err(io_error("set the mode of", path))?;
    let mut file = File::from(file);
    file.write_all(bytes).map_err(io_error("write", path))?;
    file.sync_all().map_err(io_error("make durable", path))
}

fn split(path: &Path) -> Result<(&Path, &OsStr), Error> {
    let name =
        path.file_name().ok_or_else(|| refuse(path, ("has no file name", "name a file, not a folder")))?;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => Ok((folder, name)),
        Some(_) | None => Ok((Path::new("."), name)),
    }
}

/// Makes sure that `path` is a folder that only this user can change, and makes it (0700, parents too) if absent.
///
/// # Errors
/// [`Error::Unsafe`] if it is a symbolic link or no folder, belongs to another user, is writable by its group or
/// others, or lies in a folder where others may put another in its place; else what the kernel said.
pub fn private_folder(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).or_else(|error| match error.kind() {
        // Something else is there; what exactly is said below.
        io::ErrorKind::AlreadyExists => Ok(()),
        _ => Err(io_error("create", path)(error)),
    })?;
    let found = path.symlink_metadata().map_err(io_error("look at", path))?;
    if found.is_symlink() {
        return Err(refuse(path, LINK));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(CWD, path, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::LOOP => refuse(path, LINK),
        Errno::NOTDIR => refuse(path, ("is not a folder", "move it away so that the folder can be made")),
        other => io_error("open", path)(other),
    })?;
    check_folder(path, &metadata(&File::from(folder), path)?)?;
    check_parent(path)
}

fn check_folder(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    if metadata.uid() != own_uid() {
        return Err(refuse(path, FOREIGN));
    }
    if metadata.mode() & 0o022 != 0 {
        let rule =
            ("is writable by its group or by others", "run `chmod 0700` on it after looking what is in it");
        return Err(refuse(path, rule));
    }
    Ok(())
}

/// Whoever may rename entries of the parent may put another folder there. The sticky bit keeps others from that.
fn check_parent(path: &Path) -> Result<(), Error> {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
    let mode = parent.metadata().map_err(io_error("look at", parent))?.mode();
    if mode & 0o002 != 0 && mode & 0o1000 == 0 {
        return Err(refuse(
            parent,
            ("is writable by everybody", "run `chmod o-w` on it, or choose another place"),
        ));
    }
    Ok(())
}

/// The content of a regular file of at most `max` bytes that only one of `owners` can have written: it is theirs, no
/// link, and neither its group nor others may write it. `None` for anything else, so that it counts for nothing.
#[must_use]
pub fn read_if_of(path: &Path, owners: &[u32], max: u64) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let file = File::from(openat(CWD, path, flags, Mode::empty()).ok()?);
    let found = file.metadata().ok()?;
    let counts = found.is_file() && owners.contains(&found.uid()) && found.mode() & 0o022 == 0;
    if counts { read_from(file, path, max).ok() } else { None }
}

/// Opens a private file for reading.
///
/// # Errors
/// [`Error::Unsafe`] if it is a symbolic link or no regular file, belongs to another user, or anybody but its owner
/// may do anything with it (modes 0600 and 0400 pass); else what the kernel said.
pub fn open_private(path: &Path) -> Result<File, Error> {
    open_checked(path, OFlags::RDONLY)
}

/// Opens a private file for reading and writing, and makes it (empty, 0600) if absent.
///
/// # Errors
/// As [`open_private`].
pub fn open_or_create_private(path: &Path) -> Result<File, Error> {
    open_checked(path, OFlags::RDWR | OFlags::CREATE)
}

fn open_checked(path: &Path, flags: OFlags) -> Result<File, Error> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags, Mode::from_raw_mode(0o600)).map_err(|errno| match errno {
        Errno::LOOP => refuse(path, LINK),
        other => io_error("open", path)(other),
    })?;
    let file = File::from(file);
    check_file(path, &metadata(&file, path)?)?;
    Ok(file)
}

fn check_file(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    if !metadata.is_file() {
        return Err(refuse(path, ("is not a regular file", "move it away")));
    }
    if metadata.uid() != own_uid() {
        return Err(refuse(path, FOREIGN));
    }
    if metadata.mode() & 0o177 != 0 {
        let fix =
            "run `chmod 0600` on it; if it holds a key or values, replace them, for others could read them";
        return Err(refuse(path, ("is open to others than its owner", fix)));
    }
    Ok(())
}

fn metadata(file: &File, path: &Path) -> Result<Metadata, Error> {
    file.metadata().map_err(io_error("look at", path))
}

/// The user that this process acts as.
#[must_use]
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}
