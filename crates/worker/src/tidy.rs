//! What nobody needs any more: jobs after their queue's retention, and the bytes of their checkpoints.

use std::sync::Arc;
use std::time::Duration;

use palisade_jobs::JobStore;
use tokio::time::sleep;

use crate::checkpoint::Place;
use crate::report::{Report, Reports};

/// A worker first does what it is there for.
const FIRST: Duration = Duration::from_secs(20);
/// A worker looks so often. Any of them does it, and two at once do it once.
const EVERY: Duration = Duration::from_secs(600);
/// So many jobs are forgotten in one transaction.
const AT_ONCE: u32 = 500;
/// Between two of them, for what is more urgent.
const PAUSE: Duration = Duration::from_millis(100);

/// Until its caller ends it.
///
/// The rows go first, so bytes whose row is gone and which could not be removed then stay. Bytes that lie elsewhere, in
/// a folder of another host, are not there to be removed, which is no error.
pub(crate) async fn run<S: JobStore>(store: Arc<S>, place: Place, reports: Reports) {
    sleep(FIRST).await;
    loop {
        match store.prune(AT_ONCE).await {
            Ok(pruned) => {
                for checkpoint in &pruned.checkpoints {
                    place.remove(checkpoint).await.unwrap_or_default();
                }
                if pruned.more {
                    sleep(PAUSE).await;
                    continue;
                }
            }
            Err(error) => reports.tell(Report::StoreTrouble { problem: error.to_string() }),
        }
        sleep(EVERY).await;
    }
}
