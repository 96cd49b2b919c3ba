//! What a resource has to offer to be guarded.

use palisade_core::outcome::TargetOutcome;
use palisade_core::process::DaemonIdentity;
use palisade_core::snapshot::{Snapshot, SnapshotId};
use palisade_core::verification::After;
use palisade_core::{Armed, Code, Exit, Plan, Timestamp};

/// A resource whose destructive operations take the pipeline.
///
/// An implementation carries out an [`Armed`] plan and nothing else, and looks at each target's identity again
/// right before the act.
pub trait Resource {
    /// Whom did we reach? Asked before anything else.
    fn identify(&mut self) -> impl Future<Output = Result<DaemonIdentity, Fault>> + Send;

    /// The whole state, redacted. Writes nothing.
    fn snapshot(
        &mut self,
        id: SnapshotId,
        at: Timestamp,
    ) -> impl Future<Output = Result<Snapshot, Fault>> + Send;

    /// The values behind the last snapshot, for a private restore bundle. Writes nothing yet.
    ///
    /// `None` where the resource has nothing to keep.
    fn values(&mut self, snapshot: &Snapshot) -> Option<Values>;

    /// Carries out the plan: one outcome for each of its targets, in its order. Never fails as a whole: what
    /// could not be done, or is not known to have been done, is said target by target.
    fn execute(&mut self, armed: &Armed) -> impl Future<Output = Vec<TargetOutcome>> + Send;

    /// The state after the act, in the resource and in the process table.
    fn after(&mut self, plan: &Plan, at: Timestamp) -> impl Future<Output = Result<After, Fault>> + Send;
}

/// Values that are about to be kept. [`crate::snapshots::keep`] writes them beside their snapshot.
pub struct Values {
    /// Hash of the restore bundle, which names it.
    pub bundle: String,
    /// Writes it, durably.
    pub write: Box<dyn FnOnce() -> Result<(), Fault> + Send>,
}

impl std::fmt::Debug for Values {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Values").field("bundle", &self.bundle).finish_non_exhaustive()
    }
}

/// Kinds of [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Nobody answers, or nobody who can be named.
    Unreachable,
    /// Two daemons serve one home, so the one that answers does not speak for it.
    TwoDaemons,
    /// What answers does not speak as this version knows it.
    UnknownProtocol,
    /// The values behind a snapshot can be neither kept nor fingerprinted.
    ValuesNotKept,
}

impl FaultKind {
    /// The code whose page explains it.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Unreachable => Code::Unreachable,
            Self::TwoDaemons => Code::TwoDaemons,
            Self::UnknownProtocol => Code::UnknownProtocol,
            Self::ValuesNotKept => Code::SnapshotMissing,
        }
    }

    /// The command's exit code.
    #[must_use]
    pub const fn exit(self) -> Exit {
        match self {
            Self::Unreachable | Self::TwoDaemons | Self::UnknownProtocol => Exit::Unreachable,
            Self::ValuesNotKept => Exit::Failure,
        }
    }
}

/// The resource could not be reached, or is not one that can be guarded. Nothing has been touched.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What kind of fault.
    pub kind: FaultKind,
    /// What was tried, on what, and what happened.
    pub message: String,
    /// How to go on.
    pub fix: String,
    /// The fault beneath.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}
