//! Who is at the other end, as far as the kernel tells.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use palisade_core::Actor;
use palisade_core::actor::{Claimed, Observed, ProcessRef, Tree};
use palisade_core::epoch::Job;
use palisade_host::peer::Peer;
use palisade_host::{Environment, claims, context, files, process};

use crate::evidence::Link;
use palisade_pm2::command_line::{CommandLine, MAX_FILE_BYTES};

/// One connection's caller.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Facts and claims, for the record and the budget.
    pub(crate) actor: Actor,
    /// The caller and its parents, for the evidence; empty if the caller could not be named.
    pub(crate) chain: Vec<Link>,
    /// The CI job that it belongs to, by its own variables or its parents'.
    pub(crate) job: Option<Job>,
    /// Whether its variables may be read. Those of another user's processes may not.
    pub(crate) shows_variables: bool,
    /// What its command line says, where it is a `pm2` that takes processes down or starts them again.
    pub(crate) line: Option<CommandLine>,
}

impl Caller {
    /// Looks at the process that connected. One that has ended, or became another, has no chain: what is left of it
    /// shows its parents and no command line, and half a look would say more for it than a whole one.
    pub(crate) fn of(peer: &Peer) -> Self {
        let known = peer.process.and_then(|process| Self::named(process, peer.uid));
        known.unwrap_or_else(|| Self {
            actor: nameless(peer),
            chain: Vec::new(),
            job: None,
            shows_variables: false,
            line: None,
        })
    }

    /// Whether the caller and its parents still are where they were: a process may go to another folder between two
    /// calls, and a parent may end.
    pub(crate) fn is_current(&self) -> bool {
        let stays = |link: &Link| link.cwd.is_none() || folder_of(link.process) == link.cwd;
        !self.chain.is_empty() && self.chain.iter().all(stays)
    }

    fn named(process: ProcessRef, uid: u32) -> Option<Self> {
        let mut actor = context::observe_process(process.pid, &process::environment(process.pid)).ok()?;
        if actor.claimed.forge.is_none()
            && let Some(variables) = variables_of_job(&actor)
        {
            actor = context::observe_process(process.pid, &variables).ok()?;
        }
        if actor.observed.process != process || actor.observed.uid != uid {
            return None;
        }
        let own = Link { process, cwd: folder_of(process), script: None };
        let parents = actor.observed.ancestors.iter().map(|parent| Link {
            process: parent.process,
            cwd: folder_of(parent.process).filter(|_| !SERVERS.contains(&parent.command.as_str())),
            script: parent
                .script
                .as_ref()
                .filter(|_| process::shares_mounts(parent.process.pid))
                .map(PathBuf::from),
        });
        let chain = std::iter::once(own).chain(parents).collect();
        let job = claims::job(&actor, None);
        let shows_variables = process::shows_environment(process.pid);
        let line = line_of(process.pid);
        // Last, so that all of it was read of one that still ran.
        runs(process).then_some(Self { actor, chain, job, shows_variables, line })
    }

    /// The caller as evidence may see it: without the claims of a job that once started this app of `daemon`.
    pub(crate) fn evident(&self, daemon: ProcessRef) -> Cow<'_, Actor> {
        if Job::of(&self.actor.claimed).is_none() || self.job(daemon).is_some() {
            return Cow::Borrowed(&self.actor);
        }
        Cow::Owned(Actor { claimed: Claimed::default(), ..self.actor.clone() })
    }

    /// The CI job, unless its variables are only those that an app of `daemon` has kept of its own start.
    pub(crate) fn job(&self, daemon: ProcessRef) -> Option<&Job> {
        let at = self.chain.iter().position(|link| link.process == daemon);
        let app = at.and_then(|at| self.chain.get(at.checked_sub(1)?)).map(|link| link.process);
        self.job.as_ref().filter(|job| !app.is_some_and(|app| claims::is_inherited(job, app)))
    }
}

/// Programs that start what others ask for: their working folder says where somebody started them. Short names, as
/// the kernel keeps them.
const SERVERS: [&str; 16] = [
    "tmux: server",
    "screen",
    "SCREEN",
    "sshd",
    "sshd-session",
    "cron",
    "crond",
    "atd",
    "systemd",
    "init",
    "Runner.Listener",
    "act_runner",
    "gitea-runner",
    "forgejo-runner",
    "gitlab-runner",
    "containerd-shim",
];

/// Whether the process still runs as itself. One that ends loses its command line before the kernel calls it ended.
fn runs(process: ProcessRef) -> bool {
    process::command_line(process.pid).is_ok_and(|words| !words.is_empty()) && process::is_alive(process)
}

/// What the command line says. A file that it names is read where the caller sees it, and only names are taken from it.
fn line_of(pid: u32) -> Option<CommandLine> {
    let words = process::command_line(pid).ok()?;
    let cwd = process::cwd(pid);
    CommandLine::read(&words, cwd.as_deref(), |path| {
        let path = path.strip_prefix("/").ok()?;
        let path = Path::new("/proc").join(pid.to_string()).join("root").join(path);
        let bytes = files::read_bounded(&path, MAX_FILE_BYTES).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    })
}

/// The variables of the nearest parent that runs in a CI job.
fn variables_of_job(actor: &Actor) -> Option<Environment> {
    // A daemon keeps the variables of whoever started it.
    let parents = actor.observed.ancestors.iter().take_while(|parent| !parent.command.starts_with("PM2 v"));
    let mut variables = parents.map(|parent| process::environment(parent.process.pid));
    variables.find(|variables| claims::forge_of(variables).is_some())
}

/// The working folder, if the process sees the same files as we do and is still the same process.
fn folder_of(process: ProcessRef) -> Option<PathBuf> {
    let folder = process::cwd(process.pid).filter(|_| process::shares_mounts(process.pid))?;
    process::is_alive(process).then_some(folder)
}

fn nameless(peer: &Peer) -> Actor {
    let process = ProcessRef { pid: peer.pid, start_ticks: 0 };
    let observed = Observed {
        uid: peer.uid,
        gid: peer.gid,
        user: None,
        process,
        session: 0,
        cwd: None,
        cgroup: None,
        host: context::host_name(),
        machine_id: None,
        ancestors: Vec::new(),
    };
    let missing = vec!["process".to_owned()];
    Actor { observed, claimed: Claimed::default(), missing, tree: Tree::session(process) }
}
