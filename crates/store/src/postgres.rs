//! Jobs in PostgreSQL, in the schema `palisade_jobs`: for workers on many machines.
//!
//! Every call is one statement or one short transaction. Nothing relies on the state of a session, so all of it works
//! through a pooler that hands on the connection. What is hot is split from what is cold: a job's row is written
//! once, and where it stands is which of four narrow tables has it (docs/adr/0023-jobs.md). Callers that enqueue at the
//! same time share a commit ([`desk`]), and whoever waits for jobs is called ([`rings`]).

mod attempt;
mod beat;
mod claim;
mod copy;
mod deed;
mod desk;
mod enqueue;
mod events;
mod guarded;
mod history;
mod look;
mod pool;
mod read;
mod reap;
mod rings;
mod rows;
mod schedule;
mod schema;
mod settle;
mod tend;

use std::sync::Arc;

use palisade_postgres::Target;

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

use desk::Desk;
use pool::Pool;
use rings::Rings;

/// A store in one database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Postgres {
    pool: Pool,
    desk: Arc<Desk>,
    rings: Arc<Rings>,
}

impl Postgres {
    /// Connects, says whom it reached, and brings the tables up to date where the role may do that.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or [`Error::Version`] where the tables are of a version that this one cannot serve, or
    /// are missing and may not be made by this role.
    pub async fn open(target: Target) -> Result<Self, Error> {
        Ok(Self::over(Pool::open(target, None).await?))
    }

    /// As [`Self::open`], for a client of that environment.
    ///
    /// # Errors
    /// As [`Self::open`], and [`Error::Refused`] where the database bears the stamp of another environment, or one that
    /// was made for another database, on this connection or a later one.
    pub async fn open_as(target: Target, environment: Option<&str>) -> Result<Self, Error> {
        Ok(Self::over(Pool::open(target, Some(environment)).await?))
    }

    fn over(pool: Pool) -> Self {
        Self { desk: Arc::new(Desk::open(pool.clone())), rings: Arc::default(), pool }
    }

    /// Where it is, without its password.
    #[must_use]
    pub fn place(&self) -> String {
        self.pool.place()
    }

    /// Which database it is: every further connection has to lead to the same one.
    #[must_use]
    pub fn id(&self) -> &str {
        self.pool.id()
    }
}

impl JobStore for Postgres {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, Error> {
        enqueue::enqueue(&self.pool, &self.desk, jobs).await
    }

    async fn woken(&self, queue: &QueueName, after: u64) -> u64 {
        self.rings.woken(&self.pool, queue.as_str(), after).await
    }

    async fn register(&self, worker: &Worker) -> Result<(), Error> {
        beat::register(&self.pool, worker).await
    }

    async fn goodbye(&self, incarnation: &Incarnation) -> Result<(), Error> {
        attempt::goodbye(&self.pool, incarnation).await
    }

    async fn dispatch(&self) -> Result<(), Error> {
        guarded::dispatch(&self.pool).await
    }

    async fn after_restore(&self) -> Result<u64, Error> {
        guarded::after_restore(&self.pool).await
    }

    async fn claim(&self, ask: &Ask) -> Result<Vec<Claim>, Error> {
        claim::claim(&self.pool, ask).await
    }

    async fn beat(&self, beat: &Beat) -> Result<BeatAnswer, Error> {
        beat::beat(&self.pool, beat).await
    }

    async fn checkpoint(&self, job: JobId, token: Token, checkpoint: &Checkpoint) -> Result<Ending, Error> {
        attempt::checkpoint(&self.pool, job, token, checkpoint).await
    }

    async fn finish(&self, ends: &[Finish]) -> Result<Vec<Ending>, Error> {
        attempt::finish(&self.pool, ends).await
    }

    async fn promote(&self) -> Result<Promoted, Error> {
        tend::promote(&self.pool).await
    }

    async fn intervene(
        &self,
        _intended: &Intended,
        deed: &Deed,
        jobs: &[JobId],
        by: &Note,
    ) -> Result<Vec<Intervened>, Error> {
        deed::intervene(&self.pool, deed, jobs, by).await
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, Error> {
        read::job(&self.pool, id).await
    }

    async fn jobs(&self, filter: &Filter) -> Result<Vec<Job>, Error> {
        read::jobs(&self.pool, filter).await
    }

    async fn events(&self, job: JobId) -> Result<Vec<Event>, Error> {
        events::events(&self.pool, job).await
    }

    async fn queues(&self) -> Result<Vec<Queue>, Error> {
        read::queues(&self.pool).await
    }

    async fn counts(&self) -> Result<Vec<Count>, Error> {
        read::counts(&self.pool).await
    }

    async fn set_queue(&self, queue: &Queue, by: &Note) -> Result<u64, Error> {
        tend::set_queue(&self.pool, queue, by).await
    }

    async fn queue_changes(&self, queue: &QueueName) -> Result<Vec<QueueChange>, Error> {
        read::queue_changes(&self.pool, queue).await
    }

    async fn misplaced(&self) -> Result<Vec<(JobId, u64)>, Error> {
        read::misplaced(&self.pool).await
    }

    async fn doubled(&self) -> Result<Vec<Doubled>, Error> {
        read::doubled(&self.pool).await
    }

    async fn set_schedule(&self, schedule: &Schedule) -> Result<(), Error> {
        schedule::set(&self.pool, schedule).await
    }

    async fn remove_schedule(&self, name: &QueueName) -> Result<bool, Error> {
        schedule::remove(&self.pool, name).await
    }

    async fn schedules(&self) -> Result<Vec<Schedule>, Error> {
        schedule::all(&self.pool).await
    }

    async fn prune(&self, most: u32) -> Result<Pruned, Error> {
        tend::prune(&self.pool, most).await
    }

    async fn beats(&self) -> Result<Beats, Error> {
        look::beats(&self.pool).await
    }

    async fn timeline(&self) -> Result<String, Error> {
        look::timeline(&self.pool).await
    }

    async fn holders(&self, who: &[Incarnation]) -> Result<Vec<Holder>, Error> {
        look::holders(&self.pool, who).await
    }

    async fn claims_of(&self, who: &Incarnation, most: u32) -> Result<Vec<HeldClaim>, Error> {
        look::claims_of(&self.pool, who, most).await
    }

    async fn paced(&self) -> Result<Vec<Paced>, Error> {
        look::paced(&self.pool).await
    }

    async fn reap(&self, under: &Fence, reaps: &[Reap]) -> Result<Vec<Reaped>, Error> {
        reap::reap(&self.pool, under, reaps).await
    }

    async fn remember(
        &self,
        timeline: &str,
        silences: &[Silent],
        forget: &[Incarnation],
    ) -> Result<(), Error> {
        look::remember(&self.pool, timeline, silences, forget).await
    }

    async fn recall(&self, timeline: &str) -> Result<Vec<Silent>, Error> {
        look::recall(&self.pool, timeline).await
    }
}
