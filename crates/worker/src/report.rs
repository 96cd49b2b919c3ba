//! What a worker tells about itself, as values: a program renders them, a checker reads them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use palisade_jobs::{Incarnation, JobId, Token};
use serde::{Deserialize, Serialize};

use crate::hold::Stop;

/// One thing that happened to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Report {
    /// It registered.
    Started {
        /// This run of it.
        incarnation: Incarnation,
    },
    /// It begins an attempt.
    Claimed {
        /// The job.
        job: JobId,
        /// The claim.
        token: Token,
        /// Which attempt, from 1.
        attempt: u16,
    },
    /// The attempt goes on from a checkpoint.
    Resumed {
        /// The job.
        job: JobId,
        /// The claim.
        token: Token,
        /// From which checkpoint.
        sequence: u64,
    },
    /// A checkpoint and its row are stored.
    Checkpoint {
        /// The job.
        job: JobId,
        /// The claim.
        token: Token,
        /// Its sequence.
        sequence: u64,
    },
    /// At its start the worker found that no checkpoint can be stored. It goes on: each job tries again.
    CheckpointsAway {
        /// The folder, or the bucket with its prefix.
        place: String,
        /// What happened.
        problem: String,
    },
    /// Something is wrong with an attempt that goes on all the same.
    Trouble {
        /// The job.
        job: JobId,
        /// What, in one line.
        problem: String,
    },
    /// What was wrong with an attempt is over.
    Recovered {
        /// The job.
        job: JobId,
    },
    /// An attempt was told to stop.
    Stopping {
        /// The job.
        job: JobId,
        /// The claim.
        token: Token,
        /// Why.
        why: Stop,
    },
    /// An attempt ended, and the store has it.
    Ended {
        /// The job.
        job: JobId,
        /// The claim.
        token: Token,
        /// As what.
        how: How,
        /// In the handler's words, where it says something.
        #[serde(skip_serializing_if = "Option::is_none")]
        said: Option<String>,
    },
    /// An attempt ended, and nothing of it was written at its end.
    Lost {
        /// The job.
        job: JobId,
        /// The claim.
        token: Token,
        /// Why.
        problem: String,
    },
    /// The store had a claim as this worker's on which nobody worked: its answer was lost, or a backup brought it back. It
    /// was given back.
    GaveBack {
        /// The job.
        job: JobId,
        /// The claim.
        token: Token,
    },
    /// A beat was not acknowledged: nothing is claimed until one is.
    BeatMissed {
        /// How many in a row.
        missed: u32,
        /// For how many milliseconds.
        for_ms: u64,
        /// What happened.
        problem: String,
    },
    /// A beat was acknowledged after some were not.
    BeatsAgain {
        /// How many were missed.
        missed: u32,
    },
    /// The reaper suspects this worker.
    Suspected,
    /// The store does not do what the worker asks; it tries again.
    StoreTrouble {
        /// What happened.
        problem: String,
    },
    /// The database may be a copy: nothing is claimed, and what runs goes on.
    DispatchClosed {
        /// Why.
        problem: String,
    },
    /// Jobs are claimed again.
    DispatchOpen,
    /// It takes nothing new and hands over what it has.
    Draining,
    /// It said goodbye.
    Gone,
}

/// As what an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Done.
    Completed,
    /// It failed.
    Failed,
    /// It ended because somebody asked for it.
    Cancelled,
    /// It went back unfinished.
    Drained,
    /// It waits for a person.
    Held,
}

/// Where reports go. Nobody waits for it: where its reader is slow, reports are left out and counted.
#[derive(Debug, Clone)]
pub struct Reports {
    sender: SyncSender<Report>,
    left_out: Arc<AtomicU64>,
}

impl Reports {
    /// So many reports may wait for their reader.
    pub const BOUND: usize = 4096;

    /// A pair of ends. The reader sees the end once the worker is over.
    #[must_use]
    pub fn new() -> (Self, Receiver<Report>) {
        let (sender, receiver) = sync_channel(Self::BOUND);
        (Self { sender, left_out: Arc::default() }, receiver)
    }

    /// Hands one on.
    pub(crate) fn tell(&self, report: Report) {
        if self.sender.try_send(report).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many reports were left out so far.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}
