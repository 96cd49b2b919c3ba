//! What the cases share: queues of their own, workers, and waiting.

use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use palisade_core::{Intended, QueueName};
use serde_json::json;

use crate::claim::{Ask, Beat, BeatAnswer, Claim, Ending, Finish, Order, Terms};
use crate::id::{Incarnation, JobId, Token};
use crate::job::{Job, NewJob, Note};
use crate::retry::Backoff;
use crate::store::{Deed, Intervened};
use crate::{EventKind, JobStore, Queue, State, Worker};

/// The suite has no journal.
pub(super) static INTENDED: Intended = Intended::without_journal();

/// Who holds the lease of the stage's reaper.
pub const HOLDER: &str = "stage";

/// A store under test, and what only its database can do.
pub trait Stage: Sync {
    /// The store.
    type Store: JobStore;

    /// The store.
    fn store(&self) -> &Self::Store;

    /// Makes `term` the one in force on the lease [`crate::store::REAPER`], held by [`HOLDER`].
    fn set_term(&self, term: u64) -> impl Future<Output = ()> + Send;

    /// Moves the end of a job `ms` milliseconds into the past.
    fn age(&self, job: JobId, ms: u64) -> impl Future<Output = ()> + Send;
}

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A number that no other case of this process has, far from those of a run before.
fn fresh() -> u128 {
    u128::from(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A queue of its own for one case.
pub(super) fn queue(case: &str) -> QueueName {
    QueueName::new(&format!("{case}-{}", fresh())).expect("a name of letters")
}

pub(super) fn by() -> Note {
    Note {
        app: None,
        environment: None,
        version: Some("1.2.3".to_owned()),
        host: "stage".to_owned(),
        pid: 4711,
        machine_id: "m0".to_owned(),
    }
}

pub(super) fn new_job(queue: &QueueName) -> NewJob {
    NewJob::new(queue.clone(), json!({}), by())
}

/// What went wrong is the store's, so a case ends there.
pub(super) fn ok<T>(result: Result<T, crate::Error>) -> T {
    result.unwrap_or_else(|error| panic!("the store says: {error}"))
}

/// Runs all of them at once; the results are in their order.
pub(super) async fn together<F: Future>(calls: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut calls: Vec<_> = calls.map(|call| (Box::pin(call), None)).collect();
    poll_fn(|context| {
        for (call, done) in calls.iter_mut().filter(|(_, done)| done.is_none()) {
            if let Poll::Ready(result) = call.as_mut().poll(context) {
                *done = Some(result);
            }
        }
        if calls.iter().all(|(_, done)| done.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    calls.into_iter().filter_map(|(_, done)| done).collect()
}

/// Short calls on a store, each of which has to succeed.
pub(super) struct Play<'a, S: Stage> {
    pub(super) stage: &'a S,
    pub(super) queue: QueueName,
}

impl<'a, S: Stage> Play<'a, S> {
    pub(super) fn new(stage: &'a S, case: &str) -> Self {
        Self { stage, queue: queue(case) }
    }

    pub(super) fn store(&self) -> &'a S::Store {
        self.stage.store()
    }

    pub(super) fn make(&self, job: NewJob) -> impl Future<Output = JobId> + Send {
        let store = self.store();
        async move { ok(store.enqueue(&[job]).await)[0].id }
    }

    /// So many jobs, in order.
    pub(super) fn jobs(&self, count: usize) -> impl Future<Output = Vec<JobId>> + Send {
        let (store, jobs) = (self.store(), vec![new_job(&self.queue); count]);
        async move { ok(store.enqueue(&jobs).await).iter().map(|made| made.id).collect() }
    }

    /// A worker that is registered.
    pub(super) fn worker(&self, name: &str) -> impl Future<Output = Incarnation> + Send {
        let (store, worker) = (self.store(), worker(name));
        async move {
            ok(store.register(&worker).await);
            worker.incarnation
        }
    }

    pub(super) fn claim(&self, who: &Incarnation, most: u16) -> impl Future<Output = Vec<Claim>> + Send {
        let (store, ask) = (self.store(), self.ask(who, most));
        async move { ok(store.claim(&ask).await) }
    }

    pub(super) fn ask(&self, who: &Incarnation, most: u16) -> Ask {
        Ask { queue: self.queue.clone(), most, incarnation: who.clone(), reap_after: None }
    }

    pub(super) fn finish(&self, claim: &Claim, order: Order) -> impl Future<Output = Ending> + Send {
        let (store, end) = (self.store(), Finish { job: claim.job, token: claim.token, order });
        async move { ok(store.finish(&[end]).await)[0] }
    }

    pub(super) fn fail(&self, claim: &Claim) -> impl Future<Output = Ending> + Send {
        self.finish(claim, Order::Fail { error: "no route".to_owned(), fatal: false })
    }

    pub(super) fn beat(&self, who: &Incarnation, sequence: u64) -> impl Future<Output = BeatAnswer> + Send {
        let (store, incarnation) = (self.store(), who.clone());
        let beat = Beat { incarnation, sequence, progress: Vec::new(), trouble: Vec::new() };
        async move { ok(store.beat(&beat).await) }
    }

    pub(super) fn job(&self, id: JobId) -> impl Future<Output = Job> + Send {
        let store = self.store();
        async move { ok(store.job(id).await).expect("the job is there") }
    }

    pub(super) fn state(&self, id: JobId) -> impl Future<Output = State> + Send {
        let job = self.job(id);
        async move { job.await.state }
    }

    pub(super) fn kinds(&self, id: JobId) -> impl Future<Output = Vec<EventKind>> + Send {
        let store = self.store();
        async move { ok(store.events(id).await).into_iter().map(|event| event.kind).collect() }
    }

    pub(super) fn deed(&self, deed: Deed, id: JobId) -> impl Future<Output = Intervened> + Send {
        let store = self.store();
        async move { ok(store.intervene(&INTENDED, &deed, &[id], &by()).await)[0] }
    }

    /// Sets rules of the queue: short waits, and what `change` says.
    pub(super) fn rules(&self, change: impl FnOnce(&mut Queue)) -> impl Future<Output = Queue> + Send {
        let (store, mut queue) = (self.store(), Queue::new(self.queue.clone()));
        queue.backoff = Backoff { first_ms: 1, most_ms: 2 };
        queue.handover_delay_ms = 1;
        queue.terms = Terms { beat_every_ms: 1_000, reap_after_ms: 10_000, self_fence_ms: 5_000 };
        change(&mut queue);
        async move {
            queue.revision = ok(store.set_queue(&queue, &by()).await);
            queue
        }
    }

    /// Promotes until that job is ready.
    pub(super) fn until_ready(&self, id: JobId) -> impl Future<Output = ()> + Send {
        let store = self.store();
        async move {
            for _ in 0..200_000 {
                ok(store.promote().await);
                if ok(store.job(id).await).is_some_and(|job| job.state == State::Ready) {
                    return;
                }
            }
            panic!("job {id} does not become ready");
        }
    }
}

/// A worker that nobody else is.
pub(super) fn worker(name: &str) -> Worker {
    // A prefix for this run of the process, so that a store that outlives it never sees one twice.
    static RUN: AtomicU64 = AtomicU64::new(0);
    let here = std::ptr::from_ref(&RUN).addr() as u64;
    Worker {
        name: name.to_owned(),
        incarnation: Incarnation::from_bits((u128::from(here) << 64) | fresh()),
        by: by(),
        start_ticks: 77,
        boot_id: "boot".to_owned(),
        pid_space: None,
    }
}

/// A claim's job with another token.
pub(super) fn other_token(claim: &Claim) -> Claim {
    Claim { token: Token(claim.token.0 + 1_000_000), payload: "null".to_owned(), ..claim.clone() }
}
