//! What to do at each answer to a beat, and at each beat without one.

use palisade_jobs::{BeatAnswer, Error, JobId, Token};

/// What a worker knows of its own beats. Moments are milliseconds of the boot clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulse {
    sequence: u64,
    acknowledged_ms: u64,
    missed: u32,
    missed_since_ms: u64,
}

/// What follows from an answer to a beat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follow {
    /// The store has it.
    Acknowledged {
        /// Claims that are spent: these attempts are dropped at once.
        drop: Vec<(JobId, Token)>,
        /// Jobs whose handlers have to be told to end.
        cancel: Vec<JobId>,
        /// So many beats had been missed before this one.
        missed: u32,
        /// The reaper suspects this worker.
        suspect: bool,
    },
    /// Nothing is claimed until one is acknowledged again; what runs goes on until it is fenced.
    Missed {
        /// How many in a row.
        missed: u32,
        /// For how many milliseconds.
        for_ms: u64,
        /// What happened.
        problem: String,
    },
    /// The store does not know this worker, or does not serve it: every attempt is dropped, and the worker ends.
    End {
        /// What the store said.
        problem: String,
    },
}

impl Pulse {
    /// A worker that registered at that moment.
    #[must_use]
    pub const fn new(registered_ms: u64) -> Self {
        Self { sequence: 0, acknowledged_ms: registered_ms, missed: 0, missed_since_ms: 0 }
    }

    /// The number of the next beat, from 1. A beat without an answer is not repeated: the next one has a new number.
    pub fn begin(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// When the last acknowledged beat began.
    #[must_use]
    pub const fn acknowledged_ms(&self) -> u64 {
        self.acknowledged_ms
    }

    /// Whether new jobs may be claimed: the last beat was acknowledged.
    #[must_use]
    pub const fn may_claim(&self) -> bool {
        self.sequence > 0 && self.missed == 0
    }

    /// Judges the answer to the beat that began at `began_ms`.
    pub fn judge(&mut self, began_ms: u64, now_ms: u64, answer: Result<BeatAnswer, Error>) -> Follow {
        match answer {
            Ok(BeatAnswer { spent, cancel, suspect }) => {
                // Answers may overtake each other; the later start counts.
                self.acknowledged_ms = self.acknowledged_ms.max(began_ms);
                let missed = std::mem::take(&mut self.missed);
                Follow::Acknowledged { drop: spent, cancel, missed, suspect }
            }
            Err(error @ (Error::Unreachable { .. } | Error::Unknown { .. })) => {
                if self.missed == 0 {
                    self.missed_since_ms = began_ms;
                }
                self.missed = self.missed.saturating_add(1);
                let for_ms = now_ms.saturating_sub(self.missed_since_ms);
                Follow::Missed { missed: self.missed, for_ms, problem: error.to_string() }
            }
            Err(error) => Follow::End { problem: error.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> Result<BeatAnswer, Error> {
        Err(Error::Unreachable { store: "jobs".to_owned(), problem: "gone".to_owned() })
    }

    #[test]
    fn an_answer_counts_from_the_start_of_its_beat_and_not_from_its_end() {
        let mut pulse = Pulse::new(100);
        assert!(!pulse.may_claim(), "before the first beat");
        assert_eq!(pulse.begin(), 1);
        pulse.judge(200, 900, Ok(BeatAnswer::default()));
        assert_eq!(pulse.acknowledged_ms(), 200);
        assert!(pulse.may_claim());
        // A late answer to an earlier beat does not set the clock back.
        pulse.judge(150, 1_000, Ok(BeatAnswer::default()));
        assert_eq!(pulse.acknowledged_ms(), 200);
    }

    #[test]
    fn one_missed_beat_stops_claims_and_one_acknowledged_beat_allows_them_again() {
        let mut pulse = Pulse::new(0);
        pulse.begin();
        pulse.judge(10, 11, Ok(BeatAnswer::default()));
        let follow = pulse.judge(20, 25, lost());
        assert!(matches!(follow, Follow::Missed { missed: 1, for_ms: 5, .. }), "{follow:?}");
        let follow = pulse.judge(30, 45, lost());
        assert!(matches!(follow, Follow::Missed { missed: 2, for_ms: 25, .. }), "{follow:?}");
        assert!(!pulse.may_claim());
        assert_eq!(pulse.acknowledged_ms(), 10, "a missed beat is no sign of life");
        let follow = pulse.judge(50, 51, Ok(BeatAnswer::default()));
        assert!(matches!(follow, Follow::Acknowledged { missed: 2, .. }), "{follow:?}");
        assert!(pulse.may_claim());
    }

    #[test]
    fn a_store_that_refuses_the_worker_ends_it() {
        let errors = [Error::Refused("unknown".to_owned()), Error::Version("too old".to_owned())];
        for error in errors {
            assert!(matches!(Pulse::new(0).judge(1, 2, Err(error)), Follow::End { .. }));
        }
    }

    #[test]
    fn what_is_spent_or_cancelled_is_handed_on() {
        let answer = BeatAnswer { spent: vec![(JobId(1), Token(2))], cancel: vec![JobId(3)], suspect: true };
        let follow = Pulse::new(0).judge(1, 2, Ok(answer));
        let expected = Follow::Acknowledged {
            drop: vec![(JobId(1), Token(2))],
            cancel: vec![JobId(3)],
            missed: 0,
            suspect: true,
        };
        assert_eq!(follow, expected);
    }
}
