//! Where attempts begin: a few starters share what was claimed.
//!
//! The handler of a short job is often done when it was polled once. A task, a channel and two wake-ups for each of those
//! would cost several times what they do. So there is a starter for each thread of the runtime, no more; each takes the
//! next claim, lets its handler take one step, and gives a task to those that wait for something. Handlers that do not
//! wait run as much at once as they would with a task each, for those share the same threads.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use palisade_jobs::{Claim, JobStore};
use serde::de::DeserializeOwned;
use tokio::task::{JoinSet, yield_now};

use crate::attempt::{self, First, Shared};
use crate::context::Context;
use crate::ending::Failure;
use crate::hold::Hold;

/// After so many first steps a starter hands over what ended, and lets other tasks run.
const AT_ONCE: usize = 64;

/// A claim, and the worker's hold on it.
type Held = (Arc<Hold>, Claim);

/// Claims that wait for their first step.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting(Arc<Mutex<VecDeque<Held>>>);

impl Waiting {
    pub(crate) fn extend(&self, claims: Vec<Held>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(claims);
    }

    fn next(&self) -> Option<Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

/// So many starters are worth it for `claims`.
pub(crate) fn starters(claims: usize) -> usize {
    tokio::runtime::Handle::current().metrics().num_workers().min(claims)
}

/// Begins what waits, and ends with the attempts that it began.
pub(crate) async fn run<S, P, H, F>(shared: Arc<Shared<S>>, waiting: Waiting, handler: Arc<H>)
where
    S: JobStore + 'static,
    P: DeserializeOwned + Send + 'static,
    H: Fn(Context<P>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let (mut ends, mut attempts) = (Vec::new(), JoinSet::new());
    let mut steps = 0;
    while let Some((hold, claim)) = waiting.next() {
        match attempt::begin(&shared, hold, claim, &handler) {
            First::Ended(end) => ends.push(end),
            First::Lost(hold) => shared.holding.remove([&hold].into_iter()),
            First::GoesOn(rest) => drop(attempts.spawn(rest)),
        }
        steps += 1;
        if steps % AT_ONCE == 0 {
            if !ends.is_empty() {
                shared.hand_over(std::mem::take(&mut ends)).await;
            }
            yield_now().await;
        }
    }
    if !ends.is_empty() {
        shared.hand_over(ends).await;
    }
    drop((shared, handler));
    attempts.join_all().await;
}
