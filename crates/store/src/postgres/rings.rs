//! Who waits for jobs hears of them at once, where nothing stands between it and the server.
//!
//! Only a quickener: whoever waits also looks by itself now and then, because through a pooler, or while the connection
//! is away, nothing is heard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::pool::Pool;

/// What an enqueue calls through; the payload is the queue.
const CHANNEL: &str = "palisade_jobs";

/// Between two attempts to listen again.
const AGAIN: Duration = Duration::from_secs(2);

/// How often each queue was called that somebody waits for.
type Heard = BTreeMap<String, u64>;

/// One connection that listens, from the first time that somebody waits.
#[derive(Debug, Default)]
pub(super) struct Rings {
    heard: Arc<watch::Sender<Heard>>,
    task: Mutex<JoinSet<()>>,
}

impl Rings {
    /// Waits until `queue` was called more often or less often than `after` times, and says how often.
    pub(super) async fn woken(&self, pool: &Pool, queue: &str, after: u64) -> u64 {
        self.heard.send_if_modified(|heard| {
            heard.entry(queue.to_owned()).or_default();
            false
        });
        self.begin(pool);
        let count = |heard: &Heard| heard.get(queue).copied().unwrap_or_default();
        let mut heard = self.heard.subscribe();
        // The sender lives as long as this value.
        heard.wait_for(|heard| count(heard) != after).await.map_or(after, |heard| count(&heard))
    }

    fn begin(&self, pool: &Pool) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.is_empty() {
            task.spawn(listen(pool.clone(), Arc::clone(&self.heard)));
        }
    }
}

/// Ends, which leaves the task in its set, only where nothing will ever be heard.
async fn listen(pool: Pool, heard: Arc<watch::Sender<Heard>>) {
    let call_all = || heard.send_modify(|heard| heard.values_mut().for_each(|count| *count += 1));
    loop {
        match pool.listen(CHANNEL).await {
            Ok(None) => return,
            Ok(Some(mut notes)) => {
                // What was called before is not heard of any more.
                call_all();
                while let Some(queue) = notes.next().await {
                    heard.send_if_modified(|heard| match heard.get_mut(&queue) {
                        Some(count) => {
                            *count += 1;
                            true
                        }
                        None => false,
                    });
                }
            }
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}
