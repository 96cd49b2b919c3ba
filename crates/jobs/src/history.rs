//! What was promised, held against what is recorded: `palisade verify history`.
//!
//! The checks are about one job at a time, and about the reaps of all jobs together. They read what happened, never
//! what somebody meant; a history that was cut at its begin is told from one that was broken.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::claim::Evidence;
use crate::event::{Event, EventKind};
use crate::id::{JobId, Token};
use crate::job::Job;
use crate::reaper::Idle;
use crate::state::State;
use crate::store::Doubled;

/// A promise of the job engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Promise {
    /// No job is taken from a worker whose silence is shorter than the threshold of its claim, a proven death
    /// excepted; none for want of progress before its deadline.
    S1,
    /// A reap is written under the term in force; a term has one holder, and terms never go back.
    S2,
    /// After the end of an attempt nothing of it is accepted.
    S3,
    /// No job is lost or done twice, its checkpoints never go back, and one key makes one job.
    S4,
}

impl Promise {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::S1 => "S1",
            Self::S2 => "S2",
            Self::S3 => "S3",
            Self::S4 => "S4",
        }
    }
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Which one.
    pub promise: Promise,
    /// Of which job.
    pub job: JobId,
    /// Which event of it, where one is to blame.
    pub event: Option<i64>,
    /// What happened, in words.
    pub said: String,
}

/// Looks at one history after the other.
#[derive(Debug, Default)]
pub struct Auditor {
    broken: Vec<Broken>,
    jobs: u64,
    events: u64,
    reaps: Vec<(i64, JobId, u64, String)>,
}

/// What an audit came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Audit {
    /// So many jobs were looked at.
    pub jobs: u64,
    /// So many events.
    pub events: u64,
    /// So many reaps.
    pub reaps: usize,
    /// What was broken, by job.
    pub broken: Vec<Broken>,
}

/// How far one job is, while its events are read.
#[derive(Default)]
struct Walk {
    /// The claim in force, with its threshold where that is recorded.
    in_force: Option<(Token, Option<u64>)>,
    /// The highest token that was given out.
    highest: Option<Token>,
    checkpoint: u64,
    completed: u64,
    ended: Option<State>,
}

impl Auditor {
    /// Takes in a job and its events in order. `placed` is in how many places the store has it; 1 is right. Gives
    /// whether something seems broken: a job that changed while it was read can be looked at again.
    pub fn look(&mut self, job: &Job, events: &[Event], placed: u64) -> bool {
        let broken = self.broken.len();
        self.jobs += 1;
        self.events += u64::try_from(events.len()).unwrap_or(u64::MAX);
        let mut walk = Walk::default();
        for event in events {
            self.step(&mut walk, event);
        }
        self.end(&walk, job, placed);
        self.broken.len() > broken
    }

    /// Forgets what it said about a job and looks anew.
    pub fn look_again(&mut self, job: &Job, events: &[Event], placed: u64) {
        self.broken.retain(|broken| broken.job != job.id);
        self.reaps.retain(|(_, of, ..)| *of != job.id);
        self.jobs -= 1;
        self.look(job, events, placed);
    }

    /// Takes in a job that bears the key of another one.
    pub fn doubled(&mut self, doubled: &Doubled) {
        let Doubled { job, queue, key, for_ever, bearer } = doubled;
        let kind = if *for_ever { "idempotency" } else { "unique" };
        let bearer = bearer.map_or_else(
            || "which the store does not know any more".to_owned(),
            |bearer| format!("which is the key of job {bearer}"),
        );
        let said = format!("made with the {kind} key {key:?} of queue {queue}, {bearer}");
        self.broken.push(Broken { promise: Promise::S4, job: *job, event: None, said });
    }

    /// The result. Reaps of all jobs are compared here.
    #[must_use]
    pub fn end_of_all(mut self) -> Audit {
        self.reaps.sort();
        let mut holders: BTreeMap<u64, &str> = BTreeMap::new();
        let mut last = 0;
        let mut broken = Vec::new();
        for (number, job, term, holder) in &self.reaps {
            let mut tell = |said: String| {
                broken.push(Broken { promise: Promise::S2, job: *job, event: Some(*number), said });
            };
            if *term == 0 {
                tell("taken under no term".to_owned());
            } else if *term < last {
                tell(format!("taken under term {term} after a reap under term {last}"));
            }
            last = last.max(*term);
            let known = *holders.entry(*term).or_insert(holder);
            if known != holder {
                tell(format!("term {term} has two holders: {known} and {holder}"));
            }
        }
        self.broken.append(&mut broken);
        self.broken.sort_by_key(|one| (one.job, one.event, one.promise));
        Audit { jobs: self.jobs, events: self.events, reaps: self.reaps.len(), broken: self.broken }
    }

    fn tell(&mut self, promise: Promise, event: &Event, said: String) {
        self.broken.push(Broken { promise, job: event.job, event: Some(event.number), said });
    }

    fn step(&mut self, walk: &mut Walk, event: &Event) {
        match &event.kind {
            EventKind::Enqueued | EventKind::Refused { .. } => {}
            EventKind::Claimed { reap_after_ms, .. } => self.claimed(walk, event, *reap_after_ms),
            EventKind::Checkpoint { sequence } => {
                self.of_claim(walk, event, "a checkpoint");
                if *sequence <= walk.checkpoint {
                    let said = format!("checkpoint {sequence} after checkpoint {}", walk.checkpoint);
                    self.tell(Promise::S4, event, said);
                }
                walk.checkpoint = walk.checkpoint.max(*sequence);
            }
            EventKind::Completed => {
                self.attempt_ends(walk, event, "completed", Some(State::Succeeded));
                walk.completed += 1;
                if walk.completed > 1 {
                    self.tell(Promise::S4, event, format!("completed {} times", walk.completed));
                }
            }
            EventKind::Failed { .. } => self.attempt_ends(walk, event, "failed", None),
            EventKind::Drained => self.attempt_ends(walk, event, "drained", None),
            EventKind::Reaped { evidence, .. } => {
                self.reaped(walk, event, evidence);
                self.attempt_ends(walk, event, "reaped", None);
            }
            EventKind::Held { .. } if event.token.is_some() => {
                self.attempt_ends(walk, event, "held", None);
            }
            EventKind::Cancelled { .. } if event.token.is_some() => {
                self.attempt_ends(walk, event, "cancelled", Some(State::Cancelled));
            }
            EventKind::Cancelled { .. } => walk.ended = Some(State::Cancelled),
            EventKind::Released | EventKind::Resumed | EventKind::Retried => {
                if walk.ended == Some(State::Succeeded) {
                    self.tell(Promise::S4, event, "given back although it was done".to_owned());
                }
                walk.ended = None;
            }
            EventKind::Held { .. } | EventKind::CancelRequested { .. } => {}
        }
    }

    fn claimed(&mut self, walk: &mut Walk, event: &Event, reap_after_ms: u64) {
        let Some(token) = event.token else {
            return self.tell(Promise::S3, event, "claimed without a token".to_owned());
        };
        if walk.ended == Some(State::Succeeded) {
            self.tell(Promise::S4, event, format!("claimed under token {token} although it was done"));
        }
        if let Some((running, _)) = walk.in_force {
            let said = format!("claimed under token {token} while token {running} was in force");
            self.tell(Promise::S3, event, said);
        }
        if walk.highest.is_some_and(|highest| token <= highest) {
            self.tell(
                Promise::S3,
                event,
                format!("token {token} was given out after a higher one, or twice"),
            );
        }
        walk.highest = walk.highest.max(Some(token));
        walk.in_force = Some((token, Some(reap_after_ms).filter(|ms| *ms > 0)));
        walk.ended = None;
    }

    /// A write of an attempt has to carry the token in force.
    fn of_claim(&mut self, walk: &Walk, event: &Event, what: &str) {
        let in_force = walk.in_force.map(|(token, _)| token);
        // A history whose begin was forgotten with its day shows no claim at all.
        if walk.highest.is_none() || event.token == in_force {
            return;
        }
        let shown = |token: Option<Token>| {
            token.map_or_else(|| "no token".to_owned(), |token| format!("token {token}"))
        };
        let said = format!(
            "{what} was accepted under {} while {} was in force",
            shown(event.token),
            shown(in_force)
        );
        self.tell(Promise::S3, event, said);
    }

    fn attempt_ends(&mut self, walk: &mut Walk, event: &Event, what: &str, ended: Option<State>) {
        self.of_claim(walk, event, what);
        walk.in_force = None;
        walk.ended = ended;
    }

    fn reaped(&mut self, walk: &Walk, event: &Event, evidence: &Evidence) {
        let holder = evidence.holder.clone();
        self.reaps.push((event.number, event.job, evidence.term, holder));
        if event.by.is_none() {
            self.tell(Promise::S2, event, "nobody is named as its reaper".to_owned());
        }
        if evidence.proof.is_some() {
            return;
        }
        if let Some(stuck) = evidence.stuck {
            if stuck.idle_ms < stuck.deadline_ms {
                let Idle { idle_ms, deadline_ms, .. } = stuck;
                let said =
                    format!("taken after {idle_ms} ms without progress, with a deadline of {deadline_ms} ms");
                self.tell(Promise::S1, event, said);
            }
            return;
        }
        if evidence.silent_ms < evidence.reap_after_ms {
            let said = format!(
                "taken after {} ms of silence, with a threshold of {} ms",
                evidence.silent_ms, evidence.reap_after_ms
            );
            self.tell(Promise::S1, event, said);
        }
        if let Some((_, Some(threshold))) = walk.in_force.filter(|(_, threshold)| threshold.is_some())
            && evidence.reap_after_ms < threshold
        {
            let said = format!(
                "judged by a threshold of {} ms, and its claim was given {threshold} ms",
                evidence.reap_after_ms
            );
            self.tell(Promise::S1, event, said);
        }
    }

    fn end(&mut self, walk: &Walk, job: &Job, placed: u64) {
        let mut tell = |said: String| {
            self.broken.push(Broken { promise: Promise::S4, job: job.id, event: None, said });
        };
        match placed {
            0 => tell("lost: it is neither waiting nor ready nor running nor ended".to_owned()),
            1 => {}
            many => tell(format!("it is in {many} places at once")),
        }
        match job.state {
            State::Succeeded if walk.completed == 0 => tell("done, and nobody completed it".to_owned()),
            State::Succeeded => {}
            state if walk.completed > 0 => tell(format!("it was completed, and is {state}")),
            State::Cancelled | State::Dead | State::Running if walk.highest.is_none() => {}
            State::Running if walk.in_force.map(|(token, _)| token) != job.token => {
                tell("it runs under a token that nobody claimed".to_owned());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use palisade_core::{QueueName, Timestamp};
    use serde_json::Value;

    use super::*;
    use crate::job::Note;

    fn by() -> Note {
        Note {
            app: None,
            environment: None,
            version: None,
            host: "web-1".to_owned(),
            pid: 1,
            machine_id: "m0".to_owned(),
        }
    }

    fn job(state: State, token: Option<i64>) -> Job {
        Job {
            id: JobId(7),
            queue: QueueName::new("backfill").unwrap(),
            state,
            payload: Value::Null,
            priority: 0,
            enqueued_at: Timestamp::from_unix_ms(1),
            run_at: Timestamp::from_unix_ms(1),
            attempts: 1,
            max_attempts: 20,
            token: token.map(Token),
            worker: None,
            cancel_requested: false,
            progress: None,
            checkpoint: None,
            trouble: None,
            reason: None,
            by: by(),
        }
    }

    fn claimed() -> EventKind {
        EventKind::Claimed { attempt: 1, worker: "w".to_owned(), reap_after_ms: 60_000 }
    }

    fn reaped(term: u64, holder: &str, silent_ms: u64, reap_after_ms: u64) -> EventKind {
        let mut evidence = Evidence::new(term, 3, silent_ms, reap_after_ms);
        evidence.holder = holder.to_owned();
        EventKind::Reaped { evidence, reason: "reaped: silent".to_owned() }
    }

    /// What an audit of one job says, as `S1 S3`, for events as token and kind.
    fn said(state: State, token: Option<i64>, events: &[(i64, EventKind)]) -> String {
        let event = |(number, (token, kind)): (i64, &(i64, EventKind))| Event {
            job: JobId(7),
            number,
            at: Timestamp::from_unix_ms(1),
            token: Some(Token(*token)).filter(|token| token.0 > 0),
            kind: kind.clone(),
            by: Some(by()),
        };
        let events: Vec<Event> = (1..).zip(events).map(event).collect();
        let mut auditor = Auditor::default();
        auditor.look(&job(state, token), &events, 1);
        let audit = auditor.end_of_all();
        audit.broken.iter().map(|one| one.promise.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_job_that_was_reaped_resumed_and_done_keeps_every_promise() {
        let events = [
            (0, EventKind::Enqueued),
            (1, claimed()),
            (1, EventKind::Checkpoint { sequence: 1 }),
            (1, reaped(4, "one", 60_001, 60_000)),
            (1, EventKind::Refused { what: "complete".to_owned() }),
            (2, claimed()),
            (2, EventKind::Checkpoint { sequence: 2 }),
            (2, EventKind::Completed),
        ];
        assert_eq!(said(State::Succeeded, None, &events), "");
    }

    #[test]
    fn planted_violations_are_found() {
        let end = |kind| vec![(1, claimed()), (1, kind)];
        // Young silence; the threshold of somebody else; a term that is none.
        assert_eq!(said(State::Ready, None, &end(reaped(4, "one", 59_999, 60_000))), "S1");
        assert_eq!(said(State::Ready, None, &end(reaped(4, "one", 10_000, 10_000))), "S1");
        assert_eq!(said(State::Ready, None, &end(reaped(0, "one", 60_000, 60_000))), "S2");
        // A term after a later one, and one with two holders.
        let twice = |term, holder| {
            vec![
                (1, claimed()),
                (1, reaped(4, "one", 60_000, 60_000)),
                (2, claimed()),
                (2, reaped(term, holder, 60_000, 60_000)),
            ]
        };
        assert_eq!(said(State::Ready, None, &twice(5, "two")), "");
        assert_eq!(said(State::Ready, None, &twice(3, "two")), "S2");
        assert_eq!(said(State::Ready, None, &twice(4, "two")), "S2");
        // Something of an attempt that is over; a token that goes back; two at once.
        let late = [end(EventKind::Drained), vec![(1, EventKind::Checkpoint { sequence: 1 })]].concat();
        assert_eq!(said(State::Ready, None, &late), "S3");
        let back = [end(EventKind::Drained), vec![(1, claimed()), (1, EventKind::Drained)]].concat();
        assert_eq!(said(State::Ready, None, &back), "S3");
        assert_eq!(said(State::Running, Some(2), &[(1, claimed()), (2, claimed())]), "S3");
        // Done twice, lost, and a checkpoint that goes back.
        let done = [end(EventKind::Completed), vec![(2, claimed()), (2, EventKind::Completed)]].concat();
        assert_eq!(said(State::Succeeded, None, &done), "S4 S4");
        assert_eq!(said(State::Succeeded, None, &end(EventKind::Drained)), "S4");
        let back = [
            (1, claimed()),
            (1, EventKind::Checkpoint { sequence: 2 }),
            (1, EventKind::Checkpoint { sequence: 2 }),
        ];
        assert_eq!(said(State::Running, Some(1), &back), "S4");
        let mut auditor = Auditor::default();
        auditor.look(&job(State::Ready, None), &[], 0);
        assert_eq!(auditor.end_of_all().broken.len(), 1);
    }

    #[test]
    fn a_stuck_job_is_taken_after_its_deadline_only() {
        let taken = |idle_ms| {
            let mut evidence = Evidence::new(4, 0, 0, 0);
            evidence.stuck =
                Some(Idle { idle_ms, deadline_ms: 60_000, step: crate::reaper::Step::default() });
            let taken = EventKind::Reaped { evidence, reason: "reaped: stuck".to_owned() };
            said(State::Held, None, &[(1, claimed()), (1, taken)])
        };
        assert_eq!((taken(60_000).as_str(), taken(59_999).as_str()), ("", "S1"));
    }

    #[test]
    fn a_key_of_two_jobs_is_found() {
        let mut auditor = Auditor::default();
        let queue = QueueName::new("backfill").unwrap();
        let bearer = Some(JobId(3));
        auditor.doubled(&Doubled { job: JobId(7), queue, key: "day 9".to_owned(), for_ever: true, bearer });
        let broken = auditor.end_of_all().broken;
        assert_eq!((broken[0].promise, broken[0].job), (Promise::S4, JobId(7)));
        assert!(broken[0].said.contains("key \"day 9\"") && broken[0].said.contains("job 3"), "{broken:?}");
    }

    #[test]
    fn a_proven_death_needs_no_silence() {
        let mut evidence = Evidence::new(4, 3, 0, 60_000);
        evidence.proof = Some("process gone".to_owned());
        let proven = EventKind::Reaped { evidence, reason: "reaped: its process is gone".to_owned() };
        assert_eq!(said(State::Ready, None, &[(1, claimed()), (1, proven)]), "");
    }
}
