//! What follows from what: the decisions that every store takes the same way.

use std::time::Duration;

use crate::claim::{Evidence, Order, Terms};
use crate::event::EventKind;
use crate::queue::{OnSilence, Queue};
use crate::retry::Backoff;
use crate::state::State;
use crate::store::{Deed, Intervened};

/// The attempt that ends, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Which attempt, from 1.
    pub attempt: u16,
    /// Of how many.
    pub max_attempts: u16,
    /// Somebody asked for its end.
    pub cancel_requested: bool,
    /// Why, in the words of who asked.
    pub cancel_reason: Option<String>,
}

/// What a job becomes when an attempt ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Where it stands from now on.
    pub state: State,
    /// So long from now it may run again.
    pub wait: Duration,
    /// Whether the attempt counts.
    pub charged: bool,
    /// Why it stands there.
    pub reason: Option<String>,
    /// What to write into its history.
    pub event: EventKind,
}

impl Outcome {
    fn at_once(state: State, charged: bool, reason: Option<String>, event: EventKind) -> Self {
        Self { state, wait: Duration::ZERO, charged, reason, event }
    }

    fn cancelled(reason: Option<String>) -> Self {
        let event = EventKind::Cancelled { reason: reason.clone() };
        Self::at_once(State::Cancelled, false, reason, event)
    }
}

/// What follows from the word of a worker whose claim holds. `random` spreads the waits of failed jobs.
///
/// A job whose end was asked for ends, whatever its worker says, unless it is done. A worker that ends a job as
/// cancelled though nobody asked has failed: only a person or an app cancels.
#[must_use]
pub fn outcome(order: &Order, running: &Running, backoff: Backoff, random: u64) -> Outcome {
    if running.cancel_requested && *order != Order::Complete {
        return Outcome::cancelled(running.cancel_reason.clone());
    }
    match order {
        Order::Complete => Outcome::at_once(State::Succeeded, true, None, EventKind::Completed),
        Order::Fail { error, fatal } => failed(error, *fatal, running, backoff, random),
        Order::Cancelled => failed(
            "its handler ended it as cancelled though nobody asked for that",
            false,
            running,
            backoff,
            random,
        ),
        Order::Drain => Outcome::at_once(State::Ready, false, None, EventKind::Drained),
        Order::Hold { reason } => {
            let reason = said(reason);
            let event = EventKind::Held { reason: reason.clone() };
            Outcome::at_once(State::Held, false, Some(reason), event)
        }
    }
}

fn failed(error: &str, fatal: bool, running: &Running, backoff: Backoff, random: u64) -> Outcome {
    let error = said(error);
    let event = EventKind::Failed { error: error.clone() };
    let over = fatal || running.attempt >= running.max_attempts;
    let (state, wait) = if over {
        (State::Dead, Duration::ZERO)
    } else {
        (State::Retrying, backoff.after(running.attempt, random))
    };
    Outcome { state, wait, charged: true, reason: Some(error), event }
}

/// Whether an event with a claim's token says that this claim was ended by such an order: then the same order again
/// is a repeat whose first answer was lost, and nothing spent.
#[must_use]
pub const fn is_end_by(event: &EventKind, order: &Order) -> bool {
    match event {
        EventKind::Completed => matches!(order, Order::Complete),
        EventKind::Failed { .. }
        | EventKind::Drained
        | EventKind::Held { .. }
        | EventKind::Cancelled { .. } => !matches!(order, Order::Complete),
        _ => false,
    }
}

/// What is to become of a job that is taken on that evidence. Nothing is where its queue only tells of a stuck one.
#[must_use]
pub fn on_reap(queue: &Queue, evidence: &Evidence) -> Option<OnSilence> {
    if evidence.stuck.is_some() { queue.on_stuck.taken() } else { Some(queue.on_silence) }
}

/// What becomes of a job that is taken from a silent worker, or because it is stuck.
///
/// The attempt counts, because a job may be what kills its workers. Where none is left, a person decides: silence is
/// no failure of the job. Where the death is proven, nobody has to be given time to notice.
#[must_use]
pub fn silenced(
    on_silence: OnSilence,
    running: &Running,
    evidence: &Evidence,
    reason: &str,
    handover_delay: Duration,
) -> Outcome {
    let event = EventKind::Reaped { evidence: evidence.clone(), reason: reason.to_owned() };
    let ends = |state| Outcome::at_once(state, true, Some(reason.to_owned()), event.clone());
    if running.cancel_requested || on_silence == OnSilence::Cancel {
        return ends(State::Cancelled);
    }
    if on_silence == OnSilence::Hold || running.attempt >= running.max_attempts {
        return ends(State::Held);
    }
    if evidence.proof.is_some() || handover_delay.is_zero() {
        return ends(State::Ready);
    }
    Outcome { wait: handover_delay, ..ends(State::Handover) }
}

/// What a deed by hand comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The job goes there; [`State::Ready`] means [`State::Scheduled`] while its time has not come.
    Go(State),
    /// It runs on, and its handler is told to end, or no longer told.
    Ask(bool),
    /// Nothing is written.
    Leave(Intervened),
}

impl Deed {
    /// What to do with a job that stands at `state`.
    #[must_use]
    pub fn step(&self, state: State, cancel_requested: bool) -> Step {
        use State as S;
        let already = Step::Leave(Intervened::Already(state));
        let unfit = Step::Leave(Intervened::Unfit(state));
        match (self, state) {
            (Self::Cancel { .. }, S::Running) if cancel_requested => already,
            (Self::Cancel { .. }, S::Running) => Step::Ask(true),
            (Self::Cancel { .. }, S::Cancelled) | (Self::Hold { .. }, S::Held) => already,
            (Self::Cancel { .. }, state) if !state.is_final() => Step::Go(S::Cancelled),
            (Self::Hold { .. }, state) if !state.is_final() && state != S::Running => Step::Go(S::Held),
            (Self::Resume, S::Running) if cancel_requested => Step::Ask(false),
            (Self::Release, S::Held) | (Self::Resume, S::Cancelled) | (Self::Retry, S::Dead) => {
                Step::Go(S::Ready)
            }
            (Self::Release | Self::Resume | Self::Retry, S::Ready) => already,
            _ => unfit,
        }
    }

    /// What to write into the history of a job that this was done to.
    #[must_use]
    pub fn event(&self, step: Step) -> EventKind {
        match self {
            Self::Cancel { reason } if step == Step::Ask(true) => {
                EventKind::CancelRequested { reason: reason.clone() }
            }
            Self::Cancel { reason } => EventKind::Cancelled { reason: reason.clone() },
            Self::Hold { reason } => EventKind::Held { reason: reason.clone() },
            Self::Release => EventKind::Released,
            Self::Resume => EventKind::Resumed,
            Self::Retry => EventKind::Retried,
        }
    }

    /// Why the job stands where it stands afterwards.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Cancel { reason } => reason.as_deref(),
            Self::Hold { reason } => Some(reason),
            Self::Release | Self::Resume | Self::Retry => None,
        }
    }
}

impl Terms {
    /// The terms for a client that asked for a longer silence. A shorter one changes nothing. The worker's own limit
    /// grows in proportion.
    #[must_use]
    pub fn lengthened(self, asked: Option<Duration>) -> Self {
        let asked =
            asked.map_or(0, |asked| u64::try_from(asked.as_millis()).unwrap_or(u64::MAX)).min(LONGEST_MS);
        if asked <= self.reap_after_ms {
            return self;
        }
        let fence =
            u128::from(self.self_fence_ms) * u128::from(asked) / u128::from(self.reap_after_ms.max(1));
        Self {
            reap_after_ms: asked,
            self_fence_ms: u64::try_from(fence).unwrap_or(self.self_fence_ms),
            ..self
        }
    }
}

/// Thirty days: nobody waits longer for a silent worker.
const LONGEST_MS: u64 = 30 * 24 * 3_600_000;

/// What a handler or a person said, as a store keeps it: without zero bytes, at most 8 KiB.
#[must_use]
pub fn said(text: &str) -> String {
    const MOST: usize = 8 * 1024;
    let mut text = text.replace('\0', "\u{fffd}");
    if text.len() > MOST {
        let end = (0..=MOST - 4).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: Running =
        Running { attempt: 2, max_attempts: 3, cancel_requested: false, cancel_reason: None };

    fn after(order: &Order, running: &Running) -> Outcome {
        outcome(order, running, Backoff { first_ms: 1_000, most_ms: 60_000 }, 0)
    }

    fn failure() -> Order {
        Order::Fail { error: "no route".to_owned(), fatal: false }
    }

    #[test]
    fn a_failed_attempt_is_tried_again_until_none_is_left() {
        let again = after(&failure(), &RUNNING);
        assert_eq!((again.state, again.wait), (State::Retrying, Duration::from_millis(1_000)));
        assert_eq!(after(&failure(), &Running { attempt: 3, ..RUNNING }).state, State::Dead);
        let fatal = Order::Fail { error: "no such file".to_owned(), fatal: true };
        assert_eq!(after(&fatal, &RUNNING).state, State::Dead);
    }

    #[test]
    fn what_was_to_end_ends_whatever_its_worker_says_unless_it_is_done() {
        let asked =
            Running { cancel_requested: true, cancel_reason: Some("wrong day".to_owned()), ..RUNNING };
        for order in [failure(), Order::Cancelled, Order::Drain, Order::Hold { reason: String::new() }] {
            let ended = after(&order, &asked);
            assert_eq!(
                (ended.state, ended.reason.as_deref()),
                (State::Cancelled, Some("wrong day")),
                "{order:?}"
            );
        }
        assert_eq!(after(&Order::Complete, &asked).state, State::Succeeded);
    }

    #[test]
    fn a_worker_cannot_cancel_what_nobody_asked_to_end() {
        assert_eq!(after(&Order::Cancelled, &RUNNING).state, State::Retrying);
    }

    #[test]
    fn a_drained_job_is_not_charged() {
        let drained = after(&Order::Drain, &RUNNING);
        assert_eq!((drained.state, drained.charged), (State::Ready, false));
    }

    #[test]
    fn silence_hands_over_and_never_cancels_unless_the_queue_says_so() {
        let evidence = |proof: Option<&str>| Evidence {
            proof: proof.map(str::to_owned),
            ..Evidence::new(3, 7, 60_000, 60_000)
        };
        let delay = Duration::from_secs(10);
        let of = |rule, running: &Running, proof| silenced(rule, running, &evidence(proof), "silent", delay);
        let handed = of(OnSilence::Requeue, &RUNNING, None);
        assert_eq!((handed.state, handed.wait), (State::Handover, delay));
        assert_eq!(of(OnSilence::Requeue, &RUNNING, Some("goodbye")).state, State::Ready);
        assert_eq!(of(OnSilence::Hold, &RUNNING, None).state, State::Held);
        assert_eq!(of(OnSilence::Cancel, &RUNNING, None).state, State::Cancelled);
        let last = Running { attempt: 3, ..RUNNING };
        assert_eq!(of(OnSilence::Requeue, &last, Some("goodbye")).state, State::Held);
    }

    #[test]
    fn every_deed_from_every_state_is_a_step_that_a_job_may_take() {
        let deeds = [
            Deed::Cancel { reason: None },
            Deed::Hold { reason: "look".to_owned() },
            Deed::Release,
            Deed::Resume,
            Deed::Retry,
        ];
        for (deed, from) in deeds.iter().flat_map(|deed| State::ALL.map(|state| (deed, state))) {
            match deed.step(from, false) {
                Step::Go(to) => assert!(from.may_become(to), "{deed:?}: {from} to {to}"),
                Step::Ask(_) => assert_eq!(from, State::Running, "{deed:?}"),
                Step::Leave(answer) => assert!(
                    matches!(answer, Intervened::Already(state) | Intervened::Unfit(state) if state == from),
                    "{deed:?}"
                ),
            }
        }
    }

    #[test]
    fn a_person_undoes_a_cancel_before_and_after_the_handler_heard_of_it() {
        assert_eq!(Deed::Resume.step(State::Running, true), Step::Ask(false));
        assert_eq!(Deed::Resume.step(State::Cancelled, false), Step::Go(State::Ready));
        assert_eq!(Deed::Resume.step(State::Running, false), Step::Leave(Intervened::Unfit(State::Running)));
    }

    #[test]
    fn a_client_lengthens_a_threshold_and_never_shortens_it() {
        let terms = Terms { beat_every_ms: 1_000, reap_after_ms: 10_000, self_fence_ms: 5_000 };
        assert_eq!(terms.lengthened(Some(Duration::from_secs(1))), terms);
        assert_eq!(terms.lengthened(None), terms);
        let longer = terms.lengthened(Some(Duration::from_secs(20)));
        assert_eq!((longer.reap_after_ms, longer.self_fence_ms), (20_000, 10_000));
        assert_eq!(terms.lengthened(Some(Duration::MAX)).reap_after_ms, LONGEST_MS);
    }

    #[test]
    fn what_was_said_is_kept_short_and_without_zero_bytes() {
        assert_eq!(said("a\0b"), "a\u{fffd}b");
        let long = said(&"\u{e9}".repeat(10_000));
        assert!(long.len() <= 8 * 1024 && long.ends_with(" ..."));
    }
}
