//! Ends a PM2 daemon with its apps, and starts one: the acts behind `palisade pm2 kill` and `update`.
//!
//! The daemon is ended by SIGTERM. It then deletes its apps and goes, and unlike after its own `killMe` the path of its
//! socket stays: that may be the firewall's by now.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use palisade_core::actor::ProcessRef;
use palisade_host::clock::Stopwatch;
use palisade_host::{files, process};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::act::ActError;

/// How long a daemon may take to end with its apps: each has its own time to go.
const END_WITHIN: Duration = Duration::from_secs(90);
/// How long PM2's command line may take.
const COMMAND_WITHIN: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(20);

/// PM2's own command line, as the daemon's user.
#[derive(Debug, Clone)]
pub struct Pm2Command {
    /// PM2's script.
    pub script: PathBuf,
    /// The daemon's `PM2_HOME`.
    pub home: PathBuf,
    /// The user's home folder.
    pub user_home: PathBuf,
    /// The daemon's user and group.
    pub user: (u32, u32),
    /// Where programs are found, node among them.
    pub path: String,
    /// The daemon's own sockets, where a firewall stands at the usual ones.
    pub private: Option<(PathBuf, PathBuf)>,
}

/// Ends the daemon, and waits until it and `apps` are gone.
///
/// # Errors
/// It may not be signalled, or something of it still runs in the end.
pub fn end(daemon: ProcessRef, apps: &[ProcessRef]) -> Result<(), ActError> {
    signal(daemon)?;
    let watch = Stopwatch::start();
    while watch.elapsed() < END_WITHIN {
        if !process::is_alive(daemon) && !apps.iter().any(|app| process::is_alive(*app)) {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    Err(ActError::Late { what: "end with all its apps" })
}

/// Sends SIGTERM to exactly this process.
fn signal(daemon: ProcessRef) -> Result<(), ActError> {
    let failed = |source: io::Error| ActError::Io {
        operation: "end",
        path: PathBuf::from(format!("/proc/{}", daemon.pid)),
        source,
    };
    let pid = i32::try_from(daemon.pid).ok().and_then(Pid::from_raw);
    let Some(pid) = pid else { return Ok(()) };
    let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| failed(errno.into()))?;
    // The handle is of whoever has the number now; the start time says whether that is still the daemon.
    if process::is_alive(daemon) {
        pidfd_send_signal(handle, Signal::TERM).map_err(|errno| failed(errno.into()))?;
    }
    Ok(())
}

impl Pm2Command {
    /// Runs it to its end. What it says goes to `log`.
    ///
    /// # Errors
    /// It cannot be run, fails, or does not end in time.
    pub fn run(&self, words: &[&str], log: &Path) -> Result<(), ActError> {
        let failed = |operation, path: &Path| {
            let path = path.to_owned();
            move |source| ActError::Io { operation, path, source }
        };
        let file = files::open_or_create_private(log)?;
        let both = file.try_clone().map_err(failed("open", log))?;
        let mut command = Command::new(&self.script);
        command.args(words).current_dir(&self.home).env_clear().env("PATH", &self.path);
        command.env("HOME", &self.user_home).env("PM2_HOME", &self.home);
        if let Some((rpc, bus)) = &self.private {
            command.env("PM2_DAEMON_RPC_PORT", rpc).env("PM2_DAEMON_PUB_PORT", bus);
        }
        if self.user.0 != files::own_uid() {
            command.uid(self.user.0).gid(self.user.1);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(both)
            .stderr(file)
            .spawn()
            .map_err(failed("run", &self.script))?;
        let watch = Stopwatch::start();
        while watch.elapsed() < COMMAND_WITHIN {
            match child.try_wait().map_err(failed("wait for", &self.script))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    let said = files::read_bounded(log, 1 << 20).unwrap_or_default();
                    let said = String::from_utf8_lossy(&said).into_owned();
                    return Err(ActError::Ended(format!("`pm2 {}`: {status}: {said}", words.join(" "))));
                }
                None => std::thread::sleep(POLL),
            }
        }
        // It waits for a daemon that does not answer; nobody needs its answer any more.
        child.kill().map_err(failed("end", &self.script))?;
        Err(ActError::Late { what: "answer PM2's command line" })
    }
}
