//! What is asked for.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::name::Scope;
use crate::snapshot::{Snapshot, SnapshotId};

/// What shall be done to the selected processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Stop and take off the list.
    Delete,
    /// Stop, and keep on the list.
    Stop,
    /// Stop and start.
    Restart,
    /// Replace instance by instance where the app allows it.
    Reload,
    /// Bring back from a restore bundle. Destroys nothing.
    Restore,
}

impl Operation {
    /// The command's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
            Self::Restore => "restore",
        }
    }

    /// Whether processes are down afterwards until somebody brings them back: what budgets count.
    #[must_use]
    pub const fn takes_down(self) -> bool {
        matches!(self, Self::Delete | Self::Stop)
    }

    /// Whether processes are down at least for a moment, all at once: what counts and shares are judged for.
    #[must_use]
    pub const fn interrupts(self) -> bool {
        matches!(self, Self::Delete | Self::Stop | Self::Restart)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which processes are meant. There is no empty form that means "all".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Selection {
    /// Everything that the scope owns.
    Scope,
    /// Processes by exact name, whoever owns them.
    Names(Vec<String>),
    /// Every process of the daemon. Only ever by that word.
    All,
    /// What a snapshot shows and the daemon no longer has; for [`Operation::Restore`] only.
    Missing {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Only these names, or everything if `None`.
        names: Option<Vec<String>>,
    },
}

/// Id of one operation; its intent, outcome and snapshot share it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(String);

impl OperationId {
    /// An id that sorts by time, from the moment and 10 random bytes (UUID version 7).
    #[must_use]
    pub fn new(moment: crate::Timestamp, random: [u8; 10]) -> Self {
        let mut bytes = [0_u8; 16];
        bytes[..6].copy_from_slice(&moment.unix_ms().to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        bytes[8] = 0x80 | (bytes[8] & 0x3f);
        let h = crate::canonical::hex(&bytes);
        Self(format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..]))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A request, before anything has been looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its id.
    pub id: OperationId,
    /// What shall be done.
    pub operation: Operation,
    /// In whose name.
    pub scope: Scope,
    /// To which processes.
    pub selection: Selection,
    /// The caller's variables that a restart or reload would carry into its targets; `None` carries nothing.
    ///
    /// Only those that name an environment are judged, so only those are here.
    pub carries: Option<BTreeMap<String, String>>,
    /// The snapshot whose missing processes are to come back; for [`Operation::Restore`] only.
    pub source: Option<Snapshot>,
    /// Whether names that are not there are left out, and nothing left to do is a success.
    pub tolerates_absence: bool,
    /// What a person typed after `--confirm=`.
    pub confirmed: Option<String>,
    /// Who asks.
    pub actor: Actor,
}
