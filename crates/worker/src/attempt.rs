//! One attempt from its claim to its end.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Waker};
use std::time::Duration;

use palisade_jobs::{Claim, JobStore, Order};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::checkpoint::{Found, KEPT, Place};
use crate::context::{Attempt, Context, Hand};
use crate::ending::{self, Failure, Returned};
use crate::finisher::{self, End, Unwritten};
use crate::hold::{Hold, Stop};
use crate::holds::Holding;
use crate::report::{Report, Reports};
use crate::writer::{self, Writer};

/// What all attempts of a worker share.
#[derive(Debug)]
pub(crate) struct Shared<S> {
    pub(crate) store: Arc<S>,
    pub(crate) place: Place,
    pub(crate) reports: Reports,
    pub(crate) holding: Arc<Holding>,
    pub(crate) ends: mpsc::Sender<Vec<End>>,
    pub(crate) cancel_grace: Duration,
}

/// A handler that was told to stop and has something to clean up may take so long over its time.
const MARGIN: Duration = Duration::from_secs(2);
/// The last checkpoint of an attempt that goes back is tried for so long.
const LAST_CHECKPOINT: Duration = Duration::from_secs(10);

/// A handler that has begun.
type Working = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// What the first step of an attempt came to.
pub(crate) enum First {
    /// It is over, and this is to be written.
    Ended(End),
    /// Its claim is spent: nothing is.
    Lost(Arc<Hold>),
    /// It waits for something. Its hold is beaten for until this is over.
    GoesOn(Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// Begins an attempt. Where nothing has to be waited for, its handler is polled once, here.
pub(crate) fn begin<S, P, H, F>(
    shared: &Arc<Shared<S>>,
    hold: Arc<Hold>,
    claim: Claim,
    handler: &Arc<H>,
) -> First
where
    S: JobStore + 'static,
    P: DeserializeOwned + Send + 'static,
    H: Fn(Context<P>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let (job, token, attempt) = (claim.job, claim.token, claim.attempt);
    shared.reports.tell(Report::Claimed { job, token, attempt });
    if claim.checkpoints.is_empty() && hold.starts_now() {
        return first_step(shared, hold, claim, None, &**handler);
    }
    let (shared, handler) = (Arc::clone(shared), Arc::clone(handler));
    First::GoesOn(Box::pin(async move {
        let ready = match hold.start().await {
            None if claim.checkpoints.is_empty() => Ok(None),
            None => resume(&shared, &hold, &claim).await,
            Some(_) => Err(Returned::Dropped),
        };
        let first = match ready {
            Ok(resume) => first_step(&shared, hold, claim, resume, &*handler),
            Err(returned) => ended(&shared, hold, returned),
        };
        match first {
            First::Ended(end) => shared.hand_over(vec![end]).await,
            First::Lost(hold) => shared.holding.remove([&hold].into_iter()),
            First::GoesOn(rest) => rest.await,
        }
    }))
}

impl<S> Shared<S> {
    /// Hands ends to their writer. Their places are free.
    pub(crate) async fn hand_over(&self, ends: Vec<End>) {
        self.holding.ended(ends.iter().map(|end| &end.hold));
        // It takes ends for as long as anything may send some.
        drop(self.ends.send(ends).await);
    }
}

/// Calls the handler, and polls it once. A panic ends this attempt and no other.
fn first_step<S, P, H, F>(
    shared: &Arc<Shared<S>>,
    hold: Arc<Hold>,
    claim: Claim,
    resume: Option<Vec<u8>>,
    handler: &H,
) -> First
where
    S: JobStore + 'static,
    P: DeserializeOwned,
    H: Fn(Context<P>) -> F,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let kept: VecDeque<_> = claim.checkpoints.into_iter().rev().collect();
    let payload = match serde_json::from_str(&claim.payload) {
        Ok(payload) => payload,
        Err(error) => {
            let error = format!("the payload is not what the handler takes: {error}");
            return ended(shared, hold, Returned::Result(Err(Failure::Fatal(error))));
        }
    };
    let hand = Arc::new(Hand::default());
    let attempt = Attempt { hold: Arc::clone(&hold), hand: Arc::clone(&hand), grace: shared.cancel_grace };
    let mut working: Option<Working> = None;
    // Whoever goes on with it polls it again before it waits.
    let mut unwoken = task::Context::from_waker(Waker::noop());
    let polled = catch_unwind(AssertUnwindSafe(|| {
        working.insert(Box::pin(handler(Context { payload, resume, attempt }))).as_mut().poll(&mut unwoken)
    }));
    let returned = match polled {
        Ok(Poll::Ready(result)) => Some(Returned::Result(result)),
        Ok(Poll::Pending) => None,
        Err(panic) => Some(Returned::Result(Err(Failure::Again(panicked(&*panic))))),
    };
    let working = match (returned, working) {
        (None, Some(working)) => Ok(working),
        (returned, over) => {
            drop(over);
            Err(returned.unwrap_or(Returned::Dropped))
        }
    };
    match working {
        Err(returned) if kept.is_empty() && !hand.is_used() => ended(shared, hold, returned),
        working => First::GoesOn(Box::pin(go_on(Arc::clone(shared), hold, working, kept, hand))),
    }
}

/// How an attempt ends that nobody waits for.
fn ended<S>(shared: &Shared<S>, hold: Arc<Hold>, returned: Returned) -> First {
    match ending::order(returned, hold.stopped()) {
        Some(order) => First::Ended(End { hold, order, done: None }),
        None => {
            shared.reports.tell(dropped(&hold));
            First::Lost(hold)
        }
    }
}

fn dropped(hold: &Hold) -> Report {
    let problem = "the claim is spent: it was dropped".to_owned();
    Report::Lost { job: hold.job, token: hold.token, problem }
}

/// An attempt after its first step, to its end.
async fn go_on<S: JobStore>(
    shared: Arc<Shared<S>>,
    hold: Arc<Hold>,
    working: Result<Working, Returned>,
    kept: VecDeque<palisade_jobs::Checkpoint>,
    hand: Arc<Hand>,
) {
    let (returned, mut kept) = handle(&shared, &hold, working, kept, hand).await;
    let Some(order) = ending::order(returned, hold.stopped()) else {
        shared.reports.tell(dropped(&hold));
        return shared.holding.remove([&hold].into_iter());
    };
    let is_complete = order == Order::Complete;
    let (done, written) = oneshot::channel();
    let end = End { hold: Arc::clone(&hold), order: order.clone(), done: Some(done) };
    shared.hand_over(vec![end]).await;
    let written = written.await.unwrap_or(Err(Unwritten::Over));
    let is_written = written.is_ok();
    shared.reports.tell(finisher::report(&hold, &order, written));
    // Where it is done, nothing will resume from them.
    let most = if is_complete { 0 } else { KEPT };
    if is_written && kept.len() > most {
        writer::prune(&shared.place, &mut kept, most).await;
    }
}

/// The bytes to go on from, or how the attempt ends without a handler.
async fn resume<S: JobStore>(
    shared: &Shared<S>,
    hold: &Hold,
    claim: &Claim,
) -> Result<Option<Vec<u8>>, Returned> {
    let (job, token) = (claim.job, claim.token);
    let mut pause = Duration::from_millis(200);
    loop {
        match shared.place.resume(&claim.checkpoints).await {
            Found::None => return Ok(None),
            Found::Good { checkpoint, bytes, bad } => {
                for bad in bad {
                    let problem = format!("checkpoint {} cannot be used: {}", bad.sequence, bad.problem);
                    shared.reports.tell(Report::Trouble { job, problem });
                }
                hold.trouble(None);
                shared.reports.tell(Report::Resumed { job, token, sequence: checkpoint.sequence });
                return Ok(Some(bytes));
            }
            Found::AllBad(bad) => {
                let each: Vec<String> =
                    bad.iter().map(|bad| format!("{}: {}", bad.sequence, bad.problem)).collect();
                let reason = format!(
                    "{} no checkpoint of the job can be used ({})",
                    palisade_core::Code::CheckpointsBad,
                    each.join("; ")
                );
                return Err(Returned::Result(Err(Failure::Hold(reason))));
            }
            Found::Unreachable(problem) => {
                let problem = format!("its checkpoint cannot be read: {problem}");
                hold.trouble(Some(problem.clone()));
                shared.reports.tell(Report::Trouble { job, problem });
                let mut stop = hold.watch();
                tokio::select! {
                    () = sleep(pause) => pause = (pause * 2).min(Duration::from_secs(10)),
                    _ = stop.changed() => {}
                }
                if hold.stopped().is_some() {
                    return Err(Returned::Dropped);
                }
            }
        }
    }
}

/// Runs the handler and its writer of checkpoints side by side, and ends the handler when it has to.
async fn handle<S: JobStore>(
    shared: &Shared<S>,
    hold: &Arc<Hold>,
    working: Result<Working, Returned>,
    kept: VecDeque<palisade_jobs::Checkpoint>,
    hand: Arc<Hand>,
) -> (Returned, VecDeque<palisade_jobs::Checkpoint>) {
    let Some(from_handler) = hand.receiver() else { return (Returned::Dropped, kept) };
    // The writer ends when nobody can hand over any more.
    drop(hand);
    let writer = Writer {
        store: Arc::clone(&shared.store),
        place: shared.place.clone(),
        hold: Arc::clone(hold),
        reports: shared.reports.clone(),
        kept,
    };
    let mut writing = std::pin::pin!(writer.run(from_handler));
    let mut handling = JoinSet::new();
    let (mut written, mut returned) = (None, None);
    match working {
        Ok(working) => drop(handling.spawn(working)),
        Err(already) => returned = Some(already),
    }
    let returned = match returned {
        Some(returned) => returned,
        None => {
            let mut until = std::pin::pin!(time_is_up(hold, shared.cancel_grace, &shared.reports));
            loop {
                tokio::select! {
                    ended = handling.join_next() => break match ended {
                        Some(Ok(result)) => Returned::Result(result),
                        Some(Err(error)) => Returned::Result(Err(Failure::Again(ended_by(error)))),
                        None => Returned::Dropped,
                    },
                    () = &mut until => break Returned::Dropped,
                    kept = &mut writing, if written.is_none() => written = Some(kept),
                }
            }
        }
    };
    handling.shutdown().await;
    let kept = match (written, worth_waiting(hold, &returned)) {
        (Some(kept), _) => kept,
        (None, Some(most)) => timeout(most, writing).await.unwrap_or_default(),
        (None, None) => VecDeque::new(),
    };
    (returned, kept)
}

/// For how long what was handed over and is not stored yet is waited for.
fn worth_waiting(hold: &Hold, returned: &Returned) -> Option<Duration> {
    match hold.stopped() {
        Some(Stop::Spent) => None,
        // The job is done.
        _ if *returned == Returned::Result(Ok(())) => Some(Duration::from_secs(1)),
        _ => Some(LAST_CHECKPOINT),
    }
}

/// Ends when a handler that was told to stop has had its time.
async fn time_is_up(hold: &Hold, grace: Duration, reports: &Reports) {
    let mut watch = hold.watch();
    let mut until: Option<Instant> = None;
    let mut told = None;
    let time = |why| attempt_grace(hold, grace, why);
    loop {
        let now = *watch.borrow_and_update();
        if let Some(why) = now.filter(|_| now != told) {
            told = now;
            reports.tell(Report::Stopping { job: hold.job, token: hold.token, why });
            let margin = if why.may_write() { MARGIN } else { Duration::ZERO };
            let latest = Instant::now() + time(why) + margin;
            until = Some(until.map_or(latest, |until| until.min(latest)));
        }
        tokio::select! {
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => return,
            changed = watch.changed() => if changed.is_err() { return },
        }
    }
}

/// How long a handler may take to end once it was told why.
pub(crate) fn attempt_grace(hold: &Hold, cancel: Duration, why: Stop) -> Duration {
    match why {
        Stop::Cancel => cancel,
        Stop::Drain => Duration::from_millis(crate::fence::HAND_OVER_MS),
        Stop::Fenced => Duration::from_millis(crate::fence::grace_ms(&hold.terms)),
        Stop::Spent => Duration::ZERO,
    }
}

fn ended_by(error: tokio::task::JoinError) -> String {
    error.try_into_panic().map_or_else(|_| "the handler was ended".to_owned(), |panic| panicked(&*panic))
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the handler panicked: {}", text.unwrap_or_else(|| "without a message".to_owned()))
}
