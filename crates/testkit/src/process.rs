//! Operating-system processes: who runs, with which title and environment, and ending them by pid.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

/// Whether `pid` runs. A process that has ended and waits for its parent does not count; one of which a thread
/// still ends does, for its sockets may still take connections.
#[must_use]
pub fn is_running(pid: u32) -> bool {
    let threads = || fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    stat(pid).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X') || threads() > 1)
}

/// When `pid` started, in clock ticks since boot (field 22 of `/proc/PID/stat`); `None` if it does not run.
#[must_use]
pub fn start_ticks(pid: u32) -> Option<u64> {
    stat(pid).filter(|stat| stat.state != 'Z').map(|stat| stat.start_ticks)
}

/// The title of `pid`, or its arguments with spaces between.
#[must_use]
pub fn title(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    Some(text.trim_end().to_owned())
}

/// Ends `pid` at once (SIGKILL). One that is gone already is no error.
pub fn kill(pid: u32) {
    send(pid, Signal::KILL);
}

/// Asks `pid` to end (SIGTERM). One that is gone already is no error.
pub fn terminate(pid: u32) {
    send(pid, Signal::TERM);
}

/// Interrupts `pid` (SIGINT). One that is gone already is no error.
pub fn interrupt(pid: u32) {
    send(pid, Signal::INT);
}

/// Asks `pid` to end at once without cleaning up (SIGQUIT): PostgreSQL's immediate shutdown.
pub fn quit(pid: u32) {
    send(pid, Signal::QUIT);
}

/// Tells `pid` to begin anew (SIGHUP). One that is gone already is no error.
pub fn hang_up(pid: u32) {
    send(pid, Signal::HUP);
}

/// Stops `pid` where it stands (SIGSTOP): it runs on after [`thaw`].
pub fn freeze(pid: u32) {
    send(pid, Signal::STOP);
}

/// Lets a frozen `pid` run on (SIGCONT).
pub fn thaw(pid: u32) {
    send(pid, Signal::CONT);
}

fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        match kill_process(pid, signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => panic!("cannot signal process {}: {error}", pid.as_raw_nonzero()),
        }
    }
}

/// Waits until `pid` no longer runs.
///
/// # Panics
/// If it still runs after [`crate::PATIENCE`].
pub fn wait_gone(pid: u32) {
    crate::eventually(&format!("process {pid} ends"), || (!is_running(pid)).then_some(()));
}

/// All running processes whose title fits. A child that has not got a title of its own yet does not count.
#[must_use]
pub fn titled(fits: impl Fn(&str) -> bool) -> Vec<u32> {
    let fits = |pid: &u32| is_running(*pid) && title(*pid).is_some_and(|title| fits(&title));
    let found: Vec<u32> = all().into_iter().filter(fits).collect();
    let is_child = |pid: &u32| stat(*pid).is_some_and(|stat| found.contains(&stat.parent));
    found.iter().copied().filter(|pid| !is_child(pid)).collect()
}

/// All running processes that were started with `NAME=VALUE` in their environment.
#[must_use]
pub fn with_variable(name: &str, value: &Path) -> Vec<u32> {
    let wanted = format!("{name}={}", value.display());
    let has = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
    };
    all().into_iter().filter(|pid| has(pid) && is_running(*pid)).collect()
}

/// All running processes of a user.
#[must_use]
pub fn of_user(uid: u32) -> Vec<u32> {
    let owner = |pid: u32| fs::metadata(format!("/proc/{pid}")).ok().map(|found| found.uid());
    all().into_iter().filter(|pid| owner(*pid) == Some(uid) && is_running(*pid)).collect()
}

/// A variable that `pid` was started with.
#[must_use]
pub fn variable(pid: u32, name: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let prefix = format!("{name}=");
    let value =
        environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(prefix.as_bytes()))?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// The running children of `pid`.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let is_child = |found: &u32| stat(*found).is_some_and(|stat| stat.parent == pid && stat.state != 'Z');
    all().into_iter().filter(is_child).collect()
}

fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

struct Stat {
    state: char,
    parent: u32,
    start_ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command stands in parentheses and may hold anything, so fields are counted from the last one.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Stat { state, parent, start_ticks: fields.nth(17)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_child_counts_as_gone_before_its_parent_asks() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        assert!(is_running(child.id()) && start_ticks(child.id()).is_some());
        kill(child.id());
        wait_gone(child.id());
        child.wait().unwrap();
        assert_eq!(start_ticks(child.id()), None);
    }
}
