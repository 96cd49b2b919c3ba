//! A store before which claims can be watched, and kept from their answers. All else passes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use palisade_core::{Intended, QueueName};
use palisade_jobs::claim::{Ask, Beat, BeatAnswer, Checkpoint, Claim, Ending, Finish};
use palisade_jobs::job::Enqueued;
use palisade_jobs::queue::QueueChange;
use palisade_jobs::reaper::Paced;
use palisade_jobs::schedule::Schedule;
use palisade_jobs::store::{
    Beats, Count, Deed, Doubled, Fence, Filter, HeldClaim, Holder, Intervened, Promoted, Pruned, Reap,
    Reaped, Silent,
};
use palisade_jobs::worker::Worker;
use palisade_jobs::{Error, Event, Incarnation, Job, JobId, JobStore, NewJob, Note, Queue, Token};
use palisade_store::Sqlite;
use tokio::time::Instant;

/// What becomes of one claim.
pub(crate) enum Order {
    Pass,
    /// Nothing is given out.
    Fail(fn() -> Error),
    /// Jobs are given out, and the answer comes so late.
    Late(Duration),
    /// Jobs are given out, and the answer never comes.
    Silence,
}

/// A store that goes away, for a claim.
pub(crate) fn away() -> Error {
    Error::Unreachable { store: "by order".to_owned(), problem: "away".to_owned() }
}

/// A connection that ends under a claim.
pub(crate) fn lost() -> Error {
    Error::Unknown { store: "by order".to_owned(), problem: "lost".to_owned() }
}

/// A store that gives out nothing.
pub(crate) fn refused() -> Error {
    Error::Refused("by order".to_owned())
}

/// A claim that was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) asked: Instant,
    pub(crate) answered: Instant,
    /// So many jobs fitted.
    pub(crate) most: usize,
    pub(crate) given: usize,
    /// So many comparisons of claims were still to fail.
    pub(crate) to_fail: u32,
}

#[derive(Default)]
pub(crate) struct Gate {
    /// For the next claims; those after them pass.
    orders: Mutex<VecDeque<Order>>,
    looks: Mutex<Vec<Look>>,
    /// So many comparisons of claims fail first.
    pub(crate) to_fail: AtomicU32,
    /// The database may give out no jobs.
    pub(crate) is_stale: AtomicBool,
}

impl Gate {
    pub(crate) fn before(orders: impl IntoIterator<Item = Order>) -> Arc<Self> {
        Arc::new(Self { orders: Mutex::new(orders.into_iter().collect()), ..Self::default() })
    }

    fn orders(&self) -> MutexGuard<'_, VecDeque<Order>> {
        self.orders.lock().unwrap()
    }

    /// Whether every order was carried out.
    pub(crate) fn is_open(&self) -> bool {
        self.orders().is_empty()
    }

    pub(crate) fn looks(&self) -> MutexGuard<'_, Vec<Look>> {
        self.looks.lock().unwrap()
    }
}

pub(crate) struct Gated {
    pub(crate) store: Sqlite,
    pub(crate) gate: Arc<Gate>,
}

impl JobStore for Gated {
    async fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, Error> {
        self.store.enqueue(jobs).await
    }

    // Nobody is called: a look comes from the worker alone.
    async fn woken(&self, _: &QueueName, _: u64) -> u64 {
        std::future::pending().await
    }

    async fn register(&self, worker: &Worker) -> Result<(), Error> {
        self.store.register(worker).await
    }

    async fn goodbye(&self, incarnation: &Incarnation) -> Result<(), Error> {
        self.store.goodbye(incarnation).await
    }

    async fn dispatch(&self) -> Result<(), Error> {
        match self.gate.is_stale.load(Ordering::SeqCst) {
            true => Err(Error::Stale("by order".to_owned())),
            false => self.store.dispatch().await,
        }
    }

    async fn after_restore(&self) -> Result<u64, Error> {
        self.store.after_restore().await
    }

    async fn claim(&self, ask: &Ask) -> Result<Vec<Claim>, Error> {
        let asked = Instant::now();
        let order = self.gate.orders().pop_front().unwrap_or(Order::Pass);
        let given = match order {
            Order::Pass => self.store.claim(ask).await?,
            Order::Fail(error) => return Err(error()),
            Order::Late(by) => {
                let given = self.store.claim(ask).await?;
                tokio::time::sleep(by).await;
                given
            }
            Order::Silence => {
                self.store.claim(ask).await?;
                std::future::pending().await
            }
        };
        let to_fail = self.gate.to_fail.load(Ordering::SeqCst);
        let most = usize::from(ask.most);
        let look = Look { asked, answered: Instant::now(), most, given: given.len(), to_fail };
        self.gate.looks().push(look);
        Ok(given)
    }

    async fn beat(&self, beat: &Beat) -> Result<BeatAnswer, Error> {
        self.store.beat(beat).await
    }

    async fn checkpoint(&self, job: JobId, token: Token, checkpoint: &Checkpoint) -> Result<Ending, Error> {
        self.store.checkpoint(job, token, checkpoint).await
    }

    async fn finish(&self, ends: &[Finish]) -> Result<Vec<Ending>, Error> {
        self.store.finish(ends).await
    }

    async fn promote(&self) -> Result<Promoted, Error> {
        self.store.promote().await
    }

    async fn intervene(
        &self,
        intended: &Intended,
        deed: &Deed,
        jobs: &[JobId],
        by: &Note,
    ) -> Result<Vec<Intervened>, Error> {
        self.store.intervene(intended, deed, jobs, by).await
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, Error> {
        self.store.job(id).await
    }

    async fn jobs(&self, filter: &Filter) -> Result<Vec<Job>, Error> {
        self.store.jobs(filter).await
    }

    async fn events(&self, job: JobId) -> Result<Vec<Event>, Error> {
        self.store.events(job).await
    }

    async fn queues(&self) -> Result<Vec<Queue>, Error> {
        self.store.queues().await
    }

    async fn counts(&self) -> Result<Vec<Count>, Error> {
        self.store.counts().await
    }

    async fn set_queue(&self, queue: &Queue, by: &Note) -> Result<u64, Error> {
        self.store.set_queue(queue, by).await
    }

    async fn queue_changes(&self, queue: &QueueName) -> Result<Vec<QueueChange>, Error> {
        self.store.queue_changes(queue).await
    }

    async fn misplaced(&self) -> Result<Vec<(JobId, u64)>, Error> {
        self.store.misplaced().await
    }

    async fn doubled(&self) -> Result<Vec<Doubled>, Error> {
        self.store.doubled().await
    }

    async fn set_schedule(&self, schedule: &Schedule) -> Result<(), Error> {
        self.store.set_schedule(schedule).await
    }

    async fn remove_schedule(&self, name: &QueueName) -> Result<bool, Error> {
        self.store.remove_schedule(name).await
    }

    async fn schedules(&self) -> Result<Vec<Schedule>, Error> {
        self.store.schedules().await
    }

    async fn prune(&self, most: u32) -> Result<Pruned, Error> {
        self.store.prune(most).await
    }

    async fn beats(&self) -> Result<Beats, Error> {
        self.store.beats().await
    }

    async fn timeline(&self) -> Result<String, Error> {
        self.store.timeline().await
    }

    async fn holders(&self, who: &[Incarnation]) -> Result<Vec<Holder>, Error> {
        self.store.holders(who).await
    }

    async fn claims_of(&self, who: &Incarnation, most: u32) -> Result<Vec<HeldClaim>, Error> {
        let fewer = |left: u32| left.checked_sub(1);
        match self.gate.to_fail.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer) {
            Ok(_) => Err(away()),
            Err(_) => self.store.claims_of(who, most).await,
        }
    }

    async fn paced(&self) -> Result<Vec<Paced>, Error> {
        self.store.paced().await
    }

    async fn reap(&self, under: &Fence, reaps: &[Reap]) -> Result<Vec<Reaped>, Error> {
        self.store.reap(under, reaps).await
    }

    async fn remember(
        &self,
        timeline: &str,
        silences: &[Silent],
        forget: &[Incarnation],
    ) -> Result<(), Error> {
        self.store.remember(timeline, silences, forget).await
    }

    async fn recall(&self, timeline: &str) -> Result<Vec<Silent>, Error> {
        self.store.recall(timeline).await
    }
}
