//! Who asks: what was observed of the caller, and what the caller claims, kept apart.
//!
//! The first incident's lesson is that a claim (an application name, a CI variable) proves nothing. Observed
//! facts come from the kernel; claims come from variables and files that any process may set.

use serde::{Deserialize, Serialize};

/// The caller of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// Facts that the kernel gave.
    pub observed: Observed,
    /// What the surroundings say of themselves; evidence, never authority.
    pub claimed: Claimed,
    /// Facts that this context does not offer, by name, so that an empty field is not read as "none".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// The caller's tree: what budgets run over.
    pub tree: Tree,
}

/// Facts about the calling process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Name of that user, where the user database has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Process id and start time.
    pub process: ProcessRef,
    /// Session id of the process.
    pub session: u32,
    /// Working folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Control group path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Host name.
    pub host: String,
    /// Id of this machine (`/etc/machine-id`), hashed for this use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<String>,
    /// Parents, nearest first.
    pub ancestors: Vec<Ancestor>,
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessRef {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_ticks: u64,
}

/// One parent process. Arguments are left out, for they may hold secrets; a script's path is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// Process id and start time.
    #[serde(flatten)]
    pub process: ProcessRef,
    /// Effective user id.
    pub uid: u32,
    /// Short name of the command.
    pub command: String,
    /// Path of the executable, where readable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// The first argument that is a file, where there is one: the script that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
}

/// Which kind of forge started the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forge {
    /// GitHub Actions.
    GitHub,
    /// Gitea Actions.
    Gitea,
    /// Forgejo Actions.
    Forgejo,
    /// GitLab CI/CD.
    GitLab,
}

impl std::fmt::Display for Forge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::GitHub => "GitHub Actions",
            Self::Gitea => "Gitea Actions",
            Self::Forgejo => "Forgejo Actions",
            Self::GitLab => "GitLab CI/CD",
        })
    }
}

/// What a CI job, an ssh session or a shell says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Claimed {
    /// The forge whose runner seems to run this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forge: Option<Forge>,
    /// Name of the workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// Path of the workflow file in the checkout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_file: Option<String>,
    /// SHA-256 of that file *in the checkout*; what runs may be another version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_sha256: Option<String>,
    /// Repository, as `owner/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Commit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Branch or tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Id of the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// Attempt of the run, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_attempt: Option<String>,
    /// Job within the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Who triggered the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Name of the runner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// What triggered the run: `push`, `schedule`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The text of `PALISADE_EPOCH`: the generation that the workflow was written as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// Address of the other end of an ssh session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_client: Option<String>,
    /// The user who called sudo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sudo_user: Option<String>,
}

/// What budgets run over: one deployment or registration, else one CI attempt, else one container, else what a CI
/// runner started, else one session.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tree(String);

impl Tree {
    /// The tree of a deployment that holds its scope's lease under `term`.
    #[must_use]
    pub fn deployment(scope: &crate::Scope, term: u64) -> Self {
        Self(format!("deployment:{scope}:{term}"))
    }

    /// The tree of a process that was registered.
    #[must_use]
    pub fn registered(process: ProcessRef) -> Self {
        Self(format!("registered:{}:{}", process.pid, process.start_ticks))
    }

    /// The tree of a container, by its control group.
    #[must_use]
    pub fn container(cgroup: &str) -> Self {
        Self(format!("container:{cgroup}"))
    }

    /// The tree of what a CI runner started directly.
    #[must_use]
    pub fn runners_child(process: ProcessRef) -> Self {
        Self(format!("runner:{}:{}", process.pid, process.start_ticks))
    }

    /// The tree of one attempt of a CI job.
    #[must_use]
    pub fn ci(repository: &str, run_id: &str, job: &str, attempt: &str) -> Self {
        Self(format!("ci:{repository}:{run_id}:{job}:{attempt}"))
    }

    /// The tree of a login session, named by its leader.
    #[must_use]
    pub fn session(leader: ProcessRef) -> Self {
        Self(format!("session:{}:{}", leader.pid, leader.start_ticks))
    }

    /// The tree as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
