//! Registrations: a process that was announced says whose its tree is.
//!
//! Each is a private file in the folder of registrations, `PID-START.json`. It counts while exactly that process
//! runs on this boot; what is left of others is ignored, and removed by [`prune`]. A registration picks one of the
//! apps that the caller's user may touch; it adds none.

mod accept;

use std::io::{self, BufRead as _, BufReader, Read as _, Take, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_core::actor::{ProcessRef, Tree};
use palisade_core::{Scope, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{clock, files, process};

pub use accept::{NotAccepted, accept};

/// Version of the file's form, and of what is said over a control socket.
pub const FORMAT: u32 = 1;
/// Longest line over a control socket.
pub const MAX_LINE_BYTES: usize = 16 * 1024;
/// How long a firewall may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Largest file that is read.
const MAX_BYTES: u64 = 16 * 1024;
/// Most files that are looked at.
const MOST: usize = 4096;
const ENDING: &str = ".json";

/// A registration that could not be written, or a folder that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or the folder could not be used.
    #[error("the registration cannot be used")]
    File(#[from] files::Error),
    /// The process is not there, so there is nothing to register.
    #[error("process {} has ended, or is another one by now", .0.pid)]
    Gone(ProcessRef),
    /// The firewall refuses.
    #[error("{0}")]
    Refused(String),
    /// No firewall answers.
    #[error("no firewall answers on {}", path.display())]
    Silent {
        /// The control socket.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The folder cannot be listed.
    #[error("cannot list {}", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The CI attempt that a registration is for. Where a runner runs two jobs below one process, the caller's own
/// variables have to name this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Repository, `owner/name`.
    pub repository: String,
    /// Id of the run.
    pub run_id: String,
    /// The job.
    pub job: String,
    /// The attempt.
    pub attempt: String,
}

impl Run {
    /// What budgets run over.
    #[must_use]
    pub fn tree(&self) -> Tree {
        Tree::ci(&self.repository, &self.run_id, &self.job, &self.attempt)
    }
}

/// One tree of processes, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The process whose tree it is, itself included.
    pub process: ProcessRef,
    /// Whose.
    pub scope: Scope,
    /// Effective user id of that process.
    pub uid: u32,
    /// The CI attempt, where there is one.
    pub run: Option<Run>,
    /// Who registered it: `palisade ci admit`.
    pub program: String,
    /// When.
    pub since: Timestamp,
    /// Whether a run of another app was registered for the same process before: then the process does not tell
    /// which of them a caller belongs to, and only the caller's own variables do. [`register`] finds it out.
    pub is_shared: bool,
}

impl Registration {
    /// What budgets of this tree run over.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.run.as_ref().map_or_else(|| Tree::registered(self.process), Run::tree)
    }
}

/// What a caller of another user than the firewall's asks it to register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announcement {
    /// [`FORMAT`].
    pub format: u32,
    /// Whose the tree is.
    pub scope: Scope,
    /// The caller itself if left out, or a parent of it that runs as the same user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The CI attempt, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// Who asks: `palisade ci admit`.
    pub program: String,
}

/// What a firewall answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// It is registered.
    Done,
    /// It is not, and why.
    Refused(String),
}

/// Asks the firewall that listens on the control socket at `socket`.
///
/// # Errors
/// Nobody answers there, or the firewall refuses.
pub fn announce(socket: &Path, announcement: &Announcement) -> Result<(), Error> {
    let mut answer = String::new();
    let mut answers = ask(socket, announcement, ANSWER_WITHIN, MAX_LINE_BYTES as u64)?;
    answers.read_line(&mut answer).map_err(|source| silent(socket, source))?;
    match serde_json::from_str(&answer) {
        Ok(Reply::Done) => Ok(()),
        Ok(Reply::Refused(text)) => Err(Error::Refused(text)),
        Err(_) => Err(not_understood(socket)),
    }
}

/// Sends one line to a control socket, and gives what is answered to read.
pub(crate) fn ask(
    socket: &Path,
    asked: &impl Serialize,
    within: Duration,
    most: u64,
) -> Result<BufReader<Take<UnixStream>>, Error> {
    let failed = |source| silent(socket, source);
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.set_read_timeout(Some(within)).map_err(failed)?;
    let mut line = palisade_core::canonical::json(asked).into_bytes();
    line.push(b'\n');
    stream.write_all(&line).map_err(failed)?;
    Ok(BufReader::new(stream.take(most)))
}

/// No answer came.
pub(crate) fn silent(socket: &Path, source: io::Error) -> Error {
    Error::Silent { path: socket.to_owned(), source }
}

/// What was answered is no answer of this version.
pub(crate) fn not_understood(socket: &Path) -> Error {
    silent(socket, io::ErrorKind::InvalidData.into())
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: u32,
    process: ProcessRef,
    boot: String,
    scope: Scope,
    uid: u32,
    run: Option<Run>,
    program: String,
    since: Timestamp,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_shared: bool,
}

/// Writes a registration in `folder`, which is made if need be. One process has one: the last counts.
///
/// # Errors
/// The process has ended, runs as another user, or the file cannot be written.
pub fn register(folder: &Path, registration: &Registration) -> Result<(), Error> {
    let Registration { process, scope, uid, run, program, since, is_shared } = registration.clone();
    let runs_as = process::credentials(process.pid).map(|credentials| credentials.uid).ok();
    if runs_as != Some(uid) || !process::is_alive(process) {
        return Err(Error::Gone(process));
    }
    files::private_folder(folder)?;
    let boot = clock::boot_id()?;
    let before = read(&path_of(folder, process), &boot);
    let is_shared = is_shared
        || before.is_some_and(|before| before.is_shared || (before.run.is_some() && before.scope != scope));
    let written = Written { format: FORMAT, process, boot, scope, uid, run, program, since, is_shared };
    let mut bytes = palisade_core::canonical::json(&written).into_bytes();
    bytes.push(b'\n');
    // After a power cut there is no such process any more, so nothing has to be durable.
    Ok(files::replace(&path_of(folder, process), &bytes, 0o600)?)
}

/// Takes a registration back. One that is not there is as good.
///
/// # Errors
/// The file cannot be removed.
pub fn withdraw(folder: &Path, process: ProcessRef) -> Result<(), Error> {
    let path = path_of(folder, process);
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(files::Error::Io { operation: "remove", path, source }.into()),
    }
}

/// The registrations in `folder` of processes that still run. A file that cannot be understood counts for nothing:
/// that takes rights away and gives none. An absent folder holds none.
///
/// # Errors
/// The folder cannot be listed, or there is no boot id.
pub fn list(folder: &Path) -> Result<Vec<Registration>, Error> {
    let boot = clock::boot_id()?;
    let paths = paths(folder)?;
    Ok(paths.iter().filter_map(|path| read(path, &boot)).filter(is_there).collect())
}

/// Removes what is left of processes that have ended.
///
/// # Errors
/// As [`list`], or a file cannot be removed.
pub fn prune(folder: &Path) -> Result<usize, Error> {
    let boot = clock::boot_id()?;
    let mut removed = 0;
    for path in paths(folder)? {
        if !read(&path, &boot).is_some_and(|registration| is_there(&registration)) {
            match std::fs::remove_file(&path) {
                Ok(()) => removed += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(files::Error::Io { operation: "remove", path, source }.into()),
            }
        }
    }
    Ok(removed)
}

fn path_of(folder: &Path, process: ProcessRef) -> PathBuf {
    folder.join(format!("{}-{}{ENDING}", process.pid, process.start_ticks))
}

fn paths(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::List { path: folder.to_owned(), source }),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let ours = |name: &String| name.ends_with(ENDING) && !name.starts_with('.');
    Ok(names.filter(ours).take(MOST).map(|name| folder.join(name)).collect())
}

fn read(path: &Path, boot: &str) -> Option<Registration> {
    let bytes = files::read_from(files::open_private(path).ok()?, path, MAX_BYTES).ok()?;
    let Written { format, process, boot: booted, scope, uid, run, program, since, is_shared } =
        serde_json::from_slice(&bytes).ok()?;
    // The name says what the content says, so that withdrawing one does not leave another of the same process.
    let is_ours = format == FORMAT && booted == boot && path.ends_with(path_of(Path::new(""), process));
    is_ours.then_some(Registration { process, scope, uid, run, program, since, is_shared })
}

/// Whether the process still runs, as the user that it ran as.
fn is_there(registration: &Registration) -> bool {
    let runs_as = process::credentials(registration.process.pid).map(|credentials| credentials.uid);
    runs_as.is_ok_and(|uid| uid == registration.uid) && process::is_alive(registration.process)
}
