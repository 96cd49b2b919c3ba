//! The store that somebody named.

use std::path::Path;

use palisade_core::{Intended, QueueName};
use palisade_jobs::claim::{Ask, Beat, BeatAnswer, Checkpoint, Claim, Ending, Finish};
use palisade_jobs::id::{Incarnation, JobId, Token};
use palisade_jobs::job::{Enqueued, Job, NewJob, Note};
use palisade_jobs::queue::QueueChange;
use palisade_jobs::reaper::Paced;
use palisade_jobs::store::{
    Beats, Count, Deed, Doubled, Fence, Filter, HeldClaim, Holder, Intervened, Promoted, Pruned, Reap,
    Reaped, Silent,
};
use palisade_jobs::{Error, Event, JobStore, Queue, Schedule, Worker};

use palisade_postgres::Target;

use crate::{Postgres, Sqlite};

/// One of the stores there are. Clones share its connections.
#[derive(Debug, Clone)]
pub enum Store {
    /// One file.
    Sqlite(Sqlite),
    /// One database.
    Postgres(Postgres),
}

impl Store {
    /// Where it is, without secrets.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Sqlite(store) => format!("sqlite:{}", store.path().display()),
            Self::Postgres(store) => store.place(),
        }
    }

    /// As [`Self::open`], for a client of that environment: a database that bears a stamp has to bear this one, as its
    /// own, on every connection.
    ///
    /// # Errors
    /// As [`Self::open`], and [`Error::Refused`] for a database of another environment.
    pub async fn open_as(url: &str, environment: Option<&str>) -> Result<Self, Error> {
        if is_postgres(url) {
            return Postgres::open_as(target(url)?, environment).await.map(Self::Postgres);
        }
        Self::open(url).await
    }

    /// Opens `sqlite:PATH` or `postgres://ROLE:PASSWORD@HOST/DATABASE`, and makes its tables where there are none.
    ///
    /// # Errors
    /// [`Error::Invalid`] where `url` names no store, else what opening it came to. No message holds a password.
    pub async fn open(url: &str) -> Result<Self, Error> {
        if let Some(path) = url.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
            return Sqlite::open(Path::new(path)).await.map(Self::Sqlite);
        }
        if is_postgres(url) {
            return Postgres::open(target(url)?).await.map(Self::Postgres);
        }
        let scheme: String = url.chars().take_while(char::is_ascii_alphanumeric).take(20).collect();
        Err(Error::Invalid {
            input: format!("a store that begins with {scheme:?}"),
            rule: "a store is sqlite:PATH or postgres://ROLE@HOST/DATABASE".to_owned(),
        })
    }
}

fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

fn target(url: &str) -> Result<Target, Error> {
    Target::parse(url)
        .map_err(|error| Error::Invalid { input: "the store".to_owned(), rule: error.to_string() })
}

/// The same call on whichever store it is.
macro_rules! on {
    ($store:expr, $inner:ident => $call:expr) => {
        match $store {
            Store::Sqlite($inner) => $call.await,
            Store::Postgres($inner) => $call.await,
        }
    };
}

impl JobStore for Store {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, Error> {
        on!(self, store => store.enqueue(jobs))
    }

    async fn woken(&self, queue: &QueueName, after: u64) -> u64 {
        on!(self, store => store.woken(queue, after))
    }

    async fn register(&self, worker: &Worker) -> Result<(), Error> {
        on!(self, store => store.register(worker))
    }

    async fn goodbye(&self, incarnation: &Incarnation) -> Result<(), Error> {
        on!(self, store => store.goodbye(incarnation))
    }

    async fn dispatch(&self) -> Result<(), Error> {
        on!(self, store => store.dispatch())
    }

    async fn after_restore(&self) -> Result<u64, Error> {
        on!(self, store => store.after_restore())
    }

    async fn claim(&self, ask: &Ask) -> Result<Vec<Claim>, Error> {
        on!(self, store => store.claim(ask))
    }

    async fn beat(&self, beat: &Beat) -> Result<BeatAnswer, Error> {
        on!(self, store => store.beat(beat))
    }

    async fn checkpoint(&self, job: JobId, token: Token, checkpoint: &Checkpoint) -> Result<Ending, Error> {
        on!(self, store => store.checkpoint(job, token, checkpoint))
    }

    async fn finish(&self, ends: &[Finish]) -> Result<Vec<Ending>, Error> {
        on!(self, store => store.finish(ends))
    }

    async fn promote(&self) -> Result<Promoted, Error> {
        on!(self, store => store.promote())
    }

    async fn intervene(
        &self,
        intended: &Intended,
        deed: &Deed,
        jobs: &[JobId],
        by: &Note,
    ) -> Result<Vec<Intervened>, Error> {
        on!(self, store => store.intervene(intended, deed, jobs, by))
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, Error> {
        on!(self, store => store.job(id))
    }

    async fn jobs(&self, filter: &Filter) -> Result<Vec<Job>, Error> {
        on!(self, store => store.jobs(filter))
    }

    async fn events(&self, job: JobId) -> Result<Vec<Event>, Error> {
        on!(self, store => store.events(job))
    }

    async fn queues(&self) -> Result<Vec<Queue>, Error> {
        on!(self, store => store.queues())
    }

    async fn counts(&self) -> Result<Vec<Count>, Error> {
        on!(self, store => store.counts())
    }

    async fn set_queue(&self, queue: &Queue, by: &Note) -> Result<u64, Error> {
        on!(self, store => store.set_queue(queue, by))
    }

    async fn queue_changes(&self, queue: &QueueName) -> Result<Vec<QueueChange>, Error> {
        on!(self, store => store.queue_changes(queue))
    }

    async fn misplaced(&self) -> Result<Vec<(JobId, u64)>, Error> {
        on!(self, store => store.misplaced())
    }

    async fn doubled(&self) -> Result<Vec<Doubled>, Error> {
        on!(self, store => store.doubled())
    }

    async fn set_schedule(&self, schedule: &Schedule) -> Result<(), Error> {
        on!(self, store => store.set_schedule(schedule))
    }

    async fn remove_schedule(&self, name: &QueueName) -> Result<bool, Error> {
        on!(self, store => store.remove_schedule(name))
    }

    async fn schedules(&self) -> Result<Vec<Schedule>, Error> {
        on!(self, store => store.schedules())
    }

    async fn prune(&self, most: u32) -> Result<Pruned, Error> {
        on!(self, store => store.prune(most))
    }

    async fn beats(&self) -> Result<Beats, Error> {
        on!(self, store => store.beats())
    }

    async fn timeline(&self) -> Result<String, Error> {
        on!(self, store => store.timeline())
    }

    async fn holders(&self, who: &[Incarnation]) -> Result<Vec<Holder>, Error> {
        on!(self, store => store.holders(who))
    }

    async fn claims_of(&self, who: &Incarnation, most: u32) -> Result<Vec<HeldClaim>, Error> {
        on!(self, store => store.claims_of(who, most))
    }

    async fn paced(&self) -> Result<Vec<Paced>, Error> {
        on!(self, store => store.paced())
    }

    async fn reap(&self, under: &Fence, reaps: &[Reap]) -> Result<Vec<Reaped>, Error> {
        on!(self, store => store.reap(under, reaps))
    }

    async fn remember(
        &self,
        timeline: &str,
        silences: &[Silent],
        forget: &[Incarnation],
    ) -> Result<(), Error> {
        on!(self, store => store.remember(timeline, silences, forget))
    }

    async fn recall(&self, timeline: &str) -> Result<Vec<Silent>, Error> {
        on!(self, store => store.recall(timeline))
    }
}
