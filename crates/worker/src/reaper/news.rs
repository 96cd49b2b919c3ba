//! What a reaper tells, and what it has to write down before it acts.

use palisade_core::record::Phase;
use palisade_jobs::{JobId, Worker};
use serde::Serialize;

/// One thing that happened to a reaper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "news", rename_all = "snake_case")]
pub enum News {
    /// It is the reaper from now on.
    Elected {
        /// Under that term.
        term: u64,
    },
    /// Somebody else is.
    Waiting {
        /// Who.
        holder: String,
        /// Under which term.
        term: u64,
    },
    /// It is no longer.
    TermOver,
    /// A question or a write failed; silence is not charged meanwhile.
    Fault {
        /// What happened.
        problem: String,
    },
    /// Another history of the store answers: every silence begins anew.
    OtherTimeline,
    /// Too many are silent at once: nobody is reaped for silence.
    Held {
        /// So many are.
        suspects: usize,
        /// So many may be.
        most: usize,
        /// Of so many.
        workers: usize,
    },
    /// Few are silent again.
    Released,
    /// Jobs were taken from a worker.
    Reaped(Taking),
    /// Jobs would be taken, and are not: it only looks.
    WouldReap(Taking),
    /// Jobs were to be taken, and their worker beat or ended them first.
    Refuted(Taking),
    /// Jobs were to be taken, and were not, or nobody knows.
    NotReaped {
        /// What was to be taken.
        #[serde(flatten)]
        taking: Taking,
        /// Why not.
        problem: String,
    },
}

/// Jobs that are taken from one worker for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Taking {
    /// From whom.
    pub worker: Worker,
    /// Which.
    pub jobs: Vec<JobId>,
    /// One line that ends in the machine id of the reaper.
    pub reason: String,
}

/// Who hears of it and writes it down.
pub trait Clerk {
    /// Says what happened.
    fn tell(&self, news: &News);

    /// Writes down what is about to be done, or how that ended. `false` where it cannot, and then it is not done.
    fn record(&self, phase: Phase, taking: &Taking) -> bool;
}
