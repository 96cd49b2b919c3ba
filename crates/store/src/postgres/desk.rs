//! One commit for many callers.
//!
//! A call that makes a few jobs waits here while a write is under way, and goes with all others that came meanwhile:
//! one statement, one commit, one wake-up of the workers. A caller that is alone waits for nobody.

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use palisade_jobs::Error;
use palisade_jobs::job::{Enqueued, NewJob};

use super::enqueue::plain;
use super::pool::Pool;

/// So many calls may wait; further ones wait to be let in.
const WAITING_MOST: usize = 4_096;

/// So many jobs share one commit.
const TOGETHER_MOST: usize = 1_000;

/// A call with more jobs than this is worth a commit of its own, and keeps nobody waiting.
pub(super) const FEW: usize = 32;

/// A job that was checked, and its payload as text.
pub(super) type Checked = (NewJob, String);

struct Call {
    jobs: Vec<Checked>,
    tell: oneshot::Sender<Result<Vec<Enqueued>, Error>>,
}

/// Where callers hand in their jobs. The task behind it ends with this value.
#[derive(Debug)]
pub(super) struct Desk {
    calls: mpsc::Sender<Call>,
    _task: JoinSet<()>,
}

impl Desk {
    pub(super) fn open(pool: Pool) -> Self {
        let (calls, waiting) = mpsc::channel(WAITING_MOST);
        let mut task = JoinSet::new();
        task.spawn(serve(pool, waiting));
        Self { calls, _task: task }
    }

    /// Makes these jobs, all or none, beside those of others. Their queues have to be known, and none has a key.
    pub(super) async fn make(&self, pool: &Pool, jobs: Vec<Checked>) -> Result<Vec<Enqueued>, Error> {
        let ended =
            || Error::Unknown { store: pool.place(), problem: "the task that writes has ended".to_owned() };
        let (tell, told) = oneshot::channel();
        self.calls.send(Call { jobs, tell }).await.map_err(|_| ended())?;
        told.await.map_err(|_| ended())?
    }
}

async fn serve(pool: Pool, mut waiting: mpsc::Receiver<Call>) {
    while let Some(first) = waiting.recv().await {
        let mut count = first.jobs.len();
        let mut calls = vec![first];
        while count < TOGETHER_MOST {
            let Ok(next) = waiting.try_recv() else { break };
            count += next.jobs.len();
            calls.push(next);
        }
        // A caller that gave up while it waited gets nothing written.
        calls.retain(|call| !call.tell.is_closed());
        write(&pool, calls).await;
    }
}

async fn write(pool: &Pool, calls: Vec<Call>) {
    let all: Vec<&Checked> = calls.iter().flat_map(|call| &call.jobs).collect();
    if all.is_empty() {
        return;
    }
    match plain(pool, &all).await {
        Ok(made) => {
            let mut made = made.into_iter();
            for Call { jobs, tell } in calls {
                let its_own = made.by_ref().take(jobs.len()).collect();
                drop(tell.send(Ok(its_own)));
            }
        }
        // What one job is refused for is no reason to refuse the others.
        Err(Error::Refused(_)) if calls.len() > 1 => {
            for Call { jobs, tell } in calls {
                drop(tell.send(plain(pool, &jobs.iter().collect::<Vec<_>>()).await));
            }
        }
        Err(error) => {
            for Call { tell, .. } in calls {
                drop(tell.send(Err(same(&error))));
            }
        }
    }
}

/// The error that all callers of one write get.
fn same(error: &Error) -> Error {
    match error {
        Error::Unreachable { store, problem } => {
            Error::Unreachable { store: store.clone(), problem: problem.clone() }
        }
        Error::Unknown { store, problem } => {
            Error::Unknown { store: store.clone(), problem: problem.clone() }
        }
        Error::Version(text) => Error::Version(text.clone()),
        other => Error::Refused(other.to_string()),
    }
}
