//! The store that somebody named.

use std::future::Future;
use std::path::Path;

use palisade_jobs::claim::{Ask, Beat, BeatAnswer, Checkpoint, Claim, Ending, Finish};
use palisade_jobs::id::{Incarnation, JobId, Token};
use palisade_jobs::job::{Enqueued, Job, NewJob, Note};
use palisade_jobs::store::{Deed, Filter, Intervened, Promoted, Pruned, Reap, Reaped, Sight};
use palisade_jobs::{Error, Event, JobStore, Queue, Worker};

use crate::Sqlite;

/// One of the stores there are. Clones share its connections.
#[derive(Debug, Clone)]
pub enum Store {
    /// One file.
    Sqlite(Sqlite),
}

impl Store {
    /// Opens `sqlite:PATH`, and makes its tables where there are none.
    ///
    /// # Errors
    /// [`Error::Invalid`] where `url` names no store, else what opening it came to. No message holds a password.
    pub async fn open(url: &str) -> Result<Self, Error> {
        if let Some(path) = url.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            return Sqlite::open(Path::new(path)).await.map(Self::Sqlite);
        }
        let scheme: String = url.chars().take_while(char::is_ascii_alphanumeric).take(20).collect();
        Err(Error::Invalid {
            input: format!("a store that begins with {scheme:?}"),
            rule: "a store is sqlite:PATH".to_owned(),
        })
    }
}

/// The same call on whichever store it is.
macro_rules! on {
    ($store:expr, $inner:ident => $call:expr) => {
        async move {
            match $store {
                Store::Sqlite($inner) => $call.await,
            }
        }
    };
}

impl JobStore for Store {
    fn enqueue(&self, jobs: &[NewJob]) -> impl Future<Output = Result<Vec<Enqueued>, Error>> + Send {
        on!(self, store => store.enqueue(jobs))
    }

    fn register(&self, worker: &Worker) -> impl Future<Output = Result<(), Error>> + Send {
        on!(self, store => store.register(worker))
    }

    fn goodbye(&self, incarnation: &Incarnation) -> impl Future<Output = Result<(), Error>> + Send {
        on!(self, store => store.goodbye(incarnation))
    }

    fn claim(&self, ask: &Ask) -> impl Future<Output = Result<Vec<Claim>, Error>> + Send {
        on!(self, store => store.claim(ask))
    }

    fn beat(&self, beat: &Beat) -> impl Future<Output = Result<BeatAnswer, Error>> + Send {
        on!(self, store => store.beat(beat))
    }

    fn checkpoint(
        &self,
        job: JobId,
        token: Token,
        checkpoint: &Checkpoint,
    ) -> impl Future<Output = Result<Ending, Error>> + Send {
        on!(self, store => store.checkpoint(job, token, checkpoint))
    }

    fn finish(&self, ends: &[Finish]) -> impl Future<Output = Result<Vec<Ending>, Error>> + Send {
        on!(self, store => store.finish(ends))
    }

    fn promote(&self) -> impl Future<Output = Result<Promoted, Error>> + Send {
        on!(self, store => store.promote())
    }

    fn intervene(
        &self,
        deed: &Deed,
        jobs: &[JobId],
        by: &Note,
    ) -> impl Future<Output = Result<Vec<Intervened>, Error>> + Send {
        on!(self, store => store.intervene(deed, jobs, by))
    }

    fn job(&self, id: JobId) -> impl Future<Output = Result<Option<Job>, Error>> + Send {
        on!(self, store => store.job(id))
    }

    fn jobs(&self, filter: &Filter) -> impl Future<Output = Result<Vec<Job>, Error>> + Send {
        on!(self, store => store.jobs(filter))
    }

    fn events(&self, job: JobId) -> impl Future<Output = Result<Vec<Event>, Error>> + Send {
        on!(self, store => store.events(job))
    }

    fn queues(&self) -> impl Future<Output = Result<Vec<Queue>, Error>> + Send {
        on!(self, store => store.queues())
    }

    fn set_queue(&self, queue: &Queue, by: &Note) -> impl Future<Output = Result<u64, Error>> + Send {
        on!(self, store => store.set_queue(queue, by))
    }

    fn prune(&self, most: u32) -> impl Future<Output = Result<Pruned, Error>> + Send {
        on!(self, store => store.prune(most))
    }

    fn observe(&self) -> impl Future<Output = Result<Sight, Error>> + Send {
        on!(self, store => store.observe())
    }

    fn reap(&self, reaps: &[Reap]) -> impl Future<Output = Result<Vec<Reaped>, Error>> + Send {
        on!(self, store => store.reap(reaps))
    }
}
