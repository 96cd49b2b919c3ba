//! The life of a worker: register, take its turns, say goodbye.

use std::sync::Arc;
use std::time::Duration;

use palisade_core::QueueName;
use palisade_host::{clock, files, process, random};
use palisade_jobs::{Error as StoreError, Incarnation, JobStore, Note, Worker};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::attempt::Shared;
use crate::beats::{Beats, Health};
use crate::checkpoint::Place;
use crate::context::Context;
use crate::ending::Failure;
use crate::finisher::Finisher;
use crate::hold::Acknowledged;
use crate::holds::Holding;
use crate::report::{Report, Reports};
use crate::tidy;
use crate::turns::{FIRST_PAUSE, Loop};

/// What a worker does.
#[derive(Debug, Clone)]
pub struct Settings {
    /// From which queue it takes jobs.
    pub queue: QueueName,
    /// How many it runs at once, from 1.
    pub concurrency: u16,
    /// Its name, for people. Two workers may bear the same one.
    pub name: String,
    /// Who it is.
    pub by: Note,
    /// Its jobs may be silent for longer than the queue says before they are taken from it. Never for shorter.
    pub reap_after: Option<Duration>,
    /// The longest pause between two looks at an empty queue.
    pub poll: Duration,
    /// How long a handler may take to end once its job was cancelled.
    pub cancel_grace: Duration,
    /// When it drains, handlers may go on for so long before they are told to hand over.
    pub finish_within: Duration,
    /// It ends once the queue has nothing ready and nothing runs here, with [`Error::Unserved`] where the store says that it
    /// gives out nothing. A store that does not answer is tried until it does.
    pub until_empty: bool,
}

impl Settings {
    /// One job at a time, a look each second, 10 s for a cancelled handler, hand over at once.
    #[must_use]
    pub fn new(queue: QueueName, name: String, by: Note) -> Self {
        Self {
            queue,
            concurrency: 1,
            name,
            by,
            reap_after: None,
            poll: Duration::from_secs(1),
            cancel_grace: Duration::from_secs(10),
            finish_within: Duration::ZERO,
            until_empty: false,
        }
    }
}

/// Why a worker did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store does not take it.
    #[error("the worker cannot register")]
    Register(#[source] StoreError),
    /// The store refused it while it ran. Its attempts were dropped.
    #[error("the store refused this worker: {0}")]
    Refused(String),
    /// The store gave it no jobs, so that one that was to end with the queue cannot say that it is empty. Nothing runs.
    #[error("the store gives out no jobs to this worker")]
    Unserved(#[source] StoreError),
    /// This process cannot be described.
    #[error("this process cannot be described")]
    Process(#[from] process::Error),
    /// The boot of this machine cannot be told.
    #[error("the boot of this machine cannot be told")]
    Boot(#[from] files::Error),
    /// There are no random bits.
    #[error("no incarnation can be drawn")]
    Random(#[from] random::Error),
    /// The thread of the beats cannot be started.
    #[error("the thread that beats cannot be started")]
    Thread(#[source] std::io::Error),
}

/// At its start a worker waits for its store for so long.
const START: Duration = Duration::from_secs(60);

/// Runs jobs until `drain` is ready, the queue is empty (where that was asked for) or the store refuses the worker.
///
/// `open` is called twice at least: the beats have a connection of their own, in a thread of their own.
///
/// # Errors
/// As [`Error`]. A store that is down while the worker runs is no error: it waits.
pub async fn run<S, O, C, P, H, F>(
    settings: Settings,
    place: Place,
    reports: Reports,
    open: O,
    drain: impl Future<Output = ()>,
    handler: H,
) -> Result<(), Error>
where
    S: JobStore + 'static,
    O: Fn() -> C + Send + Clone + 'static,
    C: Future<Output = Result<S, StoreError>> + Send,
    P: DeserializeOwned + Send + 'static,
    H: Fn(Context<P>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let worker = describe(&settings)?;
    let acknowledged = Arc::new(Acknowledged::default());
    acknowledged.set(clock::boot_ms());
    let store = Arc::new(register(&open, &worker, &reports).await.map_err(Error::Register)?);
    reports.tell(Report::Started { incarnation: worker.incarnation.clone() });

    let (holding, health) = (Arc::new(Holding::default()), watch::Sender::new(Health::default()));
    let beats = Beats {
        open,
        incarnation: worker.incarnation.clone(),
        acknowledged: Arc::clone(&acknowledged),
        holds: holding.watch(),
        health: health.clone(),
        reports: reports.clone(),
    };
    let beating = beats.begin().map_err(Error::Thread)?;
    let (give_up, no_time) = watch::channel(false);
    let finisher = Finisher {
        store: Arc::clone(&store),
        holding: Arc::clone(&holding),
        reports: reports.clone(),
        give_up: no_time,
    };
    let (ends, finishing) = finisher.begin();
    let mut beside = beside(&store, &place, &reports);
    let shared = Shared {
        store: Arc::clone(&store),
        place,
        reports: reports.clone(),
        holding: Arc::clone(&holding),
        ends,
        cancel_grace: settings.cancel_grace,
    };
    let incarnation = worker.incarnation.clone();
    let turns = Loop::new(settings, Arc::new(shared), incarnation, acknowledged, handler);
    let ran = turns.run_in_a_task(health.subscribe(), drain, give_up).await;
    beside.shutdown().await;
    finishing.join_all().await;
    // The end of the holds is the end of the beats. A beat that hangs is not waited for.
    drop(holding);
    goodbye(&*store, &worker.incarnation, &reports).await;
    drop(beating);
    ran
}

/// What goes on beside the jobs for as long as the worker takes turns.
fn beside<S: JobStore + 'static>(store: &Arc<S>, place: &Place, reports: &Reports) -> JoinSet<()> {
    let mut beside = JoinSet::new();
    beside.spawn(tidy::run(Arc::clone(store), place.clone(), reports.clone()));
    beside.spawn(look_at_place(place.clone(), reports.clone()));
    beside
}

/// Whoever gave a wrong bucket hears so at once. Nothing waits for this: jobs go on where no checkpoint can be stored.
async fn look_at_place(place: Place, reports: Reports) {
    if let Err(error) = place.check().await {
        let place = place.shown().to_owned();
        reports.tell(Report::CheckpointsAway { place, problem: error.to_string() });
    }
}

async fn goodbye<S: JobStore>(store: &S, incarnation: &Incarnation, reports: &Reports) {
    if timeout(Duration::from_secs(5), store.goodbye(incarnation)).await.is_ok_and(|said| said.is_ok()) {
        reports.tell(Report::Gone);
    }
}

/// A store that restarts just then is waited for; one that refuses is not.
async fn register<S, O, C>(open: &O, worker: &Worker, reports: &Reports) -> Result<S, StoreError>
where
    S: JobStore,
    O: Fn() -> C,
    C: Future<Output = Result<S, StoreError>>,
{
    let (patience, mut pause) = (Instant::now() + START, FIRST_PAUSE);
    loop {
        let asking = async {
            let store = open().await?;
            store.register(worker).await.map(|()| store)
        };
        let late = || StoreError::Unknown {
            store: "the store".to_owned(),
            problem: format!("no answer within {} s", START.as_secs()),
        };
        match timeout(START, asking).await.unwrap_or_else(|_| Err(late())) {
            Err(error @ (StoreError::Unreachable { .. } | StoreError::Unknown { .. }))
                if Instant::now() < patience =>
            {
                reports.tell(Report::StoreTrouble { problem: error.to_string() });
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
            result => return result,
        }
    }
}

/// Who this worker is: a fresh incarnation at each start.
fn describe(settings: &Settings) -> Result<Worker, Error> {
    let this = process::this()?;
    Ok(Worker {
        name: settings.name.clone(),
        incarnation: Incarnation::from_bits(u128::from_le_bytes(random::bytes()?)),
        by: settings.by.clone(),
        start_ticks: this.start_ticks,
        boot_id: clock::boot_id()?,
        pid_space: process::number_space(),
    })
}
