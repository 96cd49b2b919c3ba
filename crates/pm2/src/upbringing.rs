//! Starts the daemon where no supervisor does, alone and on its private sockets, and brings its apps back once.
//!
//! A daemon is started only where none runs: not beside one that answers, not beside one that is frozen, not beside
//! two. Apps that a dead daemon left behind go first, as far as its dump brings them back: each would run twice.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::client::{Answer, Client};
use crate::locate::Location;
use crate::methods::Call;
use crate::orphans;
use palisade_core::Scope;
use palisade_host::lease::{Acquired, Applicant, acquire};
use palisade_host::{Environment, Locations, files};
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

/// How long a command of PM2 may take: bringing a hundred apps back takes a while.
const COMMAND_WITHIN: Duration = Duration::from_secs(120);
/// How long the daemon may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long PM2 waits for an app to end, where the app says nothing else.
const KILL_TIMEOUT_MS: u64 = 1600;
/// Longest that is waited for apps to end.
const MOST_KILL_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest dump that is read.
const MAX_DUMP_BYTES: u64 = 64 * 1024 * 1024;
/// What the daemon inherits: enough to find node and to speak the host's language, and no caller's variables.
const INHERITED: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ"];
/// Where node is looked for if nothing else is known.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A supervisor's sockets lie at numbers from 3 on, and a daemon that inherits one keeps it open for ever. Files of a
/// daemon's apps are not for this process's user alone.
const PREPARE: &str = "umask 022; exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; exec \"$0\" \"$@\"";

/// Where the daemon is started, and with what.
#[derive(Debug, Clone)]
pub struct Nursery {
    /// Its home, and its own command socket.
    pub location: Location,
    /// Its own bus.
    pub private_pub: PathBuf,
    /// PM2's own command.
    pub script: PathBuf,
}

/// What was done, a sentence each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    /// Whether everything that the dump names is back.
    pub is_whole: bool,
    /// What was done.
    pub details: Vec<String>,
}

/// Why no daemon was started.
#[derive(Debug, thiserror::Error)]
pub enum NotRaised {
    /// One runs, or two.
    #[error("a daemon of this home runs and does not answer ({0}); end it, and one is started")]
    Runs(String),
    /// The process table cannot be read.
    #[error("cannot look for daemons of this home: {0}")]
    Unlisted(String),
    /// `palisade pm2 update`, `kill` or `restore` is at work.
    #[error("no daemon is started while {0} is at work on it")]
    Administered(String),
    /// PM2's command cannot be run.
    #[error("{} cannot be run", script.display())]
    Command {
        /// The command.
        script: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It failed, or did not end in time.
    #[error("{} {what} failed: {how}", script.display())]
    Failed {
        /// The command.
        script: PathBuf,
        /// Its word.
        what: &'static str,
        /// How it ended.
        how: String,
    },
}

/// An app of the dump; the rest of it holds values, and is not kept.
#[derive(Debug, Deserialize)]
struct Dumped {
    name: String,
    #[serde(default)]
    kill_timeout: Option<u64>,
    #[serde(default)]
    status: Option<String>,
}

impl Dumped {
    /// Whether it was stopped on purpose, and comes back like that.
    fn is_stopped(&self) -> bool {
        self.status.as_deref() == Some("stopped")
    }
}

/// An entry of the daemon's list; without a process its number is 0 or missing.
#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
    #[serde(default)]
    pid: Option<u32>,
}

/// Starts the daemon, ends what an earlier one left behind, and brings the apps of the dump back.
///
/// # Errors
/// See [`NotRaised`]. No second daemon was started.
pub async fn raise(nursery: &Nursery) -> Result<Raised, NotRaised> {
    // Held until the apps are back.
    let _lease = lease_of_daemon()?;
    let daemons = nursery.location.daemons().map_err(|error| NotRaised::Unlisted(error.to_string()))?;
    if !daemons.is_empty() {
        let pids: Vec<String> = daemons.iter().map(|daemon| format!("pid {}", daemon.pid)).collect();
        return Err(NotRaised::Runs(pids.join(", ")));
    }
    let dump = read_dump(&nursery.location.home);
    nursery.pm2("ping").await?;
    let mut details = vec!["the daemon did not run and was started".to_owned()];
    let home = nursery.location.home.clone();
    let names: BTreeSet<String> = dump.iter().map(|app| app.name.clone()).collect();
    let patience = dump.iter().map(|app| app.kill_timeout.unwrap_or(KILL_TIMEOUT_MS)).max();
    let patience = Duration::from_millis(patience.unwrap_or(KILL_TIMEOUT_MS)).min(MOST_KILL_TIMEOUT);
    let ended = tokio::task::spawn_blocking(move || orphans::end(&home, &names, patience)).await;
    details.extend(ended.unwrap_or_default());
    if dump.is_empty() {
        details.push("dump.pm2 holds no app, so none was started".to_owned());
        return Ok(Raised { is_whole: true, details });
    }
    let resurrected = nursery.pm2("resurrect").await;
    let missing = missing(nursery, &dump).await;
    if let Err(error) = &resurrected {
        details.push(error.to_string());
    }
    details.push(format!("{} apps of dump.pm2 are back", dump.len() - missing.len()));
    details.extend(missing.iter().map(|name| {
        format!(
            "{name} did not come back: `palisade pm2 snapshots` shows which snapshot has it, and `palisade pm2 restore` \
             brings it back"
        )
    }));
    Ok(Raised { is_whole: resurrected.is_ok() && missing.is_empty(), details })
}

/// The lease under which `palisade pm2 kill`, `update` and `restore` work: a daemon that one of them has just ended, or
/// is about to start, is not started here as well. Where no lease can be had for want of a disk, there is none.
fn lease_of_daemon() -> Result<Option<Acquired>, NotRaised> {
    let uid = rustix::process::geteuid().as_raw();
    let Ok(state) = Locations::default().state(&Environment::of_this_process(), uid) else { return Ok(None) };
    let folders = files::private_folder(state.root()).and_then(|()| files::private_folder(&state.leases()));
    let applicant = Applicant { program: "palisade-firewall".to_owned(), run: None };
    match folders.ok().and_then(|()| acquire(&state.leases(), &Scope::of_restores(), &applicant).ok()) {
        Some(Acquired::Busy(holder)) => Err(NotRaised::Administered(holder.to_string())),
        // A command that started this process is at work.
        Some(Acquired::Joined(_)) => Err(NotRaised::Administered("who started this firewall".to_owned())),
        held @ (Some(Acquired::Held(_)) | None) => Ok(held),
    }
}

impl Nursery {
    /// Runs PM2's own command line, past the firewall, with nothing of whoever started this process.
    async fn pm2(&self, what: &'static str) -> Result<(), NotRaised> {
        let environment = Environment::of_this_process();
        let inherited = INHERITED.iter().filter_map(|name| Some((*name, environment.get(name)?)));
        let home = &self.location.home;
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(PREPARE).arg(&self.script).arg(what).env_clear().env("PATH", USUAL_PATH);
        command.envs(inherited);
        command.env("PM2_HOME", home).env("PM2_DAEMON_RPC_PORT", &self.location.socket);
        command.env("PM2_DAEMON_PUB_PORT", &self.private_pub).current_dir(home);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let script = || self.script.clone();
        let failed = |how: String| NotRaised::Failed { script: script(), what, how };
        let mut child = command.spawn().map_err(|source| NotRaised::Command { script: script(), source })?;
        let ended = timeout(COMMAND_WITHIN, child.wait()).await;
        let status = ended.map_err(|_| failed("it does not end".to_owned()))?;
        let status = status.map_err(|source| NotRaised::Command { script: script(), source })?;
        if status.success() { Ok(()) } else { Err(failed(status.to_string())) }
    }
}

/// The apps of the dump, none where there is no dump that can be read.
fn read_dump(home: &Path) -> Vec<Dumped> {
    let read = |name: &str| {
        let bytes = files::read_bounded(&home.join(name), MAX_DUMP_BYTES).ok()?;
        serde_json::from_slice::<Vec<Dumped>>(&bytes).ok()
    };
    read("dump.pm2").or_else(|| read("dump.pm2.bak")).unwrap_or_default()
}

/// Names of the dump of which fewer run than it says.
async fn missing(nursery: &Nursery, dump: &[Dumped]) -> Vec<String> {
    let mut running = listed(nursery).await;
    let mut missing = Vec::new();
    for app in dump {
        let is_back = |listed: &Listed| {
            listed.name == app.name && (app.is_stopped() || listed.pid.is_some_and(|pid| pid > 0))
        };
        match running.iter().position(is_back) {
            Some(at) => drop(running.swap_remove(at)),
            None => missing.push(app.name.clone()),
        }
    }
    missing
}

async fn listed(nursery: &Nursery) -> Vec<Listed> {
    let Ok(mut client) = Client::connect(&nursery.location.socket, ANSWER_WITHIN).await else {
        return Vec::new();
    };
    match client.call(&Call::list(), ANSWER_WITHIN).await {
        Answer::Done(reply) => reply.read().unwrap_or_default(),
        Answer::Refused(_) | Answer::NoReply(_) | Answer::NotSent(_) => Vec::new(),
    }
}
