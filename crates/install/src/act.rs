//! The steps of a plan, carried out on the file system and on our own firewall. No app is touched.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown,
};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use palisade_core::actor::ProcessRef;
use palisade_host::clock::Stopwatch;
use palisade_host::{files, process};
use palisade_pm2::Guarded;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::found::{FindError, Found};
use crate::plan::Step;

/// How long a firewall may take to listen, and to end.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);
/// Most bytes of the firewall's log that an error shows.
const TOLD_BYTES: usize = 2000;

/// How the firewall is started.
#[derive(Debug, Clone)]
pub struct Program {
    /// The binary.
    pub path: PathBuf,
    /// Where it writes what it has to say; appended to.
    pub log: PathBuf,
    /// Further arguments.
    pub args: Vec<String>,
    /// The user and group to run it as; this one's if there is none.
    pub user: Option<(u32, u32)>,
    /// Variables that it gets besides this process's, where it runs as another user.
    pub variables: Vec<(String, PathBuf)>,
}

/// A step was not carried out. Those before it were, and all may be repeated.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
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
    /// The folder for the daemon's sockets is not private.
    #[error(transparent)]
    Folder(#[from] files::Error),
    /// The firewall ended at once.
    #[error("the firewall did not start: {}", .0.trim())]
    Ended(String),
    /// It does not listen, or does not end, in time.
    #[error("the firewall did not {what} within {} s", PATIENCE.as_secs())]
    Late {
        /// What it should have done.
        what: &'static str,
    },
    /// The home cannot be looked at any more.
    #[error(transparent)]
    Find(#[from] FindError),
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ActError {
    move |source| ActError::Io { operation, path: path.to_owned(), source }
}

/// Carries one step out.
///
/// # Errors
/// See [`ActError`].
pub fn carry_out(step: Step, found: &Found, program: &Program) -> Result<(), ActError> {
    let places = &found.places;
    match step {
        Step::MakePrivate => make_private(&places.private, found),
        Step::LinkPrivate => {
            link(&places.rpc, &places.private_rpc)?;
            link(&places.bus, &places.private_bus)
        }
        Step::TakeOver => start(program, found, &["--take-over"]),
        Step::StartAgain => start(program, found, &[]),
        Step::LinkPublic => {
            link(&places.private_bus, &places.bus)?;
            link(&places.private_rpc, &places.rpc)
        }
        Step::EndFirewall => found.holder.map_or(Ok(()), end),
        Step::RemoveLeftOver => remove_left_over(found),
    }
}

fn make_private(folder: &Path, found: &Found) -> Result<(), ActError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {
            std::fs::set_permissions(folder, Permissions::from_mode(0o700))
                .map_err(failed("set the mode of", folder))?;
            if found.uid != files::own_uid() {
                chown(folder, Some(found.uid), Some(found.gid)).map_err(failed("give away", folder))?;
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            files::private_folder(folder).map_err(ActError::Folder)
        }
        Err(error) => Err(failed("make", folder)(error)),
    }
}

/// Gives the socket at `from` the name `to` as well: beside it first and then renamed over it, so that `to` is
/// always one or the other.
fn link(from: &Path, to: &Path) -> Result<(), ActError> {
    let inode = |path: &Path| path.symlink_metadata().ok().map(|found| (found.dev(), found.ino()));
    if inode(from) == inode(to) {
        return Ok(());
    }
    let beside = to.with_extension("new");
    match std::fs::remove_file(&beside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("remove the left-over", &beside)(error)),
    }
    std::fs::hard_link(from, &beside).map_err(failed("link", from))?;
    std::fs::rename(&beside, to).map_err(failed("take the place of", to))
}

fn start(program: &Program, found: &Found, args: &[&str]) -> Result<(), ActError> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&program.log)
        .map_err(failed("open the log", &program.log))?;
    let mut command = Command::new(&program.path);
    command.arg("--pm2-home").arg(&found.places.home).args(args).arg("--detached").args(&program.args);
    let both = log.try_clone().map_err(failed("open the log", &program.log))?;
    command.current_dir("/").stdin(Stdio::null()).stdout(both).stderr(log);
    if let Some((uid, gid)) = program.user {
        command.uid(uid).gid(gid);
    }
    command.envs(program.variables.iter().map(|(name, value)| (name, value)));
    let before = program.log.metadata().map_or(0, |found| found.len());
    let mut child = command.spawn().map_err(failed("run", &program.path))?;
    let watch = Stopwatch::start();
    while watch.elapsed() < PATIENCE {
        if ended(&mut child) {
            return Err(ActError::Ended(told(&program.log, before)));
        }
        let now = Found::at(&found.places.home)?;
        if now.is_guarded() && now.holder.is_some_and(|holder| holder.pid == child.id()) {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    Err(ActError::Late { what: "listen" })
}

fn ended(child: &mut Child) -> bool {
    matches!(child.try_wait(), Ok(Some(_)) | Err(_))
}

/// What the firewall wrote since `before`.
fn told(log: &Path, before: u64) -> String {
    let bytes = files::read_bounded(log, 16 << 20).unwrap_or_default();
    let new = bytes.get(usize::try_from(before).unwrap_or(0)..).unwrap_or_default();
    let start = new.len().saturating_sub(TOLD_BYTES);
    String::from_utf8_lossy(&new[start..]).into_owned()
}

/// Asks the firewall to end, and waits until it has: its sockets stay where the daemon's took their places.
fn end(holder: ProcessRef) -> Result<(), ActError> {
    let path = PathBuf::from(format!("/proc/{}", holder.pid));
    let pid = i32::try_from(holder.pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid
        && let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
        && process::is_alive(holder)
    {
        pidfd_send_signal(handle, Signal::TERM).map_err(|errno| failed("end", &path)(errno.into()))?;
    }
    let watch = Stopwatch::start();
    while watch.elapsed() < PATIENCE {
        if !process::is_alive(holder) {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    Err(ActError::Late { what: "end" })
}

fn remove_left_over(found: &Found) -> Result<(), ActError> {
    let path = Guarded::path(&found.places.home);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}
