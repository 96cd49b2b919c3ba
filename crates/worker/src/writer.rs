//! Stores the checkpoints of one attempt: bytes first, row second, the newest one only.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use palisade_host::clock::Stopwatch;
use palisade_jobs::{Checkpoint, Ending, Error, JobStore};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use crate::checkpoint::{KEPT, Place, PutError};
use crate::context::{NotTaken, Stopped};
use crate::hold::{Hold, Stop};
use crate::report::{Report, Reports};

/// What a handler hands over, and where it waits for the answer.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) done: oneshot::Sender<Result<Stowed, NotTaken>>,
}

/// What became of a checkpoint that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stowed {
    /// It is stored, or a newer one is.
    Stored {
        /// Of the one that is stored.
        sequence: u64,
    },
    /// It is kept and tried again; until then the job would go on from an earlier one.
    Later,
}

/// A handler waits for so long before it goes on without its checkpoint being stored.
const PATIENCE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_TRY: Duration = Duration::from_secs(60);

/// The checkpoints of one attempt.
#[derive(Debug)]
pub(crate) struct Writer<S> {
    pub(crate) store: Arc<S>,
    pub(crate) place: Place,
    pub(crate) hold: Arc<Hold>,
    pub(crate) reports: Reports,
    /// Those that have rows, oldest first.
    pub(crate) kept: VecDeque<Checkpoint>,
}

type Waiting = Vec<oneshot::Sender<Result<Stowed, NotTaken>>>;

/// Why it was not stored.
enum Problem {
    /// It may be stored later.
    Late(String),
    /// It never will be, but a later one may.
    Unfit(String),
    /// Nothing of this attempt will be.
    Spent,
}

impl<S: JobStore> Writer<S> {
    /// Ends when the handler is gone and the last checkpoint is stored, or never will be. Gives what has rows.
    pub(crate) async fn run(mut self, mut handed: mpsc::Receiver<Handed>) -> VecDeque<Checkpoint> {
        let mut next = self.kept.back().map_or(1, |last| last.sequence + 1);
        while let Some(Handed { bytes, done }) = handed.recv().await {
            // In a box: most attempts hand nothing over, and there may be a thousand of them.
            match Box::pin(self.stow(&mut next, bytes, vec![done], &mut handed)).await {
                Ok(()) => {}
                Err(Stopped(why)) => {
                    self.hold.stop(why);
                    break;
                }
            }
        }
        self.kept
    }

    /// Tries until it, or a newer one that came meanwhile, is stored.
    async fn stow(
        &mut self,
        next: &mut u64,
        mut bytes: Vec<u8>,
        mut waiting: Waiting,
        handed: &mut mpsc::Receiver<Handed>,
    ) -> Result<(), Stopped> {
        let (late, mut pause) = (Stopwatch::start(), FIRST_PAUSE);
        let patience = Instant::now() + PATIENCE;
        let (mut open, mut stop) = (true, self.hold.watch());
        loop {
            let sequence = *next;
            let until = if waiting.is_empty() { Instant::now() + LONGEST_TRY } else { patience };
            // One that is cut off is tried again, and finds its own bytes there.
            let tried = timeout_at(until, self.one(sequence, &bytes)).await;
            let tried = tried.unwrap_or_else(|_| Err(Problem::Late("no answer yet".to_owned())));
            match tried {
                Ok(checkpoint) => {
                    *next = sequence + 1;
                    self.kept.push_back(checkpoint);
                    self.stored(sequence, waiting, pause > FIRST_PAUSE).await;
                    return Ok(());
                }
                Err(Problem::Unfit(problem)) => {
                    for done in waiting {
                        done.send(Err(NotTaken::Unfit(problem.clone()))).unwrap_or_default();
                    }
                    return Ok(());
                }
                Err(Problem::Spent) => {
                    for done in waiting {
                        done.send(Err(Stopped(Stop::Spent).into())).unwrap_or_default();
                    }
                    return Err(Stopped(Stop::Spent));
                }
                Err(Problem::Late(problem)) => self.late(sequence, &late, &problem),
            }
            if Instant::now() >= patience {
                for done in waiting.drain(..) {
                    done.send(Ok(Stowed::Later)).unwrap_or_default();
                }
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                // There may be little time left.
                _ = stop.changed() => pause = FIRST_PAUSE * 2,
                newer = handed.recv(), if open => match newer {
                    Some(newer) => {
                        // The earlier one may have landed without our knowing, so its number is not used again.
                        *next = sequence + 1;
                        bytes = newer.bytes;
                        waiting.push(newer.done);
                    }
                    None => open = false,
                },
            }
        }
    }

    async fn one(&self, sequence: u64, bytes: &[u8]) -> Result<Checkpoint, Problem> {
        let (job, token) = (self.hold.job, self.hold.token);
        if self.hold.stopped() == Some(Stop::Spent) {
            return Err(Problem::Spent);
        }
        let checkpoint = self.place.put(job, token, sequence, bytes).await.map_err(|error| match error {
            PutError::Unreachable(problem) => Problem::Late(problem),
            error @ (PutError::TooLarge { .. } | PutError::Taken { .. }) => Problem::Unfit(error.to_string()),
        })?;
        match self.store.checkpoint(job, token, &checkpoint).await {
            Ok(Ending::Applied) => Ok(checkpoint),
            Ok(Ending::Spent) => Err(Problem::Spent),
            Err(error @ (Error::Unreachable { .. } | Error::Unknown { .. })) => {
                Err(Problem::Late(error.to_string()))
            }
            Err(error) => Err(Problem::Unfit(error.to_string())),
        }
    }

    fn late(&self, sequence: u64, late: &Stopwatch, problem: &str) {
        let seconds = late.elapsed().as_secs();
        let problem = format!("checkpoint {sequence} is not stored for {seconds} s: {problem}");
        self.hold.trouble(Some(problem.clone()));
        self.reports.tell(Report::Trouble { job: self.hold.job, problem });
    }

    async fn stored(&mut self, sequence: u64, waiting: Waiting, was_late: bool) {
        let (job, token) = (self.hold.job, self.hold.token);
        if was_late {
            self.hold.trouble(None);
            self.reports.tell(Report::Recovered { job });
        }
        self.reports.tell(Report::Checkpoint { job, token, sequence });
        for done in waiting {
            done.send(Ok(Stowed::Stored { sequence })).unwrap_or_default();
        }
        prune(&self.place, &mut self.kept, KEPT).await;
    }
}

/// Removes the bytes of those that have no row any more, or of more than `most`. What cannot be removed now stays: it is
/// only space.
pub(crate) async fn prune(place: &Place, kept: &mut VecDeque<Checkpoint>, most: usize) {
    while kept.len() > most {
        if let Some(old) = kept.pop_front() {
            place.remove(&old).await.unwrap_or_default();
        }
    }
}
