//! Processes of a PM2 daemon, as facts.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::actor::ProcessRef;
use crate::redact::Fingerprints;

/// The daemon that was reached; a restart gives another identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonIdentity {
    /// Its process, from the socket's peer credentials.
    pub process: ProcessRef,
    /// Effective user id of the daemon.
    pub uid: u32,
    /// Boot id of the machine.
    pub boot_id: String,
    /// Version that the daemon gives, such as `7.0.4`.
    pub version: String,
    /// Its `PM2_HOME`.
    pub home: String,
    /// The socket that was connected to.
    pub socket: String,
}

impl DaemonIdentity {
    /// Whether both are one running daemon; the path by which it was reached does not matter.
    #[must_use]
    pub fn is_same_daemon(&self, other: &Self) -> bool {
        self.process == other.process && self.boot_id == other.boot_id
    }
}

/// What pins a managed process between plan and act.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pin {
    /// PM2's number for it. Reused when the list was empty, hence never enough alone.
    pub pm_id: u32,
    /// Its name in PM2.
    pub name: String,
    /// PM2's UUID for it: survives a restart, new after delete and start, shared by the instances of a cluster.
    pub unique_id: String,
    /// Its operating-system process; `None` while it does not run.
    pub process: Option<ProcessRef>,
}

/// What tells one entry of the list from all others, restarts included.
///
/// Neither part is enough: instances of a cluster share their UUID (measured on 5.4.3, 6.0.14 and 7.0.4), and
/// numbers are given away again once the list was empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    unique_id: String,
    pm_id: u32,
}

impl Pin {
    /// Which entry of the list it pins.
    #[must_use]
    pub fn entry(&self) -> EntryId {
        EntryId { unique_id: self.unique_id.clone(), pm_id: self.pm_id }
    }
}

/// PM2's status of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Status {
    /// Running.
    Online,
    /// Being started.
    Launching,
    /// Being stopped.
    Stopping,
    /// Not running, by request.
    Stopped,
    /// Not running, given up after failures.
    Errored,
    /// Not running until its restart delay has passed.
    WaitingRestart,
    /// Any other status of this or a later PM2.
    Other(String),
}

impl Status {
    /// PM2's own word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Online => "online",
            Self::Launching => "launching",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Errored => "errored",
            Self::WaitingRestart => "waiting restart",
            Self::Other(word) => word,
        }
    }

    /// Whether the process is meant to run: up, coming up, or waiting to.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Online | Self::Launching | Self::WaitingRestart)
    }
}

impl From<String> for Status {
    fn from(word: String) -> Self {
        match word.as_str() {
            "online" => Self::Online,
            "launching" => Self::Launching,
            "stopping" => Self::Stopping,
            "stopped" => Self::Stopped,
            "errored" => Self::Errored,
            "waiting restart" => Self::WaitingRestart,
            _ => Self::Other(word),
        }
    }
}

impl From<Status> for String {
    fn from(status: Status) -> Self {
        status.as_str().to_owned()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&crate::text::escaped(self.as_str()))
    }
}

/// How PM2 runs a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecMode {
    /// A process of its own.
    #[serde(rename = "fork")]
    Fork,
    /// A worker of Node's cluster module: several instances share one name.
    #[serde(rename = "cluster")]
    Cluster,
}

/// One entry of the daemon's list, without values of its environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// What pins it.
    #[serde(flatten)]
    pub pin: Pin,
    /// Its status.
    pub status: Status,
    /// Its PM2 namespace: a label, which isolates nothing.
    pub namespace: String,
    /// Fork or cluster.
    pub exec_mode: ExecMode,
    /// Whether PM2 watches its files and restarts it on change.
    pub watch: bool,
    /// Whether it is a PM2 module. Modules are never selected and never counted.
    pub module: bool,
    /// How often PM2 has restarted it.
    pub restarts: u64,
    /// Working folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Path of its script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// Names of its environment variables with salted fingerprints of their values.
    #[serde(default, skip_serializing_if = "Fingerprints::is_empty")]
    pub environment: Fingerprints,
    /// Values of those variables that name an environment (`NODE_ENV` and the like); they hold no secret.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub environment_names: std::collections::BTreeMap<String, String>,
}

/// Variables whose value names an environment, so that carrying one into another process can be noticed.
pub const ENVIRONMENT_NAMING_VARIABLES: [&str; 7] =
    ["PALISADE_ENVIRONMENT", "NODE_ENV", "APP_ENV", "RAILS_ENV", "RACK_ENV", "MIX_ENV", "ENVIRONMENT"];
