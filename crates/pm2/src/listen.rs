//! Sockets at PM2's places: taken only where nobody else listens, removed only while they are ours.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use palisade_host::files;
use rustix::net::sockopt;
use tokio::net::UnixListener;

/// A place that cannot be listened on. Nothing was removed.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody answers there.
    #[error("something else listens on {}; start PM2 with PM2_DAEMON_RPC_PORT and PM2_DAEMON_PUB_PORT set", path.display())]
    Taken {
        /// The path.
        path: PathBuf,
    },
    /// What is there is no socket.
    #[error("{} is not a socket; move it away", path.display())]
    NoSocket {
        /// The path.
        path: PathBuf,
    },
    /// Another firewall starts or runs on this home.
    #[error("another firewall holds {}", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The lock file cannot be used.
    #[error("the lock of this home cannot be used")]
    Lock(#[from] files::Error),
    /// The kernel refused.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// A socket that we listen on. Its file goes when it is dropped, if we made it and no other one took its place.
#[derive(Debug)]
pub struct Place {
    /// It listens.
    pub listener: UnixListener,
    path: PathBuf,
    /// Of the file to be removed at the end.
    inode: Option<(u64, u64)>,
}

impl Place {
    /// A socket that listens already. `ours`: its file goes at the end.
    ///
    /// # Errors
    /// It does not listen.
    pub fn taken(socket: OwnedFd, path: PathBuf, ours: bool) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Io { operation: "listen on", path: path.clone(), source };
        if !sockopt::socket_acceptconn(&socket).unwrap_or(false) {
            return Err(ListenError::NoSocket { path });
        }
        let listener = std::os::unix::net::UnixListener::from(socket);
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        let inode = if ours { inode(&path).ok() } else { None };
        Ok(Self { listener, path, inode })
    }

    /// Whether its file goes at the end.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        self.inode.is_some()
    }

    /// Its path, as the policy would name it.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// Another descriptor of the same socket.
    ///
    /// # Errors
    /// The kernel has none left.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// Ends here without removing the file: somebody else goes on.
    pub fn leave(mut self) {
        self.inode = None;
    }
}

/// Makes sure that one firewall at a time looks at the sockets of `home`; held until dropped.
///
/// # Errors
/// Another one holds it.
pub fn lock(home: &Path) -> Result<File, ListenError> {
    let path = home.join(".palisade-firewall.lock");
    let file = files::open_or_create_private(&path)?;
    match palisade_host::lock::take(&file) {
        Ok(true) => Ok(file),
        Ok(false) => Err(ListenError::Locked { path }),
        Err(source) => Err(ListenError::Io { operation: "lock", path, source }),
    }
}

/// Listens at `path` with exactly `mode`. A socket that is there already is removed once it is proven that nobody
/// listens on it; the caller holds the [`lock`] of its folder.
///
/// # Errors
/// Somebody listens there, or the kernel refuses.
pub fn listen(path: &Path, mode: u32) -> Result<Place, ListenError> {
    let failed = |operation| {
        let path = path.to_owned();
        move |source| ListenError::Io { operation, path, source }
    };
    match path.symlink_metadata() {
        Ok(found) if found.file_type().is_socket() => remove_stale(path)?,
        Ok(_) => return Err(ListenError::NoSocket { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("look at")(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("set the mode of"))?;
    let inode = inode(path).map_err(failed("look at"))?;
    Ok(Place { listener, path: path.to_owned(), inode: Some(inode) })
}

/// Listens at `path` in the place of whoever listens there: bound beside it and renamed over it, so that a client finds
/// the one or the other and never nobody. The caller holds the [`lock`] and has proven that the other one is reached
/// elsewhere.
///
/// # Errors
/// As [`listen`].
pub fn take_over(path: &Path, mode: u32) -> Result<Place, ListenError> {
    let beside = path.with_extension("new");
    let mut place = listen(&beside, mode)?;
    std::fs::rename(&beside, path).map_err(|source| ListenError::Io {
        operation: "take over",
        path: path.to_owned(),
        source,
    })?;
    place.path = path.to_owned();
    Ok(place)
}

fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let failed = |operation, source| ListenError::Io { operation, path: path.to_owned(), source };
    match UnixStream::connect(path) {
        Ok(_) => Err(ListenError::Taken { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|source| failed("remove the left-over", source))
        }
        Err(source) => Err(failed("find out whether anybody listens on", source)),
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    path.symlink_metadata().map(|found| (found.dev(), found.ino()))
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.inode.is_some() && inode(&self.path).ok() == self.inode {
            // It may be gone by now, and there is nobody to tell.
            drop(std::fs::remove_file(&self.path));
        }
    }
}
