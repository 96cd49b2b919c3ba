//! What has just happened on the way through the pipeline, for whoever watches.

use serde::{Deserialize, Serialize};

use crate::bypass::BypassId;
use crate::plan::Plan;
use crate::process::DaemonIdentity;
use crate::snapshot::SnapshotId;
use crate::verdict::Finding;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// This daemon was reached.
    Identified(DaemonIdentity),
    /// Somebody else holds the lease; it is waited for.
    Waiting {
        /// Who, since when and for what, in words.
        holder: String,
    },
    /// The whole list was read, before anything is touched.
    Snapshot {
        /// The snapshot's id.
        id: SnapshotId,
        /// How many processes it has.
        processes: usize,
    },
    /// Rules object, and this bypass permits the plan all the same.
    Bypassed {
        /// The bypass.
        bypass: BypassId,
        /// What the rules found.
        findings: Vec<Finding>,
    },
    /// The plan was permitted and is about to be carried out.
    Permitted(Box<Plan>),
    /// The journal cannot take the record; this line went to the system log, or could not even go there.
    Degraded {
        /// The record.
        line: String,
        /// Whether the system log took it.
        logged: bool,
    },
}
