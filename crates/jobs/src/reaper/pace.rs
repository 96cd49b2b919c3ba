//! Jobs that are alive and stuck: their worker beats, and they make no progress.
//!
//! Nothing here compares timestamps either. A job's *step* is what it last said of itself: its progress and its last
//! checkpoint. Time in which the judge could have seen a step is counted once a beat of the worker has arrived after
//! it: a worker that does not beat cannot say how far its jobs are, and is a matter of the rule of silence.
//!
//! What was counted is in this judge's memory only. The next term counts from nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::reason::Span;
use crate::id::{Incarnation, JobId, Token};
use crate::queue::OnStuck;

/// Looks at the jobs so often within the shortest of their deadlines.
const LOOKS: u32 = 8;

/// A running job that has a deadline for its progress, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paced {
    /// The job.
    pub job: JobId,
    /// The claim.
    pub token: Token,
    /// Its worker.
    pub incarnation: Incarnation,
    /// How far it is.
    pub step: Step,
    /// From how long without a step on it counts as stuck: its queue's rule when it was claimed.
    pub deadline: Duration,
    /// What its queue wants to be done with one that is stuck.
    pub on_stuck: OnStuck,
    /// The revision of that queue's rules now.
    pub revision: u64,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it said last, in its own units.
    pub progress: Option<i64>,
    /// Sequence of its last checkpoint; 0 where there is none.
    pub checkpoint: u64,
}

/// For how long a job has made no progress: the evidence of a reap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idle {
    /// Observed time without a step, in milliseconds.
    pub idle_ms: u64,
    /// Its deadline, in milliseconds.
    pub deadline_ms: u64,
    /// Where it stands since.
    pub step: Step,
}

/// `without progress for 2h 0m 4s of observed time while its worker beats (rule: 2h 0m 0s), at 42`
impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |ms: u64| Span(Duration::from_millis(ms));
        let (idle, deadline) = (span(self.idle_ms), span(self.deadline_ms));
        write!(f, "without progress for {idle} of observed time while its worker beats (rule: {deadline})")?;
        self.step.progress.map_or(Ok(()), |progress| write!(f, ", at {progress}"))
    }
}

/// How the jobs with a deadline get on.
#[derive(Debug, Default)]
pub struct Paces {
    known: HashMap<Token, Pace>,
    /// Charged since they were looked at last.
    since: Duration,
    /// The shortest deadline of those that were seen last.
    shortest: Option<Duration>,
}

#[derive(Debug)]
struct Pace {
    step: Step,
    /// The beat of its worker when it was looked at last.
    beat: u64,
    /// Without a step, and confirmed by beats.
    idle: Duration,
    /// Since the last of those beats.
    open: Duration,
    told: bool,
    seen: bool,
}

impl Paces {
    /// A sweep has charged so much time. Gives whether the jobs are to be looked at now: after an eighth of the shortest
    /// deadline, so that a sweep costs nothing for jobs that have hours.
    pub fn pass(&mut self, charged: Duration, sweep_every: Duration) -> bool {
        self.since += charged;
        self.since >= self.shortest.map_or(sweep_every, |shortest| (shortest / LOOKS).max(sweep_every))
    }

    /// Takes in all the jobs that have a deadline, with the last beat of each worker that is not gone. Gives those that
    /// are stuck, each with whether that is new. A job that its queue gives away is given again until it is gone.
    pub fn see<'a>(
        &mut self,
        jobs: &'a [Paced],
        beat: impl Fn(&Incarnation) -> Option<u64>,
    ) -> Vec<(&'a Paced, Idle, bool)> {
        let passed = std::mem::take(&mut self.since);
        self.shortest = jobs.iter().map(|job| job.deadline).min();
        let mut stuck = Vec::new();
        for job in jobs {
            let Some(beat) = beat(&job.incarnation) else { continue };
            let pace = match self.known.entry(job.token) {
                // What passed before it was seen first is not its own.
                Entry::Vacant(place) => place.insert(Pace::first(job.step, beat)),
                Entry::Occupied(place) => {
                    let pace = place.into_mut();
                    pace.see(job.step, beat, passed);
                    pace
                }
            };
            if pace.idle >= job.deadline {
                let idle = Idle { idle_ms: ms(pace.idle), deadline_ms: ms(job.deadline), step: job.step };
                stuck.push((job, idle, !std::mem::replace(&mut pace.told, true)));
            }
        }
        self.known.retain(|_, pace| std::mem::take(&mut pace.seen));
        stuck
    }
}

impl Pace {
    const fn first(step: Step, beat: u64) -> Self {
        Self { step, beat, idle: Duration::ZERO, open: Duration::ZERO, told: false, seen: true }
    }

    fn see(&mut self, step: Step, beat: u64, passed: Duration) {
        if self.step != step {
            *self = Self::first(step, beat);
            return;
        }
        self.seen = true;
        self.open += passed;
        if self.beat != beat {
            self.beat = beat;
            self.idle += std::mem::take(&mut self.open);
        }
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWEEP: Duration = Duration::from_secs(5);
    const DEADLINE: Duration = Duration::from_secs(1_800);

    fn paced(step: Step) -> Paced {
        Paced {
            job: JobId(1),
            token: Token(1),
            incarnation: Incarnation::from_bits(1),
            step,
            deadline: DEADLINE,
            on_stuck: OnStuck::Alert,
            revision: 2,
        }
    }

    const fn at(progress: i64, checkpoint: u64) -> Step {
        Step { progress: Some(progress), checkpoint }
    }

    /// Sweeps for so long, where the worker beats or does not. Gives after how much of it the job is said to be stuck
    /// first, and how often it was looked at.
    fn sweeps(paces: &mut Paces, step: Step, span: Duration, beats: bool) -> (Option<Duration>, u32) {
        let (mut passed, mut looks, mut found) = (Duration::ZERO, 0, None);
        while passed < span {
            passed += SWEEP;
            if paces.pass(SWEEP, SWEEP) {
                looks += 1;
                let beat = if beats { passed.as_secs() } else { 1 };
                let jobs = [paced(step)];
                let stuck = paces.see(&jobs, |_| Some(beat));
                found = found.or_else(|| stuck.first().filter(|(.., new)| *new).map(|_| passed));
            }
        }
        (found, looks)
    }

    #[test]
    fn one_that_beats_and_does_not_get_on_is_told_of_once_after_its_deadline() {
        let mut paces = Paces::default();
        let (found, looks) = sweeps(&mut paces, at(7, 0), DEADLINE * 2, true);
        let found = found.unwrap();
        assert!(found >= DEADLINE && found <= DEADLINE + DEADLINE / LOOKS * 2, "{found:?}");
        assert!(looks <= 2 * LOOKS + 2, "looked at {looks} times in two deadlines");
        assert_eq!(sweeps(&mut paces, at(7, 0), DEADLINE, true).0, None, "said twice");
        // It gets on, and sticks again.
        assert!(sweeps(&mut paces, at(8, 0), DEADLINE * 2, true).0.is_some());
    }

    #[test]
    fn progress_and_checkpoints_are_steps() {
        let mut paces = Paces::default();
        for step in 0..20 {
            assert_eq!(sweeps(&mut paces, at(step, 3), DEADLINE / 2, true).0, None);
        }
        for checkpoint in 4..20 {
            assert_eq!(sweeps(&mut paces, at(19, checkpoint), DEADLINE / 2, true).0, None);
        }
    }

    #[test]
    fn the_job_of_a_silent_worker_is_not_stuck() {
        let mut paces = Paces::default();
        assert_eq!(sweeps(&mut paces, at(7, 0), DEADLINE * 4, false).0, None);
    }

    #[test]
    fn time_that_could_not_be_observed_is_not_counted() {
        let mut paces = Paces::default();
        assert_eq!(sweeps(&mut paces, at(7, 0), DEADLINE / 2, true).0, None);
        for beat in 10_000..10_100 {
            paces.pass(Duration::ZERO, SWEEP);
            assert!(paces.see(&[paced(at(7, 0))], |_| Some(beat)).is_empty());
        }
    }

    #[test]
    fn another_claim_of_the_same_job_begins_anew() {
        let mut paces = Paces::default();
        assert!(sweeps(&mut paces, at(7, 0), DEADLINE * 2, true).0.is_some());
        let next = [Paced { token: Token(2), ..paced(at(7, 0)) }];
        paces.pass(DEADLINE, SWEEP);
        assert!(paces.see(&next, |_| Some(99_999)).is_empty());
        assert_eq!(paces.known.len(), 1, "what has ended is forgotten");
    }
}
