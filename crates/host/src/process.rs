//! What `/proc` says of processes.
//!
//! A number alone never names a process: it is given away again. A [`ProcessRef`] adds the start time, and readers
//! that put several files together look at the start time again at the end, so that one answer is about one process.

mod chain;
mod stat;

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use palisade_core::actor::ProcessRef;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::environment::Environment;
use crate::files;

pub use chain::{Found, MAX_ANCESTORS, ancestors, children, find_all, find_all_but};
pub use stat::{Credentials, Stat, State};

/// Most bytes of a command line that are looked at.
pub const MAX_COMMAND_LINE_BYTES: u64 = 64 * 1024;
/// Most bytes of any other file of `/proc` that are looked at.
const MAX_BYTES: u64 = 64 * 1024;

/// Why `/proc` gave no answer about a process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such process, or `/proc` hides it from this user (`hidepid`).
    #[error("process {pid} is not there")]
    Gone {
        /// The number asked for.
        pid: u32,
    },
    /// The file is there and cannot be read.
    #[error("cannot read /proc/{pid}/{file}")]
    Unreadable {
        /// The number asked for.
        pid: u32,
        /// Name of the file below `/proc/PID`.
        file: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// `/proc` itself cannot be listed.
    #[error("cannot list /proc")]
    Unlisted(#[source] io::Error),
    /// The file does not look as proc(5) describes it.
    #[error("/proc/{pid}/{file} is not as expected: {rule}")]
    Malformed {
        /// The number asked for.
        pid: u32,
        /// Name of the file below `/proc/PID`.
        file: &'static str,
        /// What was expected.
        rule: &'static str,
    },
}

/// This process.
///
/// # Errors
/// If `/proc` is not mounted or belongs to another pid namespace.
pub fn this() -> Result<ProcessRef, Error> {
    Ok(stat(std::process::id())?.process)
}

/// Identity, parent, session, group and state of a process.
///
/// # Errors
/// [`Error::Gone`] if there is no such process, else why its file could not be read.
pub fn stat(pid: u32) -> Result<Stat, Error> {
    let text = read(pid, "stat", MAX_BYTES)?;
    stat::parse_stat(pid, &text).ok_or(Error::Malformed {
        pid,
        file: "stat",
        rule: "PID (COMM) STATE and 19 numbers",
    })
}

/// Effective user and group id of a process.
///
/// # Errors
/// As [`stat`].
pub fn credentials(pid: u32) -> Result<Credentials, Error> {
    let text = read(pid, "status", MAX_BYTES)?;
    stat::parse_status(&text).ok_or(Error::Malformed {
        pid,
        file: "status",
        rule: "lines `Uid:` and `Gid:` of 4 numbers",
    })
}

/// Whether exactly this process still runs: the number exists, with that start time, and is not a zombie.
///
/// Says `false` only when the death is proven. Where `/proc` hides other users' processes (`hidepid`) but the
/// kernel still knows the number, the answer is `true`.
#[must_use]
pub fn is_alive(process: ProcessRef) -> bool {
    match stat(process.pid) {
        Ok(stat) => stat.process == process && stat.state == State::Present,
        Err(Error::Gone { pid }) => number_is_taken(pid),
        Err(Error::Unreadable { .. } | Error::Malformed { .. } | Error::Unlisted(_)) => true,
    }
}

fn number_is_taken(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// The short name of the command, at most 15 bytes, as the process set it.
///
/// # Errors
/// As [`stat`].
pub fn command(pid: u32) -> Result<String, Error> {
    Ok(stat(pid)?.command)
}

/// Path of the executable; ends in ` (deleted)` where the file was replaced. `None` where it may not be read.
#[must_use]
pub fn executable(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// Working folder, as named in that process's mount namespace. `None` where it may not be read.
#[must_use]
pub fn cwd(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// Whether a process sees the same files under the same paths as this one. `false` where that may not be read.
#[must_use]
pub fn shares_mounts(pid: u32) -> bool {
    let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let theirs = of(&pid.to_string());
    theirs.is_some() && theirs == of("self")
}

/// Which numbers of processes this process sees, as the kernel names that space: two containers on one machine
/// differ. `None` where it may not be read.
#[must_use]
pub fn number_space() -> Option<String> {
    let link = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// The variables that a process was started with, of at most 1 MiB; none where they may not be read.
///
/// They may hold secrets: look, and keep nothing.
#[must_use]
pub fn environment(pid: u32) -> Environment {
    let bytes = read(pid, "environ", 1 << 20).unwrap_or_default();
    let variable = |entry: &[u8]| {
        let at = entry.iter().position(|byte| *byte == b'=')?;
        Some((OsString::from_vec(entry[..at].to_vec()), OsString::from_vec(entry[at + 1..].to_vec())))
    };
    bytes.split(|byte| *byte == 0).filter_map(variable).collect()
}

/// Whether this user may read a process's variables: those of other users' processes are hidden.
#[must_use]
pub fn shows_environment(pid: u32) -> bool {
    std::fs::File::open(format!("/proc/{pid}/environ")).is_ok()
}

/// Control group path: that of cgroup v2, else of the first v1 hierarchy listed. `None` where it may not be read.
#[must_use]
pub fn cgroup(pid: u32) -> Option<String> {
    let text = read(pid, "cgroup", MAX_BYTES).ok()?;
    stat::parse_cgroup(&String::from_utf8_lossy(&text))
}

/// The words of the command line, of at most [`MAX_COMMAND_LINE_BYTES`]; none for a kernel thread or a zombie.
///
/// They may hold secrets: look, and keep nothing.
///
/// # Errors
/// As [`stat`].
pub fn command_line(pid: u32) -> Result<Vec<OsString>, Error> {
    let bytes = read(pid, "cmdline", MAX_COMMAND_LINE_BYTES)?;
    // A process that sets its title leaves zero bytes where its arguments were.
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    Ok(match &bytes[..end] {
        [] => Vec::new(),
        words => words.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect(),
    })
}

/// The first `max` bytes of `/proc/PID/FILE`.
fn read(pid: u32, file: &'static str, max: u64) -> Result<Vec<u8>, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/{file}"));
    files::read_start(&path, max).map_err(|source| {
        match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::SRCH) => Error::Gone { pid },
            _ => Error::Unreadable { pid, file, source },
        }
    })
}
