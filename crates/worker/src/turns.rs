//! What a worker does in turn: claim, make room, compare its claims with the store's, drain.

use std::sync::Arc;
use std::time::Duration;

use palisade_host::clock;
use palisade_jobs::claim::Ask;
use palisade_jobs::{Claim, Error as StoreError, Incarnation, JobStore};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::answers::{ANSWER, Answers};
use crate::attempt::Shared;
use crate::beats::Health;
use crate::claims;
use crate::context::Context;
use crate::ending::Failure;
use crate::hold::{Acknowledged, Hold, Stop};
use crate::report::Report;
use crate::run::{Error, Settings};
use crate::start::{self, Waiting};

/// The shortest pause between two looks.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(20);
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
/// The ends of attempts are tried for so long after a drain.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// What a look at the queue found.
#[derive(Debug)]
enum Found {
    /// The store has no job that is ready.
    Nothing,
    /// Fewer jobs than fit: there are no more just now.
    All,
    /// As many as fit.
    Enough,
    /// No answer: whether there are jobs is not known.
    Silence,
    /// The store gives out no jobs to this worker, and says why.
    Refused(StoreError),
}

/// What a worker does in turn, and what it knows for that.
pub(crate) struct Loop<S, P, H> {
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
    answers: Answers,
    /// How often beats were acknowledged again, as far as this has seen.
    returns: u32,
    /// Why the database's beacon is stale, where it is: nothing is claimed, and what runs goes on.
    closed: Option<String>,
    payload: std::marker::PhantomData<fn(P)>,
}

impl<S, P, H, F> Loop<S, P, H>
where
    S: JobStore + 'static,
    P: DeserializeOwned + Send + 'static,
    H: Fn(Context<P>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    pub(crate) fn new(
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
            answers: Answers::default(),
            returns: 0,
            closed: None,
            payload: std::marker::PhantomData,
        }
    }

    /// Takes its turns in a task of their own: an answer of the store then meets the turn on a thread of the runtime that is
    /// awake, wherever the caller waits. A panic there is one here.
    pub(crate) async fn run_in_a_task(
        self,
        health: watch::Receiver<Health>,
        drain: impl Future<Output = ()>,
        give_up: watch::Sender<bool>,
    ) -> Result<(), Error> {
        let (drains, is_draining) = watch::channel(());
        let mut task = JoinSet::new();
        task.spawn(self.run(health, is_draining, give_up));
        let mut over = std::pin::pin!(task.join_next());
        let ended = tokio::select! {
            ended = &mut over => ended,
            () = drain => {
                drop(drains);
                over.await
            }
        };
        match ended {
            Some(Ok(ran)) => ran,
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Some(Err(_)) | None => Ok(()),
        }
    }

    /// Until drained, which is the end of `drain`'s sender, or refused, or where only what there is counts, until that is done.
    async fn run(
        mut self,
        mut health: watch::Receiver<Health>,
        mut drain: watch::Receiver<()>,
        give_up: watch::Sender<bool>,
    ) -> Result<(), Error> {
        let mut ending = Ending::default();
        let mut look_at = Instant::now();
        let (store, holding) = (Arc::clone(&self.shared.store), Arc::clone(&self.shared.holding));
        loop {
            let Health { may_claim, returns, refused } = health.borrow_and_update().clone();
            if refused.is_some() || (ending.has_begun && holding.is_empty()) {
                self.end_all(Stop::Spent, &give_up, refused.is_some()).await;
                return refused.map(Error::Refused).or(ending.unserved).map_or(Ok(()), Err);
            }
            while self.starters.try_join_next().is_some() {}
            if self.compares(may_claim, returns).await {
                continue;
            }
            let claims = may_claim && !ending.has_begun && !self.owes && self.free() > 0;
            let (due, compare_at) = (self.due(look_at), self.compare_at);
            if claims && Instant::now() >= due {
                let found = self.look(unwanted(&mut drain, &mut health)).await;
                let pause = if matches!(found, Found::Enough) { Duration::ZERO } else { self.pause };
                look_at = Instant::now() + pause;
                if self.settings.until_empty && holding.is_empty() {
                    ending = Ending::after(found);
                }
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
                    (self.heard, self.pause, look_at) = (heard, FIRST_PAUSE, Instant::now());
                }
                changed = health.changed() => if changed.is_err() { return Ok(()) },
                _ = drain.changed(), if !ending.has_begun => {
                    self.shared.reports.tell(Report::Draining);
                    ending = Ending::within(self.settings.finish_within);
                }
                () = at(ending.hand_over), if ending.hand_over.is_some() => {
                    holding.all().iter().for_each(|hold| hold.stop(Stop::Drain));
                    ending.handed_over();
                }
                () = at(ending.give_up), if ending.give_up.is_some() => {
                    ending.give_up = None;
                    give_up.send_replace(true);
                }
            }
        }
    }

    /// So many more jobs may run.
    fn free(&self) -> usize {
        self.shared.holding.free(usize::from(self.settings.concurrency))
    }

    /// So many jobs are asked for at once.
    fn wanted(&self) -> u16 {
        u16::try_from(self.free()).unwrap_or(u16::MAX).min(self.answers.most())
    }

    /// When to look next. Where few places are free, others are waited for.
    fn due(&self, look_at: Instant) -> Instant {
        let is_worth_it = self.free() * 4 >= usize::from(self.settings.concurrency);
        if is_worth_it { look_at } else { look_at.max(self.room_at + GATHER) }
    }

    /// Looks at the queue, and takes as many jobs as fit.
    async fn look(&mut self, unwanted: impl Future<Output = ()>) -> Found {
        let (began, patience, wanted) = (Instant::now(), self.answers.patience(), self.wanted());
        let answer = {
            let mut claim = std::pin::pin!(self.claim());
            tokio::select! {
                biased;
                answer = timeout(patience, &mut claim) => answer,
                () = unwanted => timeout(ANSWER, claim).await,
            }
        };
        match answer {
            Ok(Ok(found)) => {
                self.answers.came(began.elapsed());
                found
            }
            Ok(Err(error)) => self.no_answer(error),
            Err(_) => {
                self.answers.late(wanted);
                self.no_answer(late(began.elapsed()))
            }
        }
    }

    async fn claim(&mut self) -> Result<Found, StoreError> {
        let store = Arc::clone(&self.shared.store);
        if Instant::now() >= self.dispatch_at {
            self.dispatch_at = Instant::now() + DISPATCH;
            self.look_whether_open().await?;
        }
        if let Some(problem) = &self.closed {
            self.pause = self.settings.poll;
            return Ok(Found::Refused(StoreError::Stale(problem.clone())));
        }
        if Instant::now() >= self.promote_at {
            self.promote_at = Instant::now() + PROMOTE;
            store.promote().await?;
        }
        let ask = Ask {
            queue: self.settings.queue.clone(),
            most: self.wanted(),
            incarnation: self.incarnation.clone(),
            reap_after: self.settings.reap_after,
        };
        let claims = store.claim(&ask).await?;
        if claims.is_empty() {
            self.pause = (self.pause * 2).min(self.settings.poll);
            return Ok(Found::Nothing);
        }
        let is_all = claims.len() < usize::from(ask.most);
        // Who is called need not look so soon.
        self.pause = if is_all && self.heard > 0 { FIRST_PAUSE * 2 } else { FIRST_PAUSE };
        self.begin(claims);
        Ok(if is_all { Found::All } else { Found::Enough })
    }

    /// Whether this database may give out jobs, as the agent that vouches for it says.
    async fn look_whether_open(&mut self) -> Result<(), StoreError> {
        match self.shared.store.dispatch().await {
            Ok(()) => {
                if self.closed.take().is_some() {
                    self.shared.reports.tell(Report::DispatchOpen);
                }
            }
            Err(StoreError::Stale(problem)) => {
                if self.closed.replace(problem.clone()).is_none() {
                    self.shared.reports.tell(Report::DispatchClosed { problem });
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn begin(&mut self, claims: Vec<Claim>) {
        let (count, now_ms) = (claims.len(), clock::boot_ms());
        let held = claims.into_iter().map(|claim| {
            let (ids, acknowledged) = ((claim.job, claim.token), Arc::clone(&self.acknowledged));
            (Arc::new(Hold::new(ids, claim.attempt, claim.terms, acknowledged, now_ms)), claim)
        });
        let held: Vec<_> = held.collect();
        self.shared.holding.add(held.iter().map(|(hold, _)| hold));
        self.waiting.extend(held);
        self.is_full = self.free() == 0;
        for _ in 0..start::starters(count) {
            let (shared, handler) = (Arc::clone(&self.shared), Arc::clone(&self.handler));
            self.starters.spawn(start::run(shared, self.waiting.clone(), handler));
        }
    }

    /// A look that came to nothing is told, and repeated after a pause.
    fn no_answer(&mut self, error: StoreError) -> Found {
        self.shared.reports.tell(Report::StoreTrouble { problem: error.to_string() });
        self.pause = (self.pause * 2).min(self.settings.poll);
        self.owes |= matches!(error, StoreError::Unknown { .. });
        self.compare_at = Instant::now();
        match error {
            StoreError::Unreachable { .. } | StoreError::Unknown { .. } => Found::Silence,
            error => Found::Refused(error),
        }
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

/// How far a worker is that takes no more jobs.
#[derive(Debug, Default)]
struct Ending {
    has_begun: bool,
    /// When handlers are told to hand over.
    hand_over: Option<Instant>,
    /// When the ends that are not written yet are given up.
    give_up: Option<Instant>,
    /// Why it ends without having seen the queue empty.
    unserved: Option<Error>,
}

impl Ending {
    /// It begins now, and handlers may go on for so long.
    fn within(time: Duration) -> Self {
        Self { has_begun: true, hand_over: Some(Instant::now() + time), ..Self::default() }
    }

    /// Where only what there is counts and nothing runs: it begins with an answer that gives no job. Without an answer nobody
    /// knows what there is.
    fn after(found: Found) -> Self {
        match found {
            Found::Nothing => Self { has_begun: true, ..Self::default() },
            Found::Refused(error) => {
                Self { has_begun: true, unserved: Some(Error::Unserved(error)), ..Self::default() }
            }
            Found::All | Found::Enough | Found::Silence => Self::default(),
        }
    }

    fn handed_over(&mut self) {
        (self.hand_over, self.give_up) = (None, Some(Instant::now() + LAST_WORDS * 2));
    }
}

/// Until no more jobs are wanted: a drain, or a worker whose beats are not acknowledged, or that is refused.
async fn unwanted(drain: &mut watch::Receiver<()>, health: &mut watch::Receiver<Health>) {
    tokio::select! {
        _ = drain.changed() => {}
        _ = health.wait_for(|health| !health.may_claim || health.refused.is_some()) => {}
    }
}

/// What a store that says nothing is told as. Jobs may have been given out, so claims are compared before the next.
fn late(waited: Duration) -> StoreError {
    let problem = format!("no answer to a claim within {} s", waited.as_secs());
    StoreError::Unknown { store: "the store".to_owned(), problem }
}

async fn at(moment: Option<Instant>) {
    sleep_until(moment.unwrap_or_else(Instant::now)).await;
}
