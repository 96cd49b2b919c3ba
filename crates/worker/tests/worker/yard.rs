//! A store in a scratch folder, a queue with short terms, and workers of this process.

use std::path::PathBuf;
use std::time::Duration;

use palisade_core::{Intended, QueueName};
use palisade_jobs::claim::{Evidence, Terms};
use palisade_jobs::job::Start;
use palisade_jobs::store::{Deed, Fence, Reap, Reaped};
use palisade_jobs::{Error, Event, EventKind, Job, JobId, JobStore, NewJob, Note, Queue, State};
use palisade_store::Sqlite;
use palisade_testkit::Scratch;
use palisade_worker::checkpoint::Place;
use palisade_worker::{Context, Failure, Report, Reports, Settings};
use tokio::sync::watch;

/// A beat each 500 ms, the shortest there is; the worker stops by itself after 1.5 s.
pub(crate) const TERMS: Terms = Terms { beat_every_ms: 500, reap_after_ms: 4_000, self_fence_ms: 1_500 };

pub(crate) struct Yard {
    pub(crate) scratch: Scratch,
    pub(crate) store: Sqlite,
    queue: QueueName,
    drain: watch::Sender<bool>,
}

pub(crate) fn note() -> Note {
    Note {
        app: None,
        environment: None,
        version: None,
        host: "test".to_owned(),
        pid: std::process::id(),
        machine_id: "test".to_owned(),
    }
}

impl Yard {
    pub(crate) async fn new() -> Self {
        let scratch = Scratch::new();
        let store = Sqlite::open(&scratch.join("jobs.db")).await.unwrap();
        let queue = QueueName::new("mail").unwrap();
        let yard = Self { scratch, store, queue, drain: watch::Sender::new(false) };
        yard.beats(TERMS).await;
        yard
    }

    /// Gives the queue these terms.
    pub(crate) async fn beats(&self, terms: Terms) {
        let known = self.store.queues().await.unwrap().into_iter().next();
        let mut rules = known.unwrap_or_else(|| Queue::new(self.queue.clone()));
        rules.terms = terms;
        rules.handover_delay_ms = 0;
        self.store.set_queue(&rules, &note()).await.unwrap();
    }

    pub(crate) async fn enqueue(&self, payload: serde_json::Value) -> JobId {
        let job = NewJob {
            queue: self.queue.clone(),
            payload,
            priority: 0,
            start: Start::Now,
            unique: None,
            idempotency: None,
            max_attempts: 3,
            reap_after: None,
            by: note(),
        };
        self.store.enqueue(&[job]).await.unwrap()[0].id
    }

    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::new(self.queue.clone(), "tester".to_owned(), note());
        settings.poll = Duration::from_millis(50);
        settings
    }

    pub(crate) fn place(&self) -> Place {
        Place::folder(self.scratch.join("checkpoints"), None).unwrap()
    }

    /// A worker until [`Self::drain`].
    pub(crate) async fn work<H, F>(&self, place: Place, handler: H) -> Vec<Report>
    where
        H: Fn(Context<serde_json::Value>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let (reports, told) = Reports::new();
        self.work_as(self.settings(), place, reports, handler).await;
        told.iter().collect()
    }

    /// A worker with these settings, until [`Self::drain`].
    pub(crate) async fn work_as<H, F>(&self, settings: Settings, place: Place, reports: Reports, handler: H)
    where
        H: Fn(Context<serde_json::Value>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let drained = self.drained();
        palisade_worker::run(settings, place, reports, self.opener(), drained, handler).await.unwrap();
    }

    /// Ready after [`Self::drain`].
    pub(crate) fn drained(&self) -> impl Future<Output = ()> + use<> {
        let mut drain = self.drain.subscribe();
        async move { drop(drain.wait_for(|drain| *drain).await) }
    }

    pub(crate) fn opener(
        &self,
    ) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = Result<Sqlite, Error>> + Send>> + Send + Clone + use<>
    {
        let path: PathBuf = self.store.path().to_owned();
        move || {
            let path = path.clone();
            Box::pin(async move { Sqlite::open(&path).await })
        }
    }

    pub(crate) fn drain(&self) {
        self.drain.send_replace(true);
    }

    pub(crate) fn work_again(&self) {
        self.drain.send_replace(false);
    }

    /// Waits for the job to be as it is asked for.
    pub(crate) async fn until(&self, job: JobId, what: &str, fits: impl Fn(&Job) -> bool) -> Job {
        for _ in 0..2_000 {
            let found = self.store.job(job).await.unwrap().unwrap();
            if fits(&found) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited in vain for job {job}: {what}: {:?}", self.store.job(job).await.unwrap());
    }

    pub(crate) async fn until_state(&self, job: JobId, state: State) -> Job {
        self.until(job, state.as_str(), |found| found.state == state).await
    }

    pub(crate) async fn do_to(&self, deed: Deed, job: JobId) {
        self.store.intervene(&Intended::without_journal(), &deed, &[job], &note()).await.unwrap();
    }

    /// What an elected reaper does, whatever the worker's beats say.
    pub(crate) async fn reap(&self, job: JobId) {
        let beside = rusqlite::Connection::open(self.store.path()).unwrap();
        beside.busy_timeout(Duration::from_secs(5)).unwrap();
        let elect = "INSERT OR IGNORE INTO lease (name, term, holder, boot_id, acquired_ms, expires_ms) \
            VALUES ('reaper', 1, 'test', ?1, 0, 9e15)";
        beside.execute(elect, [palisade_host::clock::boot_id().unwrap()]).unwrap();
        let under = Fence { term: 1, holder: "test".to_owned() };
        loop {
            let (incarnation, beat) = self.store.beats().await.unwrap().workers.remove(0);
            let held = self.store.claims_of(&incarnation, 10).await.unwrap();
            let token = held.iter().find(|held| held.job == job).unwrap().token;
            let evidence = Evidence::new(1, beat, 4_000, 4_000);
            let reap = Reap { job, token, incarnation, evidence, reason: "silent".to_owned(), by: note() };
            match self.store.reap(&under, &[reap]).await.unwrap()[0] {
                Reaped::Taken(_) => return,
                Reaped::Refuted => {}
                Reaped::TermOver => panic!("the term is over"),
            }
        }
    }

    /// The kinds of what happened to a job, in order.
    pub(crate) async fn told(&self, job: JobId) -> Vec<&'static str> {
        self.store.events(job).await.unwrap().iter().map(word).collect()
    }
}

fn word(event: &Event) -> &'static str {
    match event.kind {
        EventKind::Enqueued => "enqueued",
        EventKind::Claimed { .. } => "claimed",
        EventKind::Checkpoint { .. } => "checkpoint",
        EventKind::Completed => "completed",
        EventKind::Failed { .. } => "failed",
        EventKind::Drained => "drained",
        EventKind::CancelRequested { .. } => "cancel requested",
        EventKind::Cancelled { .. } => "cancelled",
        EventKind::Held { .. } => "held",
        EventKind::Reaped { .. } => "reaped",
        EventKind::Refused { .. } => "refused",
        _ => "other",
    }
}

/// A runtime with one thread, as the command line has it.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
