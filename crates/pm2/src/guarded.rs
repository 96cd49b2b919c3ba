//! The file by which a firewall says that it stands in front of a daemon, and where the daemon itself listens.
//!
//! It lies in the daemon's home while the firewall runs. Palisade's own commands read it, so that they talk to the
//! daemon and not to its guard; the pipeline judges them by itself.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use palisade_host::files;
use serde::{Deserialize, Serialize};

use crate::locate::{Location, Origin};

/// The file's name below the daemon's home.
pub const GUARD_FILE: &str = ".palisade-guard.json";
/// The format of the file.
pub const FORMAT: u32 = 1;
/// Most bytes of the file that are read.
const MAX_BYTES: u64 = 16 * 1024;

/// Under which users daemon, firewall and deployers run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// All under one: a seat belt.
    #[default]
    SameUid,
    /// Each under its own: a boundary between deployers and the daemon.
    SeparateUid,
}

impl Isolation {
    /// The word on the command line and in files.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SameUid => "same-uid",
            Self::SeparateUid => "separate-uid",
        }
    }
}

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guarded {
    /// [`FORMAT`].
    pub format: u32,
    /// The daemon's own command socket.
    pub private_rpc: PathBuf,
    /// The daemon's own bus.
    pub private_pub: PathBuf,
    /// Where the firewall takes requests to itself.
    #[serde(default)]
    pub control: Option<PathBuf>,
    /// What separates the daemon from its callers.
    pub isolation: Isolation,
    /// The firewall's process.
    pub pid: u32,
}

impl Guarded {
    /// Where the file of that home is.
    #[must_use]
    pub fn path(home: &Path) -> PathBuf {
        home.join(GUARD_FILE)
    }

    /// The file of that home; `None` where there is none, or one that must not be trusted: of a user other than
    /// root, this one and the home's owner, or writable by others.
    #[must_use]
    pub fn read(home: &Path) -> Option<Self> {
        let owners = [0, files::own_uid(), home.metadata().ok()?.uid()];
        let bytes = files::read_if_of(&Self::path(home), &owners, MAX_BYTES)?;
        let read: Self = serde_json::from_slice(&bytes).ok()?;
        (read.format == FORMAT && read.private_rpc.is_absolute()).then_some(read)
    }

    /// Writes it for that home, for everybody to read.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn write(&self, home: &Path) -> Result<(), files::Error> {
        // Only text, numbers and paths: a path that is no UTF-8 is the one thing that cannot be written.
        let text = serde_json::to_vec(self).unwrap_or_default();
        files::replace(&Self::path(home), &text, 0o644)
    }

    /// Removes it, unless another process has written it since.
    pub fn remove(&self, home: &Path) {
        if Self::read(home).as_ref() == Some(self) {
            // It may be gone by now, and a file that is left behind names a process that is gone.
            std::fs::remove_file(Self::path(home)).unwrap_or_default();
        }
    }
}

impl Location {
    /// The daemon itself, where a firewall stands at the place in which it would be looked for. A socket that was
    /// named by a variable is left as it is.
    #[must_use]
    pub fn behind_guard(self) -> Self {
        let named = self.origin != Origin::Explicit && self.socket != self.home.join("rpc.sock");
        if named {
            return self;
        }
        let usual = self.home.join("private/rpc.sock");
        let guarded = Guarded::read(&self.home);
        let is_apart = guarded.as_ref().is_some_and(|said| said.isolation == Isolation::SeparateUid);
        let private = guarded.map_or(usual, |guarded| guarded.private_rpc);
        if is_apart {
            // Whoever may not go there is told so; the guard is no daemon to talk to.
            return Self { socket: private, ..self };
        }
        if is_another(&private, &self.socket) { Self { socket: private, ..self } } else { self }
    }
}

/// Whether somebody listens at `private` on another socket than the one at `public`. Without a file of a firewall
/// too: one that was killed may be replaced at any moment.
fn is_another(private: &Path, public: &Path) -> bool {
    let inode = |path: &Path| path.symlink_metadata().ok().map(|found| (found.dev(), found.ino()));
    is_socket(private) && inode(private) != inode(public) && UnixStream::connect(private).is_ok()
}

fn is_socket(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_this_form() {
        let text = r#"{"format":1,"private_rpc":"/srv/private/rpc.sock","private_pub":"/srv/private/pub.sock",
            "control":null,"isolation":"same-uid","pid":7}"#;
        let read: Guarded = serde_json::from_str(text).unwrap();
        assert_eq!((read.isolation, read.pid, read.control), (Isolation::SameUid, 7, None));
    }

    #[test]
    fn it_is_read_as_it_was_written_and_goes_only_while_it_is_ones_own() {
        let home = palisade_testkit::Scratch::new();
        let of = |pid| Guarded {
            format: FORMAT,
            private_rpc: "/srv/private/rpc.sock".into(),
            private_pub: "/srv/private/pub.sock".into(),
            control: None,
            isolation: Isolation::SeparateUid,
            pid,
        };
        of(7).write(home.path()).unwrap();
        assert_eq!(Guarded::read(home.path()), Some(of(7)));
        of(8).remove(home.path());
        assert_eq!(Guarded::read(home.path()), Some(of(7)));
        of(7).remove(home.path());
        assert_eq!(Guarded::read(home.path()), None);
    }

    #[test]
    fn a_daemon_is_looked_for_behind_its_guard_unless_a_variable_names_the_socket() {
        let home = palisade_testkit::Scratch::new();
        let private = home.join("rpc-of-its-own.sock");
        let listener = std::os::unix::net::UnixListener::bind(&private).unwrap();
        let guarded = Guarded {
            format: FORMAT,
            private_rpc: private.clone(),
            private_pub: home.join("pub.sock"),
            control: None,
            isolation: Isolation::SameUid,
            pid: 1,
        };
        let found = |socket: PathBuf| {
            Location { home: home.path().to_owned(), socket, origin: Origin::Variable }.behind_guard().socket
        };
        let public = home.join("rpc.sock");
        assert_eq!(found(public.clone()), public, "nothing guards it");
        let text = serde_json::to_vec(&guarded).unwrap();
        files::write_atomic(&Guarded::path(home.path()), &text, 0o644).unwrap();
        assert_eq!(found(public.clone()), private);
        assert_eq!(found("/run/named.sock".into()), PathBuf::from("/run/named.sock"));

        files::write_atomic(&Guarded::path(home.path()), &text, 0o666).unwrap();
        assert_eq!(found(public.clone()), public, "anybody may have written it");
        drop(listener);
        files::write_atomic(&Guarded::path(home.path()), &text, 0o644).unwrap();
        assert_eq!(found(public.clone()), public, "nobody listens on the daemon's own socket");
        std::fs::remove_file(Guarded::path(home.path())).unwrap();
        std::fs::create_dir(home.join("private")).unwrap();
        let usual = home.join("private/rpc.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&usual).unwrap();
        assert_eq!(found(public), usual, "a firewall that was killed has left no file");
    }
}
