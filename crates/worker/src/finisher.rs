//! Writes how attempts ended: what waits together is written together.

use std::sync::Arc;
use std::time::Duration;

use palisade_jobs::{Ending, Error, Finish, JobStore, Order};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::ending;
use crate::hold::{Hold, Stop};
use crate::holds::Holding;
use crate::report::{Report, Reports};

/// One end to write.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) hold: Arc<Hold>,
    pub(crate) order: Order,
    /// Who waits for it: `Ok` once the store has it. Where nobody does, it is only reported.
    pub(crate) done: Option<oneshot::Sender<Result<(), Unwritten>>>,
}

/// Why the end of an attempt was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unwritten {
    #[error("the claim is spent: its end was refused")]
    Spent,
    #[error("{0}")]
    Store(String),
    #[error("the worker is over")]
    Over,
}

/// At most so many ends go into one transaction.
pub(crate) const TOGETHER: usize = 500;
/// So many lots of ends may wait to be written.
const LOTS: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What it needs to write ends.
#[derive(Debug)]
pub(crate) struct Finisher<S> {
    pub(crate) store: Arc<S>,
    pub(crate) holding: Arc<Holding>,
    pub(crate) reports: Reports,
    /// Turns true when there is no time left to try again.
    pub(crate) give_up: watch::Receiver<bool>,
}

impl<S: JobStore + 'static> Finisher<S> {
    /// Where ends are handed in, and the task that writes them: it is over when nobody can hand in any more.
    pub(crate) fn begin(self) -> (mpsc::Sender<Vec<End>>, JoinSet<()>) {
        let (ends, to_finish) = mpsc::channel(LOTS);
        let mut finishing = JoinSet::new();
        finishing.spawn(self.run(to_finish));
        (ends, finishing)
    }

    /// Writes until its senders are gone.
    async fn run(self, mut ends: mpsc::Receiver<Vec<End>>) {
        let mut batch = Vec::new();
        while let Some(first) = ends.recv().await {
            batch.extend(first);
            while batch.len() < TOGETHER
                && let Ok(more) = ends.try_recv()
            {
                batch.extend(more);
            }
            self.write(&mut batch).await;
        }
    }

    /// What the store says to these ends. One that stands still says nothing, and is not waited for once there is no time left.
    async fn finish(&self, finishes: &[Finish]) -> Result<Vec<Ending>, Error> {
        let mut give_up = self.give_up.clone();
        tokio::select! {
            answer = self.store.finish(finishes) => answer,
            Ok(_) = give_up.wait_for(|is_over| *is_over) => Err(Error::Unknown {
                store: "the store".to_owned(),
                problem: "no answer before this worker's time was up".to_owned(),
            }),
        }
    }

    /// Whether the store has these ends, each; their claims are over.
    fn told(&self, ends: impl Iterator<Item = (End, Result<(), Unwritten>)>) {
        let ends: Vec<_> = ends.collect();
        self.holding.remove(ends.iter().map(|(end, _)| &end.hold));
        for (End { hold, order, done }, written) in ends {
            match done {
                Some(done) => done.send(written).unwrap_or_default(),
                None => self.reports.tell(report(&hold, &order, written)),
            }
        }
    }

    /// Tries until the store has the batch. A repeat is safe: a store answers as before to an end that it has.
    async fn write(&self, batch: &mut Vec<End>) {
        let mut pause = FIRST_PAUSE;
        while !batch.is_empty() {
            let finishes: Vec<Finish> = batch
                .iter()
                .map(|End { hold, order, .. }| Finish {
                    job: hold.job,
                    token: hold.token,
                    order: order.clone(),
                })
                .collect();
            match self.finish(&finishes).await {
                Ok(endings) => {
                    let written = endings.into_iter().map(|ending| match ending {
                        Ending::Applied => Ok(()),
                        Ending::Spent => Err(Unwritten::Spent),
                    });
                    return self.told(batch.drain(..).zip(written));
                }
                Err(error @ (Error::Unreachable { .. } | Error::Unknown { .. })) => {
                    let problem = error.to_string();
                    self.reports.tell(Report::StoreTrouble { problem: problem.clone() });
                    let is_over =
                        |end: &mut End| end.hold.stopped() == Some(Stop::Spent) || *self.give_up.borrow();
                    let over: Vec<End> = batch.extract_if(.., is_over).collect();
                    self.told(over.into_iter().map(|end| (end, Err(Unwritten::Store(problem.clone())))));
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => {
                    // Nothing was written of any of them: one by one, so that a bad one does not take the others along.
                    let problem = error.to_string();
                    if let [_] = batch.as_slice() {
                        let failed = || Err(Unwritten::Store(problem.clone()));
                        return self.told(batch.drain(..).map(|end| (end, failed())));
                    }
                    for end in batch.drain(..) {
                        Box::pin(self.write(&mut vec![end])).await;
                    }
                    return;
                }
            }
        }
    }
}

/// What became of an end.
pub(crate) fn report(hold: &Hold, order: &Order, written: Result<(), Unwritten>) -> Report {
    let (job, token) = (hold.job, hold.token);
    match written {
        Ok(()) => {
            let (how, said) = ending::how(order);
            Report::Ended { job, token, how, said }
        }
        Err(unwritten) => Report::Lost { job, token, problem: unwritten.to_string() },
    }
}
