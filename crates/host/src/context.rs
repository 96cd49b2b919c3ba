//! The caller as a whole: observed facts, claims, and the tree that budgets run over.

use std::path::{Path, PathBuf};

use palisade_core::actor::{Actor, Claimed, Observed, ProcessRef, Tree};
use palisade_core::canonical::sha256_hex;

use crate::claims::{self, Claims};
use crate::environment::Environment;
use crate::process::{self, Stat};
use crate::{files, state};

/// Describes this process, with the variables given, as the one who asks.
///
/// # Errors
/// If `/proc` does not tell who this process is: a caller without identity cannot be judged.
pub fn observe(environment: &Environment) -> Result<Actor, process::Error> {
    observe_process(std::process::id(), environment)
}

/// Describes the process called `pid`, with the variables given, as the one who asks.
///
/// # Errors
/// If `/proc` does not tell who it is, or it has ended meanwhile.
pub fn observe_process(pid: u32, environment: &Environment) -> Result<Actor, process::Error> {
    let own = process::stat(pid)?;
    let credentials = process::credentials(pid)?;
    let cwd = process::cwd(pid);
    let Claims { claimed, mut missing } = claims::collect(environment, cwd.as_deref());
    let observed = Observed {
        uid: credentials.uid,
        gid: credentials.gid,
        user: state::user_name(Path::new("/etc/passwd"), credentials.uid),
        process: own.process,
        session: own.session,
        cwd: cwd.map(|folder: PathBuf| folder.to_string_lossy().into_owned()),
        cgroup: process::cgroup(pid),
        host: host_name(),
        machine_id: machine_id(Path::new("/etc/machine-id")),
        ancestors: process::ancestors(pid),
    };
    // The pieces were read one after another: they are one process's only if it is still the same.
    if process::stat(pid)?.process != own.process {
        return Err(process::Error::Gone { pid });
    }
    missing.extend(missing_facts(&observed));
    let (leader, leader_is_known) = session_leader(&own);
    if !leader_is_known {
        missing.push("session_leader".to_owned());
    }
    Ok(Actor { tree: tree_of(&claimed, &observed, leader), observed, claimed, missing })
}

/// Name of this host, as `uname -n` says it.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The first 16 hex digits of SHA-256 of `palisade:` and the machine's id. The id itself is confidential
/// (machine-id(5)), so it is hashed for this use. `None` if the file is absent or empty, as in many containers.
#[must_use]
pub fn machine_id(file: &Path) -> Option<String> {
    let bytes = files::read_bounded(file, 256).ok()?;
    let id = String::from_utf8(bytes).ok()?;
    let id = id.trim();
    (!id.is_empty() && id != "uninitialized")
        .then(|| sha256_hex(format!("palisade:{id}").as_bytes())[..16].to_owned())
}

fn missing_facts(observed: &Observed) -> Vec<String> {
    let facts = [
        ("user", observed.user.is_none()),
        ("cwd", observed.cwd.is_none()),
        ("cgroup", observed.cgroup.is_none()),
        ("machine_id", observed.machine_id.is_none()),
    ];
    facts.into_iter().filter(|(_, absent)| *absent).map(|(name, _)| name.to_owned()).collect()
}

/// The leader of the process's session, and whether it is still there.
///
/// The kernel does not give a session's number away while a process is in it. So without a leader the number with
/// start time 0 still names this session and no other.
fn session_leader(own: &Stat) -> (ProcessRef, bool) {
    match process::stat(own.session) {
        Ok(leader) if leader.session == own.session => (leader.process, true),
        Ok(_) | Err(_) => (ProcessRef { pid: own.session, start_ticks: 0 }, false),
    }
}

/// Short names of processes that start CI jobs, as the kernel keeps them: at most 15 bytes.
const RUNNERS: [&str; 6] =
    ["Runner.Listener", "Runner.Worker", "act_runner", "gitea-runner", "forgejo-runner", "gitlab-runner"];

/// One attempt of a CI job where a run is claimed, else one container, else what a runner started, else one session.
/// Parts of a run that are not claimed are empty.
fn tree_of(claimed: &Claimed, observed: &Observed, leader: ProcessRef) -> Tree {
    let part = |value: &Option<String>| value.clone().unwrap_or_default();
    if let Some(run) = &claimed.run_id {
        return Tree::ci(&part(&claimed.repository), run, &part(&claimed.job), &part(&claimed.run_attempt));
    }
    if let Some(container) = observed.cgroup.as_deref().and_then(container_of) {
        return Tree::container(container);
    }
    runners_child(observed).map_or_else(|| Tree::session(leader), Tree::runners_child)
}

/// The control group of the container that `cgroup` is in or below, if its name is one that engines give.
fn container_of(cgroup: &str) -> Option<&str> {
    let is_id = |name: &str| name.len() >= 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let of_engine = |name: &str| {
        let name = name.strip_suffix(".scope").unwrap_or(name);
        let id = name.rsplit_once('-').map_or(name, |(_, id)| id);
        is_id(id)
    };
    let mut end = 0;
    for part in cgroup.split('/') {
        end += part.len();
        if of_engine(part) {
            return Some(&cgroup[..end]);
        }
        end += 1;
    }
    None
}

/// What the outermost runner above the caller started: its job, with everything that the job started.
fn runners_child(observed: &Observed) -> Option<ProcessRef> {
    let runner = observed.ancestors.iter().rposition(|parent| RUNNERS.contains(&parent.command.as_str()))?;
    let child = runner.checked_sub(1).map(|below| observed.ancestors[below].process);
    Some(child.unwrap_or(observed.process))
}

#[cfg(test)]
mod tests {
    use palisade_core::actor::Ancestor;

    use super::*;

    const LEADER: ProcessRef = ProcessRef { pid: 40, start_ticks: 7 };

    #[test]
    fn a_claimed_run_is_a_tree_of_its_own_and_a_shell_belongs_to_its_session() {
        let text = |value: &str| Some(value.to_owned());
        let job = Claimed {
            repository: text("octo/site"),
            run_id: text("91"),
            job: text("deploy"),
            run_attempt: text("2"),
            ..Claimed::default()
        };
        let tree = |claimed: &Claimed| tree_of(claimed, &observed("/user.slice", &[]), LEADER);
        assert_eq!(tree(&job).as_str(), "ci:octo/site:91:deploy:2");
        assert_eq!(tree(&Claimed { run_attempt: None, ..job }).as_str(), "ci:octo/site:91:deploy:");
        assert_eq!(tree(&Claimed::default()).as_str(), "session:40:7");
    }

    fn observed(cgroup: &str, commands: &[&str]) -> Observed {
        let parent = |(pid, command): (u32, &&str)| Ancestor {
            process: ProcessRef { pid, start_ticks: 1 },
            uid: 1,
            command: (*command).to_owned(),
            executable: None,
            script: None,
        };
        Observed {
            uid: 1,
            gid: 1,
            user: None,
            process: ProcessRef { pid: 99, start_ticks: 1 },
            session: 40,
            cwd: None,
            cgroup: Some(cgroup.to_owned()),
            host: String::new(),
            machine_id: None,
            ancestors: (100..).zip(commands).map(parent).collect(),
        }
    }

    #[test]
    fn without_a_run_a_container_is_a_tree_then_what_a_runner_started() {
        let tree = |cgroup: &str, commands: &[&str]| {
            tree_of(&Claimed::default(), &observed(cgroup, commands), LEADER).as_str().to_owned()
        };
        let id = "0123456789abcdef".repeat(4);
        for container in [
            format!("/docker/{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/machine.slice/libpod-{id}.scope"),
            format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
        ] {
            assert_eq!(tree(&container, &[]), format!("container:{container}"));
            assert_eq!(tree(&format!("{container}/init"), &["act_runner"]), format!("container:{container}"));
        }
        assert_eq!(tree("/x", &["sh", "bash", "act_runner", "systemd"]), "runner:101:1");
        assert_eq!(tree("/x", &["act_runner"]), "runner:99:1");
        let worker = ["bash", "Runner.Worker", "Runner.Listener", "systemd"];
        assert_eq!(tree("/x", &worker), "runner:101:1", "one tree per job, and a worker is one job's");
        assert_eq!(tree("/user.slice/session-3.scope", &["bash", "sshd"]), "session:40:7");
    }

    #[test]
    fn the_machine_id_is_hashed_and_an_absent_one_is_not_made_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("machine-id");
        assert_eq!(machine_id(&file), None);
        for empty in ["", "\n", "uninitialized\n"] {
            std::fs::write(&file, empty).unwrap();
            assert_eq!(machine_id(&file), None, "{empty:?}");
        }
        std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
        let id = machine_id(&file).unwrap();
        assert_eq!(id, sha256_hex(b"palisade:0123456789abcdef0123456789abcdef")[..16]);
    }
}
