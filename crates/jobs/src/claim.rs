//! A worker's hold on a job, and every write that carries it.

use std::time::Duration;

use palisade_core::{QueueName, Timestamp};
use serde::{Deserialize, Serialize};

use crate::id::{Incarnation, JobId, Token};
use crate::reaper::Idle;
use crate::store::Error;

/// What a worker asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// From which queue.
    pub queue: QueueName,
    /// At most so many.
    pub most: u16,
    /// Who asks.
    pub incarnation: Incarnation,
    /// A longer silence than the queue's threshold may pass before its jobs are taken; a shorter one is ignored.
    pub reap_after: Option<Duration>,
}

/// One attempt at one job. The token is what the store checks.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// The job.
    pub job: JobId,
    /// The fencing token of this attempt.
    pub token: Token,
    /// Which attempt, from 1.
    pub attempt: u16,
    /// Of how many.
    pub max_attempts: u16,
    /// What to do, as JSON text: whoever does it reads it, once.
    pub payload: String,
    /// The last checkpoints, newest first; empty at a first start.
    pub checkpoints: Vec<Checkpoint>,
    /// The rules of this claim, as they were when it was made; a later change of the queue does not touch it.
    pub terms: Terms,
}

/// What holds between a worker and the reaper for the length of one claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// A beat is due this often, in milliseconds.
    pub beat_every_ms: u64,
    /// Silence after which the reaper may condemn, in milliseconds. At least three beats.
    pub reap_after_ms: u64,
    /// Without an acknowledged beat for so long, the worker stops by itself, in milliseconds. Below 0.6 of
    /// `reap_after_ms`, so that clocks may differ in rate.
    pub self_fence_ms: u64,
}

/// A durable resume point. The bytes lie in an object store; the row is written after them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Greater than that of every earlier checkpoint of the job, over all attempts; from 1, gaps may be. A store refuses
    /// one that is not, and answers as before to one that it already has from the same claim.
    pub sequence: u64,
    /// Where the bytes lie: `environment/job/token/sequence`.
    pub key: String,
    /// SHA-256 of the bytes, 64 hexadecimal digits.
    pub sha256: String,
    /// How many bytes.
    pub bytes: u64,
}

impl Checkpoint {
    /// Whether it may be stored after `last`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it does not go on from there: a late or doubled write of an older one.
    pub fn follows(&self, last: &Self) -> Result<(), Error> {
        if self.sequence > last.sequence {
            return Ok(());
        }
        Err(Error::Invalid {
            input: format!("checkpoint {}", self.sequence),
            rule: format!(
                "checkpoint {} of this job is stored already: a checkpoint never goes back",
                last.sequence
            ),
        })
    }
}

/// One beat of a worker, for all that it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Who is alive.
    pub incarnation: Incarnation,
    /// Counts the beats of this incarnation, from 1.
    pub sequence: u64,
    /// What moved since the last beat: job, its token, progress in its own units.
    pub progress: Vec<(JobId, Token, i64)>,
    /// What changed since the last beat in what is wrong with an attempt that goes on all the same, in one line:
    /// a checkpoint that cannot be stored, beats that were missed. `None` once it is over.
    pub trouble: Vec<(JobId, Token, Option<String>)>,
}

/// What the store says to a beat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BeatAnswer {
    /// Claims of this worker that are spent: drop these attempts at once.
    pub spent: Vec<(JobId, Token)>,
    /// Jobs whose end somebody asked for.
    pub cancel: Vec<JobId>,
    /// The reaper has heard nothing of this worker for half the threshold.
    pub suspect: bool,
}

/// How an attempt ends, said by the worker that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// The job.
    pub job: JobId,
    /// The claim. The store refuses the rest where it is spent.
    pub token: Token,
    /// What to do.
    pub order: Order,
}

/// What a worker wants to become of its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Done.
    Complete,
    /// Failed. The queue's backoff and the job's attempts decide what follows.
    Fail {
        /// What went wrong, in the handler's words.
        error: String,
        /// Trying again cannot help.
        fatal: bool,
    },
    /// Ended because somebody asked for it.
    Cancelled,
    /// Given back unfinished: the worker drains. The attempt is not charged.
    Drain,
    /// Waits for a person; never restarted from zero in silence.
    Hold {
        /// Why.
        reason: String,
    },
}

impl Order {
    /// Its word, as the history of a job names it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Fail { .. } => "fail",
            Self::Cancelled => "cancelled",
            Self::Drain => "drain",
            Self::Hold { .. } => "hold",
        }
    }
}

/// What became of a worker's write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Written.
    Applied,
    /// The token is spent: nothing was written, and nothing of this attempt will be.
    Spent,
}

/// Why and by whom a job was taken from a worker: everything that a person needs to judge the judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The silence that the reaper itself observed, in milliseconds.
    pub silent_ms: u64,
    /// The threshold of the claim, in milliseconds.
    pub reap_after_ms: u64,
    /// The last beat that it saw.
    pub last_beat: u64,
    /// When it saw that one, by the store's clock.
    pub last_beat_at: Option<Timestamp>,
    /// Proof of death, where there is one: `goodbye`, `process gone`, `another boot`.
    pub proof: Option<String>,
    /// It is taken because it made no progress; its worker beats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<Idle>,
    /// The reaper's term.
    pub term: u64,
    /// Who holds the lease under that term.
    #[serde(default)]
    pub holder: String,
    /// The revision of the queue's rules when it was taken.
    #[serde(default)]
    pub policy: u64,
    /// How much of the silence this term has seen itself, without a break, in milliseconds.
    #[serde(default)]
    pub seen_ms: u64,
    /// In how many sweeps.
    #[serde(default)]
    pub sweeps: u32,
    /// How many workers there were in the last sweep.
    #[serde(default)]
    pub workers: usize,
    /// How many of them were suspect.
    #[serde(default)]
    pub suspects: usize,
}

impl Evidence {
    /// Of a reap by that term, on the silence since that beat.
    #[must_use]
    pub const fn new(term: u64, last_beat: u64, silent_ms: u64, reap_after_ms: u64) -> Self {
        Self {
            silent_ms,
            reap_after_ms,
            last_beat,
            last_beat_at: None,
            proof: None,
            stuck: None,
            term,
            holder: String::new(),
            policy: 0,
            seen_ms: 0,
            sweeps: 0,
            workers: 0,
            suspects: 0,
        }
    }
}
