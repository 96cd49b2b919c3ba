//! The loop of a worker: register, claim, drain, say goodbye.

use std::sync::Arc;
use std::time::Duration;

use palisade_core::QueueName;
use palisade_host::{clock, files, process, random};
use palisade_jobs::claim::Ask;
use palisade_jobs::{Claim, Error as StoreError, Incarnation, JobStore, Note, Worker};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::attempt::Shared;
use crate::beats::{Beats, Health};
use crate::checkpoint::Place;
use crate::claims;
use crate::context::Context;
use crate::ending::Failure;
use crate::finisher::Finisher;
use crate::hold::{Acknowledged, Hold, Stop};
use crate::holds::Holding;
use crate::report::{Report, Reports};
use crate::start::{self, Waiting};
use crate::tidy;

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
    /// It ends once the queue has nothing ready and nothing runs here.
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

const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// So many lots of ends may wait to be written.
const LOTS: usize = 64;
/// Where few places became free, so long others are waited for: a claim of many costs hardly more than a claim of one.
const GATHER: Duration = Duration::from_millis(5);
/// Scheduled and retrying jobs are made ready so often by each worker.
const PROMOTE: Duration = Duration::from_secs(1);
/// Whether a database may give out jobs is looked at so often.
const DISPATCH: Duration = Duration::from_secs(5);
/// What the store has as this worker's is compared with what runs here so often, besides after trouble.
const COMPARE: Duration = Duration::from_secs(60);
/// For how long an answer to that is waited for.
const COMPARING: Duration = Duration::from_secs(5);
/// At its start a worker waits for its store for so long.
const START: Duration = Duration::from_secs(60);
/// The ends of attempts are tried for so long after a drain.
const LAST_WORDS: Duration = Duration::from_secs(10);

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
    let thread = std::thread::Builder::new().name("beats".to_owned());
    let beating = thread.spawn(move || beats.run()).map_err(Error::Thread)?;

    let (ends, to_finish) = mpsc::channel(LOTS);
    let (give_up, no_time) = watch::channel(false);
    let mut finishing = JoinSet::new();
    let finisher = Finisher {
        store: Arc::clone(&store),
        holding: Arc::clone(&holding),
        reports: reports.clone(),
        give_up: no_time,
    };
    finishing.spawn(finisher.run(to_finish));
    let cancel_grace = settings.cancel_grace;
    let mut tidying = JoinSet::new();
    tidying.spawn(tidy::run(Arc::clone(&store), place.clone(), reports.clone()));
    let shared = Shared {
        store: Arc::clone(&store),
        place,
        reports: reports.clone(),
        holding: Arc::clone(&holding),
        ends,
        cancel_grace,
    };
    let incarnation = worker.incarnation.clone();
    let mut looping = Loop::new(settings, Arc::new(shared), incarnation, acknowledged, handler);
    let refused = looping.run(health.subscribe(), drain, give_up).await;
    drop(looping);
    tidying.shutdown().await;
    finishing.join_all().await;
    // The end of the holds is the end of the beats. A beat that hangs is not waited for.
    drop(holding);
    goodbye(&*store, &worker.incarnation, &reports).await;
    drop(beating);
    refused.map_or(Ok(()), |problem| Err(Error::Refused(problem)))
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

struct Loop<S, P, H> {
    settings: Settings,
    shared: Arc<Shared<S>>,
    incarnation: Incarnation,
    acknowledged: Arc<Acknowledged>,
    waiting: Waiting,
    starters: JoinSet<()>,
    handler: Arc<H>,
    pause: Duration,
    /// When the first place became free after all were taken.
    room_at: Instant,
    is_full: bool,
    /// How often the store was heard to call for this queue.
    heard: u64,
    promote_at: Instant,
    dispatch_at: Instant,
    /// When claims are compared next.
    compare_at: Instant,
    /// The answer to a claim was lost: nothing is claimed before claims were compared.
    owes: bool,
    /// How often beats were acknowledged again, as far as this has seen.
    returns: u32,
    /// The database's beacon is stale: nothing is claimed, and what runs goes on.
    is_closed: bool,
    payload: std::marker::PhantomData<fn(P)>,
}

impl<S, P, H, F> Loop<S, P, H>
where
    S: JobStore + 'static,
    P: DeserializeOwned + Send + 'static,
    H: Fn(Context<P>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    fn new(
        settings: Settings,
        shared: Arc<Shared<S>>,
        incarnation: Incarnation,
        acknowledged: Arc<Acknowledged>,
        handler: H,
    ) -> Self {
        Self {
            settings,
            shared,
            incarnation,
            acknowledged,
            waiting: Waiting::default(),
            starters: JoinSet::new(),
            handler: Arc::new(handler),
            pause: FIRST_PAUSE,
            room_at: Instant::now(),
            is_full: false,
            heard: 0,
            promote_at: Instant::now(),
            dispatch_at: Instant::now(),
            compare_at: Instant::now() + COMPARE,
            owes: false,
            returns: 0,
            is_closed: false,
            payload: std::marker::PhantomData,
        }
    }

    /// Until drained. Gives why the store refused this worker, if it did.
    async fn run(
        &mut self,
        mut health: watch::Receiver<Health>,
        drain: impl Future<Output = ()>,
        give_up: watch::Sender<bool>,
    ) -> Option<String> {
        let mut drain = std::pin::pin!(drain);
        let (mut draining, mut hand_over, mut last) = (false, None, None);
        let mut look_at = Instant::now();
        let (store, holding) = (Arc::clone(&self.shared.store), Arc::clone(&self.shared.holding));
        loop {
            let Health { may_claim, returns, refused } = health.borrow_and_update().clone();
            if refused.is_some() || (draining && holding.is_empty()) {
                self.end_all(Stop::Spent, &give_up, refused.is_some()).await;
                return refused;
            }
            while self.starters.try_join_next().is_some() {}
            if self.compares(may_claim, returns).await {
                continue;
            }
            let claims = may_claim && !draining && !self.owes && self.free() > 0;
            let (due, compare_at) = (self.due(look_at), self.compare_at);
            if claims && Instant::now() >= due {
                let empty = self.claim().await;
                if empty && self.settings.until_empty && holding.is_empty() {
                    draining = true;
                    continue;
                }
                look_at = Instant::now() + if empty { self.pause } else { Duration::ZERO };
                continue;
            }
            tokio::select! {
                () = holding.room() => {
                    self.has_room();
                    // Where only what there is counts, the last look is due with the last end.
                    let is_last = self.settings.until_empty && holding.is_empty();
                    let pause = if is_last { Duration::ZERO } else { FIRST_PAUSE };
                    look_at = look_at.min(Instant::now() + pause);
                }
                () = sleep_until(due), if claims => {}
                () = sleep_until(compare_at), if may_claim => {}
                heard = store.woken(&self.settings.queue, self.heard), if claims => {
                    self.heard = heard;
                    self.pause = FIRST_PAUSE;
                    look_at = Instant::now();
                }
                changed = health.changed() => if changed.is_err() { return None },
                () = &mut drain, if !draining => {
                    draining = true;
                    self.shared.reports.tell(Report::Draining);
                    hand_over = Some(Instant::now() + self.settings.finish_within);
                }
                () = at(hand_over), if hand_over.is_some() => {
                    hand_over = None;
                    holding.all().iter().for_each(|hold| hold.stop(Stop::Drain));
                    last = Some(Instant::now() + LAST_WORDS * 2);
                }
                () = at(last), if last.is_some() => {
                    last = None;
                    give_up.send_replace(true);
                }
            }
        }
    }

    /// So many more jobs may run.
    fn free(&self) -> usize {
        self.shared.holding.free(usize::from(self.settings.concurrency))
    }

    /// When to look next. Where few places are free, others are waited for.
    fn due(&self, look_at: Instant) -> Instant {
        let is_worth_it = self.free() * 4 >= usize::from(self.settings.concurrency);
        if is_worth_it { look_at } else { look_at.max(self.room_at + GATHER) }
    }

    /// Asks for as many jobs as fit; whether none came.
    async fn claim(&mut self) -> bool {
        let store = Arc::clone(&self.shared.store);
        if Instant::now() >= self.dispatch_at {
            self.dispatch_at = Instant::now() + DISPATCH;
            if let Err(error) = self.look_whether_open().await {
                return self.store_trouble(&error).await;
            }
        }
        if self.is_closed {
            self.pause = self.settings.poll;
            return true;
        }
        if Instant::now() >= self.promote_at {
            self.promote_at = Instant::now() + PROMOTE;
            if let Err(error) = store.promote().await {
                return self.store_trouble(&error).await;
            }
        }
        let ask = Ask {
            queue: self.settings.queue.clone(),
            most: u16::try_from(self.free()).unwrap_or(u16::MAX),
            incarnation: self.incarnation.clone(),
            reap_after: self.settings.reap_after,
        };
        match store.claim(&ask).await {
            Ok(claims) if claims.is_empty() => {
                self.pause = (self.pause * 2).min(self.settings.poll);
                true
            }
            Ok(claims) => {
                self.pause = FIRST_PAUSE;
                self.begin(claims);
                false
            }
            Err(error) => self.store_trouble(&error).await,
        }
    }

    /// Whether this database may give out jobs, as the agent that vouches for it says.
    async fn look_whether_open(&mut self) -> Result<(), StoreError> {
        match self.shared.store.dispatch().await {
            Ok(()) if self.is_closed => {
                self.is_closed = false;
                self.shared.reports.tell(Report::DispatchOpen);
            }
            Err(StoreError::Stale(problem)) if !self.is_closed => {
                self.is_closed = true;
                self.shared.reports.tell(Report::DispatchClosed { problem });
            }
            Ok(()) | Err(StoreError::Stale(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn begin(&mut self, claims: Vec<Claim>) {
        let count = claims.len();
        let held = claims.into_iter().map(|claim| {
            let ids = (claim.job, claim.token);
            let hold = Hold::new(ids, claim.attempt, claim.terms, Arc::clone(&self.acknowledged));
            let hold = Arc::new(hold);
            self.shared.holding.add(Arc::clone(&hold));
            (hold, claim)
        });
        self.waiting.extend(held);
        self.is_full = self.free() == 0;
        for _ in 0..start::starters(count) {
            let (shared, handler) = (Arc::clone(&self.shared), Arc::clone(&self.handler));
            self.starters.spawn(start::run(shared, self.waiting.clone(), handler));
        }
    }

    async fn store_trouble(&mut self, error: &StoreError) -> bool {
        self.shared.reports.tell(Report::StoreTrouble { problem: error.to_string() });
        self.pause = (self.pause * 2).min(self.settings.poll);
        self.owes |= matches!(error, StoreError::Unknown { .. });
        self.compare_at = Instant::now();
        true
    }

    /// Settles with the store what this worker holds, where that is due; whether it was.
    async fn compares(&mut self, may_claim: bool, returns: u32) -> bool {
        if std::mem::replace(&mut self.returns, returns) != returns {
            self.compare_at = Instant::now();
        }
        if !may_claim || Instant::now() < self.compare_at {
            return false;
        }
        let settling = claims::settle(&*self.shared.store, &self.incarnation, &self.shared.holding);
        match timeout(COMPARING, settling).await {
            Ok(Ok(back)) => {
                (self.owes, self.compare_at) = (false, Instant::now() + COMPARE);
                let tell = |(job, token)| self.shared.reports.tell(Report::GaveBack { job, token });
                back.into_iter().for_each(tell);
            }
            // Not sooner than after a pause.
            Ok(Err(_)) | Err(_) => {
                self.compare_at = Instant::now() + self.settings.poll.max(FIRST_PAUSE * 10);
            }
        }
        true
    }

    /// Something ended or is over.
    fn has_room(&mut self) {
        if self.is_full && self.free() > 0 {
            self.is_full = false;
            self.room_at = Instant::now();
        }
    }

    /// Where the store refused this worker, nothing is written any more: every attempt is dropped.
    async fn end_all(&mut self, why: Stop, give_up: &watch::Sender<bool>, refused: bool) {
        if refused {
            self.shared.holding.all().iter().for_each(|hold| hold.stop(why));
            give_up.send_replace(true);
        }
        while self.starters.join_next().await.is_some() {}
    }
}

async fn at(moment: Option<Instant>) {
    sleep_until(moment.unwrap_or_else(Instant::now)).await;
}
