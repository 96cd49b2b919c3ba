//! Apps that a dead daemon has left running: each would run twice once the next daemon brings them back.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use palisade_host::{Environment, process};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Ends the apps that a dead daemon of this home left behind and that its dump names, as a supervisor would: their
/// signal first, the certain one after `patience`. Says what it did, and what it left, a sentence each. Waits.
#[must_use]
pub fn end(home: &Path, names: &BTreeSet<String>, patience: Duration) -> Vec<String> {
    let (ours, others): (Vec<Orphan>, Vec<Orphan>) =
        left(home).into_iter().partition(|orphan| names.contains(&orphan.name));
    let mut details: Vec<String> = others
        .iter()
        .map(|orphan| {
            format!(
                "{} (pid {}) runs on without its daemon; dump.pm2 does not name it",
                orphan.name, orphan.pid
            )
        })
        .collect();
    for orphan in &ours {
        // It may have ended by itself.
        pidfd_send_signal(&orphan.pidfd, orphan.signal).unwrap_or_default();
    }
    for orphan in &ours {
        let within = Timespec::try_from(patience).ok();
        let polled = poll(&mut [PollFd::new(&orphan.pidfd, PollFlags::IN)], within.as_ref());
        let how = if polled == Ok(1) {
            "ended"
        } else {
            pidfd_send_signal(&orphan.pidfd, Signal::KILL).unwrap_or_default();
            "killed"
        };
        details.push(format!("{} (pid {}) of the dead daemon was {how}", orphan.name, orphan.pid));
    }
    details
}

struct Orphan {
    name: String,
    pid: u32,
    pidfd: OwnedFd,
    signal: Signal,
}

/// Apps of this home whose daemon is gone. Their own children carry their variables too, and are theirs to end.
fn left(home: &Path) -> Vec<Orphan> {
    let uid = rustix::process::geteuid().as_raw();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let carrying: Vec<(u32, u32, Environment)> = pids
        .filter(|pid| process::credentials(*pid).is_ok_and(|credentials| credentials.uid == uid))
        .filter_map(|pid| {
            let variables = process::environment(pid);
            let of_home = variables.absolute_path("PM2_HOME").as_deref() == Some(home);
            (of_home && variables.get("pm_id").is_some()).then_some(())?;
            Some((pid, process::stat(pid).ok()?.parent, variables))
        })
        .collect();
    let is_child = |parent: u32| carrying.iter().any(|(pid, _, _)| *pid == parent);
    let tops = carrying.iter().filter(|(_, parent, _)| !is_child(*parent));
    tops.filter_map(|(pid, _, variables)| {
        let name = variables.text("name")?;
        let pidfd = pidfd_open(Pid::from_raw(i32::try_from(*pid).ok()?)?, PidfdFlags::empty()).ok()?;
        // The number may have been given away between the look and the descriptor.
        (process::environment(*pid) == *variables).then_some(())?;
        Some(Orphan { name, pid: *pid, pidfd, signal: signal_of(variables) })
    })
    .collect()
}

fn signal_of(variables: &Environment) -> Signal {
    match variables.text("PM2_KILL_SIGNAL").as_deref() {
        Some("SIGTERM") => Signal::TERM,
        Some("SIGQUIT") => Signal::QUIT,
        Some("SIGHUP") => Signal::HUP,
        Some("SIGKILL") => Signal::KILL,
        Some(_) | None => Signal::INT,
    }
}
