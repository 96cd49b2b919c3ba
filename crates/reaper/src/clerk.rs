//! What a reaper tells, and what it has to write down before it acts.

use std::fmt;

use palisade_core::Intended;
use palisade_core::record::Phase;
use palisade_core::text::Shown;
use palisade_jobs::reaper::Ground;
use palisade_jobs::{JobId, Worker};
use serde::Serialize;

/// So many jobs are named in one line.
const NAMED: usize = 20;
/// So many takings are told of in one record.
const TOLD: usize = 20;

/// One thing that happened to a reaper.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
        population: usize,
    },
    /// Few are silent again.
    Released,
    /// A job's worker beats, and it makes no progress.
    Stuck(Taking),
    /// Too many make no progress at once: none is taken for it.
    TooManyStuck {
        /// So many.
        stuck: usize,
        /// So many may be taken in one pass.
        most: usize,
    },
    /// Jobs were taken.
    Reaped(Taking),
    /// Jobs would be taken, and are not: it only looks.
    WouldReap(Taking),
    /// Jobs were to be taken, and beat, ended or were being worked on first.
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

/// Jobs that are taken together, for one reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Taking {
    /// From whom.
    #[serde(flatten)]
    pub of: Of,
    /// Which.
    pub jobs: Vec<Job>,
    /// One line that ends in the machine id of the reaper.
    pub reason: String,
    /// What the reason says of the silence, where it is of one job alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ground: Option<Ground>,
}

/// Whose jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// A worker of the job engine.
    Worker(Box<Worker>),
    /// A guarded table.
    Table(String),
}

/// A job, as its store names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Job {
    /// Of the job engine.
    Id(JobId),
    /// The key of a row.
    Key(String),
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Key(key) => Shown(key).fmt(f),
        }
    }
}

/// Which jobs, and whose: `jobs 3, 4 of worker w on web-1, pid 4242`.
impl fmt::Display for Taking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.jobs.len() == 1 { "job" } else { "jobs" })?;
        for (at, job) in self.jobs.iter().take(NAMED).enumerate() {
            write!(f, "{} {job}", if at == 0 { "" } else { "," })?;
        }
        if self.jobs.len() > NAMED {
            write!(f, " and {} more", self.jobs.len() - NAMED)?;
        }
        match &self.of {
            Of::Worker(worker) => {
                let (name, host) = (Shown(&worker.name), Shown(&worker.by.host));
                write!(f, " of worker {name} on {host}, pid {}", worker.by.pid)
            }
            // A table's reaper judges that one only.
            Of::Table(_) => Ok(()),
        }
    }
}

/// What the record of a pass says: its term, how many jobs, and what is said of the first ones.
#[must_use]
pub fn details<'a>(term: u64, said: impl Iterator<Item = (&'a Taking, &'a str)> + Clone) -> Vec<String> {
    let jobs: usize = said.clone().map(|(taking, _)| taking.jobs.len()).sum();
    let head = [format!("term {term}"), format!("{jobs} jobs")];
    let lines = said.take(TOLD).map(|(taking, said)| format!("{taking}: {said}"));
    head.into_iter().chain(lines).collect()
}

/// Who hears of it and writes it down.
pub trait Clerk {
    /// A recorded intent, which waits for its outcome.
    type Record: AsRef<Intended>;

    /// Says what happened.
    fn tell(&self, news: &News);

    /// Writes down what is about to be done. `None` where it cannot, and then it is not done.
    fn begin(&self, details: Vec<String>) -> Option<Self::Record>;

    /// Writes down how that ended.
    fn end(&self, record: Self::Record, phase: Phase, details: Vec<String>);
}
