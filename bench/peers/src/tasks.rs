//! The tasks, the same for every queue: only what a queue calls its own is its own.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::interval;

use crate::Order;
use crate::tally::{Fault, Figures, Watch, now_us, until_handled};

/// A queue under measurement, connected and with its tables made.
pub(crate) trait Peer: Sized {
    /// One who enqueues, with whatever it has of its own for that.
    type Caller: Caller;

    async fn caller(&self) -> Result<Self::Caller, Fault>;

    /// Enqueues so many jobs in calls of the size that suits it, and says what the calls took. Jobs that its calls only borrow
    /// are made before the clock starts.
    async fn bulk(&self, jobs: usize) -> Result<Figures, Fault>;

    /// Starts a worker that runs until the process ends.
    async fn start(&mut self) -> Result<(), Fault>;

    /// Whether jobs are left whose end is not written yet, once all handlers ran.
    async fn left(&self) -> Result<bool, Fault>;
}

/// One who enqueues jobs, one at a time.
pub(crate) trait Caller: Send + 'static {
    fn one(&mut self, sent_us: u64) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// Does what was ordered, and says what it took.
pub(crate) async fn run(mut peer: impl Peer, order: &Order) -> Result<Figures, Fault> {
    match order.task.as_str() {
        "bulk" => peer.bulk(order.jobs).await,
        "single" => single(&peer, order).await,
        "drain" => {
            let watch = Watch::start();
            peer.start().await?;
            until_handled(order.jobs).await?;
            while peer.left().await? {}
            Ok(watch.stop(order.jobs))
        }
        "latency" => {
            peer.start().await?;
            let mut caller = peer.caller().await?;
            let (watch, jobs) = (Watch::start(), order.jobs);
            // In a task, as everything in a server is.
            let calling = tokio::spawn(async move {
                let mut tick = interval(Duration::from_millis(20));
                for _ in 0..jobs {
                    tick.tick().await;
                    caller.one(now_us()).await?;
                }
                Ok::<(), Fault>(())
            });
            calling.await??;
            until_handled(jobs).await?;
            Ok(watch.stop(order.jobs))
        }
        other => Err(format!("there is no task {other}").into()),
    }
}

/// Callers at once, each of which waits for its answer before its next job.
async fn single(peer: &impl Peer, order: &Order) -> Result<Figures, Fault> {
    let mut callers = Vec::new();
    for _ in 0..order.callers {
        callers.push(peer.caller().await?);
    }
    let (watch, jobs) = (Watch::start(), order.jobs / order.callers);
    let mut calling = JoinSet::new();
    for mut caller in callers {
        calling.spawn(async move {
            for _ in 0..jobs {
                caller.one(0).await?;
            }
            Ok::<(), Fault>(())
        });
    }
    while let Some(ended) = calling.join_next().await {
        ended??;
    }
    Ok(watch.stop(order.jobs))
}
