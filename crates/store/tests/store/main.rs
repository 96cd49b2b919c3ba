//! Every store against the suite, and what each of them promises beyond it.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests by the lint")]

mod faults;
mod full;
mod leases;
mod outcomes;
mod postgres;
mod races;
mod sqlite;

use palisade_jobs::{Error, JobStore, Queue};

/// The one queue of this store breaks a rule.
async fn rules_that_are_not_sound_stay(store: &impl JobStore) {
    let by = faults::by();
    for paused in [true, false] {
        let before = store.queues().await.unwrap().remove(0);
        store.set_queue(&Queue { paused, ..before.clone() }, &by).await.unwrap();
        let after = store.queues().await.unwrap().remove(0);
        assert_eq!(after, Queue { paused, revision: before.revision + 1, ..before });
        let other = Queue { retention_ms: after.retention_ms + 1, ..after };
        assert!(matches!(store.set_queue(&other, &by).await, Err(Error::Unsound(_))));
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
