//! What happened to a job, in order. `palisade explain job` tells it, and `palisade verify history` checks it.

use palisade_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::claim::Evidence;
use crate::id::{JobId, Token};
use crate::job::Note;

/// One thing that happened to a job, written in the transaction that did it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Which job.
    pub job: JobId,
    /// Grows over the whole store.
    pub number: i64,
    /// By the store's clock.
    pub at: Timestamp,
    /// The claim that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// What.
    pub kind: EventKind,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Note>,
}

/// What can happen to a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// It was made.
    Enqueued,
    /// A worker took it.
    Claimed {
        /// Which attempt, from 1.
        attempt: u16,
        /// Name of the worker.
        worker: String,
        /// The threshold of the claim, in milliseconds; 0 in a history of before.
        #[serde(default)]
        reap_after_ms: u64,
    },
    /// A resume point was stored.
    Checkpoint {
        /// Its sequence.
        sequence: u64,
    },
    /// It was done.
    Completed,
    /// An attempt failed.
    Failed {
        /// In the handler's words.
        error: String,
    },
    /// Its worker gave it back unfinished.
    Drained,
    /// Somebody asked for its end.
    CancelRequested {
        /// Why.
        reason: Option<String>,
    },
    /// It ended as asked for.
    Cancelled {
        /// Why.
        reason: Option<String>,
    },
    /// It waits for a person.
    Held {
        /// Why.
        reason: String,
    },
    /// A person gave it back to its queue.
    Released,
    /// A person let it go on after it was cancelled.
    Resumed,
    /// A person made it run again after its last attempt had failed.
    Retried,
    /// It was taken from a silent worker.
    Reaped {
        /// On what ground.
        evidence: Evidence,
        /// One line for people, ending in the machine id.
        reason: String,
    },
    /// A write with a spent token was refused.
    Refused {
        /// What the writer wanted.
        what: String,
    },
}
