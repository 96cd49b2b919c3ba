//! Orders: what a caller of another user asks the guard to carry out, over its control socket.
//!
//! Where the guard has a user of its own, journal, leases and snapshots are that user's, and so is the way to the
//! daemon. Whoever else calls `palisade pm2` hands the request over, and the guard takes it through the one pipeline.

use std::io::BufRead as _;
use std::path::Path;
use std::time::Duration;

use palisade_core::actor::Claimed;
use palisade_core::snapshot::SnapshotId;
use palisade_core::{Code, Operation, Plan, Progress, Scope, Selection};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::registration::{self, Error};

/// Version of what is said. Who orders by version 1 reads one line, the end; steps are for those that know them.
pub const FORMAT: u32 = 2;
/// From which version on steps are told.
pub const TELLS_STEPS: u32 = 2;
/// How long an order may take besides the wait for a lease.
pub const WITHIN: Duration = Duration::from_secs(300);
/// Longest order, in bytes: one with a plan names every process.
pub const MAX_LINE_BYTES: usize = 1 << 20;
/// Most that is read of all answers to one.
const MAX_ANSWER_BYTES: u64 = 16 << 20;

/// A request that another process carries out. The kernel says who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// [`FORMAT`].
    pub format: u32,
    /// What shall be done.
    pub operation: Operation,
    /// In whose name.
    pub scope: Scope,
    /// To which processes.
    pub selection: Selection,
    /// Whether names that are not there are left out.
    pub tolerates_absence: bool,
    /// What a person typed after `--confirm=`.
    pub confirmed: Option<String>,
    /// Judge and show the plan, and touch nothing.
    pub dry_run: bool,
    /// How long to wait for the scope's lease, in milliseconds.
    pub wait_ms: u64,
    /// What the caller's surroundings say, which the guard cannot read. A claim like any other.
    pub claimed: Claimed,
    /// A plan that was shown before: only exactly this is carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Box<Plan>>,
    /// From which snapshot a restore brings back what `selection` names or, of [`Selection::All`], what is missing; without
    /// one, from the newest of which something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
}

/// What the guard answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// A step on the way; the end follows.
    Progress(Box<Progress>),
    /// It went through the pipeline: the report, as `--json` shows it, with its exit code.
    Report(Value),
    /// The pipeline stopped before the act; nothing was touched.
    Failed {
        /// The exit code.
        exit: u8,
        /// The code whose page explains it, where there is one.
        code: Option<Code>,
        /// Why.
        message: String,
        /// How to go on.
        fix: String,
    },
    /// The guard does not take it, and why.
    Refused(String),
}

/// Hands an order to the guard that listens on the control socket at `socket`, tells of each step, and waits for its end.
///
/// # Errors
/// Nobody answers there, or what is answered is not understood: then what became of it is not known.
pub fn place(socket: &Path, order: &Order, mut progress: impl FnMut(Progress)) -> Result<Reply, Error> {
    let within = WITHIN.saturating_add(Duration::from_millis(order.wait_ms));
    let mut answers = registration::ask(socket, order, within, MAX_ANSWER_BYTES)?;
    loop {
        let mut line = String::new();
        answers.read_line(&mut line).map_err(|source| registration::silent(socket, source))?;
        match serde_json::from_str(&line).map_err(|_| registration::not_understood(socket))? {
            Reply::Progress(step) => progress(*step),
            end => return Ok(end),
        }
    }
}
