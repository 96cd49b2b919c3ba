//! One attempt from its claim to its end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use palisade_jobs::{Claim, JobStore, Order};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::checkpoint::{Found, KEPT, Place};
use crate::context::{Attempt, Context};
use crate::ending::{self, Failure, Returned};
use crate::finisher::{End, Unwritten};
use crate::hold::{Hold, Stop};
use crate::report::{Report, Reports};
use crate::writer::{self, Writer};

/// What all attempts of a worker share.
#[derive(Debug)]
pub(crate) struct Shared<S> {
    pub(crate) store: Arc<S>,
    pub(crate) place: Place,
    pub(crate) reports: Reports,
    pub(crate) ends: mpsc::Sender<End>,
    pub(crate) cancel_grace: Duration,
}

/// A handler that was told to stop and has something to clean up may take so long over its time.
const MARGIN: Duration = Duration::from_secs(2);
/// The last checkpoint of an attempt that goes back is tried for so long.
const LAST_CHECKPOINT: Duration = Duration::from_secs(10);
/// So many checkpoints may wait for the writer; only the newest is stored.
const HANDED: usize = 4;

/// Runs one attempt. Its hold is beaten for until this is over.
pub(crate) async fn run<S, P, H, F>(shared: Arc<Shared<S>>, hold: Arc<Hold>, claim: Claim, handler: Arc<H>)
where
    S: JobStore,
    P: DeserializeOwned + Send + 'static,
    H: Fn(Context<P>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let Shared { reports, .. } = &*shared;
    let (job, token, attempt) = (claim.job, claim.token, claim.attempt);
    reports.tell(Report::Claimed { job, token, attempt });
    // What most attempts do not need is in boxes: there may be a thousand attempts.
    let ready = match hold.start().await {
        None if claim.checkpoints.is_empty() => Ok(None),
        None => Box::pin(resume(&shared, &hold, &claim)).await,
        Some(_) => Err(Returned::Dropped),
    };
    let (returned, mut kept) = match ready {
        Ok(resume) => handle(&shared, &hold, claim, resume, handler).await,
        Err(returned) => (returned, VecDeque::new()),
    };
    let Some(order) = ending::order(returned, hold.stopped()) else {
        let problem = "the claim is spent: it was dropped".to_owned();
        return reports.tell(Report::Lost { job, token, problem });
    };
    let (how, said) = ending::how(&order);
    let complete = order == Order::Complete;
    let (done, written) = oneshot::channel();
    hold.ends();
    let end = End { hold, order, done };
    let written = match shared.ends.send(end).await {
        Ok(()) => written.await.unwrap_or(Err(Unwritten::Over)),
        Err(_) => Err(Unwritten::Over),
    };
    match written {
        Ok(()) => {
            reports.tell(Report::Ended { job, token, how, said });
            // Where it is done, nothing will resume from them.
            let most = if complete { 0 } else { KEPT };
            if kept.len() > most {
                Box::pin(writer::prune(&shared.place, &mut kept, most)).await;
            }
        }
        Err(unwritten) => reports.tell(Report::Lost { job, token, problem: unwritten.to_string() }),
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
async fn handle<S, P, H, F>(
    shared: &Shared<S>,
    hold: &Arc<Hold>,
    claim: Claim,
    resume: Option<Vec<u8>>,
    handler: Arc<H>,
) -> (Returned, VecDeque<palisade_jobs::Checkpoint>)
where
    S: JobStore,
    P: DeserializeOwned + Send + 'static,
    H: Fn(Context<P>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let kept: VecDeque<_> = claim.checkpoints.into_iter().rev().collect();
    let payload = match serde_json::from_value(claim.payload) {
        Ok(payload) => payload,
        Err(error) => {
            let error = format!("the payload is not what the handler takes: {error}");
            return (Returned::Result(Err(Failure::Fatal(error))), kept);
        }
    };
    let (handed, from_handler) = mpsc::channel(HANDED);
    let attempt = Attempt { hold: Arc::clone(hold), handed, grace: shared.cancel_grace };
    let watched = attempt.clone();
    let writer = Writer {
        store: Arc::clone(&shared.store),
        place: shared.place.clone(),
        hold: Arc::clone(hold),
        reports: shared.reports.clone(),
        kept,
    };
    let mut writing = std::pin::pin!(writer.run(from_handler));
    let mut handling = JoinSet::new();
    handling.spawn(handler(Context { payload, resume, attempt }));
    let mut written = None;
    let returned = {
        let mut until = std::pin::pin!(time_is_up(watched, &shared.reports));
        loop {
            tokio::select! {
                ended = handling.join_next() => break match ended {
                    Some(Ok(result)) => Returned::Result(result),
                    Some(Err(error)) => Returned::Result(Err(Failure::Again(panicked(error)))),
                    None => Returned::Dropped,
                },
                () = &mut until => break Returned::Dropped,
                kept = &mut writing, if written.is_none() => written = Some(kept),
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
async fn time_is_up(attempt: Attempt, reports: &Reports) {
    let mut watch = attempt.hold.watch();
    let mut until: Option<Instant> = None;
    let mut told = None;
    // It must not keep the writer's channel open.
    let (hold, grace) = (Arc::clone(&attempt.hold), attempt.grace);
    let time = |why| attempt_grace(&hold, grace, why);
    drop(attempt);
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

fn panicked(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "the handler was ended".to_owned() };
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the handler panicked: {}", text.unwrap_or_else(|| "without a message".to_owned()))
}
