//! What a resource has to offer to be guarded.

use std::collections::BTreeSet;

use palisade_core::outcome::TargetOutcome;
use palisade_core::process::{DaemonIdentity, EntryId};
use palisade_core::snapshot::{Snapshot, SnapshotId};
use palisade_core::verification::After;
use palisade_core::{Armed, Code, Plan, Timestamp};

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

    /// Keeps the values behind the last snapshot in a private restore bundle, durably, and names it by its hash.
    ///
    /// `None` where the resource has nothing to keep.
    fn keep_values(&mut self, snapshot: &Snapshot) -> Result<Option<String>, Fault>;

    /// Carries out the plan: one outcome for each of its targets, in its order. Never fails as a whole: what
    /// could not be done, or is not known to have been done, is said target by target.
    fn execute(&mut self, armed: &Armed) -> impl Future<Output = Vec<TargetOutcome>> + Send;

    /// The state after the act, in the resource and in the process table.
    fn after(
        &mut self,
        plan: &Plan,
        at: Timestamp,
        touched_by_others: BTreeSet<EntryId>,
    ) -> impl Future<Output = Result<After, Fault>> + Send;
}

/// The resource could not be reached, or is not one that can be guarded. Nothing has been touched.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// What kind of fault.
    pub code: Code,
    /// What was tried, on what, and what happened.
    pub message: String,
    /// How to go on.
    pub fix: String,
    /// The fault beneath.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}
