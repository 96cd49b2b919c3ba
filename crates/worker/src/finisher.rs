//! Writes how attempts ended: what waits together is written together.

use std::sync::Arc;
use std::time::Duration;

use palisade_jobs::{Ending, Error, Finish, JobStore, Order};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use crate::hold::{Hold, Stop};
use crate::report::{Report, Reports};

/// One end to write.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) hold: Arc<Hold>,
    pub(crate) order: Order,
    /// `Ok` once the store has it.
    pub(crate) done: oneshot::Sender<Result<(), Unwritten>>,
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
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Writes until its senders are gone. `give_up` turns true when there is no time left to try again.
pub(crate) async fn run<S: JobStore>(
    store: Arc<S>,
    mut ends: mpsc::Receiver<End>,
    give_up: watch::Receiver<bool>,
    reports: Reports,
) {
    let mut batch = Vec::with_capacity(TOGETHER);
    while ends.recv_many(&mut batch, TOGETHER).await > 0 {
        write(&*store, &mut batch, &give_up, &reports).await;
    }
}

/// Tries until the store has the batch. A repeat is safe: a store answers as before to an end that it has.
async fn write<S: JobStore>(
    store: &S,
    batch: &mut Vec<End>,
    give_up: &watch::Receiver<bool>,
    reports: &Reports,
) {
    let mut pause = FIRST_PAUSE;
    while !batch.is_empty() {
        let finishes: Vec<Finish> = batch
            .iter()
            .map(|End { hold, order, .. }| Finish { job: hold.job, token: hold.token, order: order.clone() })
            .collect();
        match store.finish(&finishes).await {
            Ok(endings) => {
                for (end, ending) in batch.drain(..).zip(endings) {
                    let written = match ending {
                        Ending::Applied => Ok(()),
                        Ending::Spent => Err(Unwritten::Spent),
                    };
                    end.done.send(written).unwrap_or_default();
                }
                return;
            }
            Err(error @ (Error::Unreachable { .. } | Error::Unknown { .. })) => {
                let problem = error.to_string();
                reports.tell(Report::StoreTrouble { problem: problem.clone() });
                let stay = |end: &End| end.hold.stopped() != Some(Stop::Spent) && !*give_up.borrow();
                for end in batch.extract_if(.., |end| !stay(end)) {
                    end.done.send(Err(Unwritten::Store(problem.clone()))).unwrap_or_default();
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => {
                // Nothing was written of any of them: one by one, so that a bad one does not take the others along.
                let problem = error.to_string();
                if let [_] = batch.as_slice() {
                    for end in batch.drain(..) {
                        end.done.send(Err(Unwritten::Store(problem.clone()))).unwrap_or_default();
                    }
                    return;
                }
                for end in batch.drain(..) {
                    Box::pin(write(store, &mut vec![end], give_up, reports)).await;
                }
                return;
            }
        }
    }
}
