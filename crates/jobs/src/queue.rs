//! The rules of a queue. They live in the store, not in its clients.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use palisade_core::{QueueName, Timestamp};

use crate::claim::Terms;
use crate::job::Note;
use crate::retry::Backoff;

/// A queue and its rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// Its name.
    pub name: QueueName,
    /// Grows with each change of the rules.
    pub revision: u64,
    /// Nothing is claimed from a paused queue; what runs goes on.
    pub paused: bool,
    /// At most so many jobs run at once over all workers; no limit where there is none.
    pub concurrency: Option<u32>,
    /// What a claim made now is held to.
    pub terms: Terms,
    /// Between a reap and the next claim of that job, in milliseconds: time for the silent worker to stop by itself.
    pub handover_delay_ms: u64,
    /// What becomes of a job whose worker fell silent.
    pub on_silence: OnSilence,
    /// Without progress for so long a job counts as stuck, in milliseconds, although its worker beats.
    pub progress_deadline_ms: Option<u64>,
    /// What becomes of one that is stuck.
    #[serde(default)]
    pub on_stuck: OnStuck,
    /// How long a failed job waits.
    pub backoff: Backoff,
    /// Jobs that ended are kept so long, in milliseconds.
    pub retention_ms: u64,
}

/// The rules of a queue as they were from a moment on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueueChange {
    /// From when on, by the store's clock.
    pub at: Timestamp,
    /// The rules.
    pub queue: Queue,
    /// Who set them.
    pub by: Option<Note>,
}

/// What becomes of a job whose worker fell silent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnSilence {
    /// Given out again, from its last good checkpoint.
    #[default]
    Requeue,
    /// Kept for a person.
    Hold,
    /// Ended.
    Cancel,
}

/// What becomes of a job whose worker beats and which makes no progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnStuck {
    /// It is told of and goes on.
    #[default]
    Alert,
    /// It is taken from its worker and kept for a person.
    Hold,
    /// It is taken from its worker and given out again, from its last good checkpoint.
    Requeue,
}

impl OnStuck {
    /// What to do with a job that is taken for it; nothing is where it is only told of.
    #[must_use]
    pub const fn taken(self) -> Option<OnSilence> {
        match self {
            Self::Alert => None,
            Self::Hold => Some(OnSilence::Hold),
            Self::Requeue => Some(OnSilence::Requeue),
        }
    }
}

/// A rule that values of a queue break together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// The threshold is too close to the beat.
    #[error("reap-after {} is below three beats of {}: a worker that misses two beats would lose its jobs; set it to at least {}", span(*.reap_after_ms), span(*.beat_every_ms), span(.beat_every_ms.saturating_mul(3)))]
    Threshold {
        /// What was asked for.
        reap_after_ms: u64,
        /// The beat of the queue.
        beat_every_ms: u64,
    },
    /// A worker would stop too late.
    #[error("self-fence {} is not below 0.6 of reap-after {}: a worker could go on after its job was given away; set it below {}", span(*.self_fence_ms), span(*.reap_after_ms), span(.reap_after_ms.saturating_mul(6) / 10))]
    Fence {
        /// What was asked for.
        self_fence_ms: u64,
        /// The threshold of the queue.
        reap_after_ms: u64,
    },
    /// A worker that beats as it should would stop all the same.
    #[error("self-fence {} is not above beat-every {}: a worker would stop each of its jobs between two beats; set it to more than {}", span(*.self_fence_ms), span(*.beat_every_ms), span(*.beat_every_ms))]
    Early {
        /// What was asked for.
        self_fence_ms: u64,
        /// The beat of the queue.
        beat_every_ms: u64,
    },
    /// A job could not say in time how far it is.
    #[error("progress-deadline {} is below three beats of {}, which carry the progress; set it to at least {}", span(*.deadline_ms), span(*.beat_every_ms), span(.beat_every_ms.saturating_mul(3)))]
    Progress {
        /// What was asked for.
        deadline_ms: u64,
        /// The beat of the queue.
        beat_every_ms: u64,
    },
    /// The first wait would be longer than the longest.
    #[error("backoff {} is above backoff-most {}: set backoff-most to at least as much", span(*.first_ms), span(*.most_ms))]
    Backoff {
        /// The first wait.
        first_ms: u64,
        /// The longest.
        most_ms: u64,
    },
    /// What ended would be forgotten before its worker is judged.
    #[error("retention {} is not above reap-after {}: the history of a job would end before its judge does; set it above {}", span(*.retention_ms), span(*.reap_after_ms), span(*.reap_after_ms))]
    Retention {
        /// What was asked for.
        retention_ms: u64,
        /// The threshold of the queue.
        reap_after_ms: u64,
    },
    /// A value that is out of its range.
    #[error("{what} {}: {rule}", span(*.value))]
    Range {
        /// Which value.
        what: &'static str,
        /// What was asked for.
        value: u64,
        /// What it has to be.
        rule: &'static str,
    },
}

/// No span is longer, so that what is reckoned with it stays a moment that can be written down.
pub(crate) const LONGEST_MS: u64 = 36_500 * 86_400_000;

/// As people write it: `1h 30m`, not milliseconds.
fn span(ms: u64) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(ms))
}

/// What becomes of a threshold that a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// It is longer than the rule, and counts.
    Longer,
    /// It is not, and the rule counts.
    Ignored,
}

impl Queue {
    /// What becomes of that threshold, asked for by a client. It may lengthen the rule only.
    ///
    /// # Errors
    /// [`Unsound::Threshold`] below three beats: it was meant for something else.
    pub fn request(&self, asked: Duration) -> Result<Request, Unsound> {
        let asked_ms = u64::try_from(asked.as_millis()).unwrap_or(u64::MAX);
        let Terms { beat_every_ms, reap_after_ms, .. } = self.terms;
        if asked_ms < beat_every_ms.saturating_mul(3) {
            return Err(Unsound::Threshold { reap_after_ms: asked_ms, beat_every_ms });
        }
        Ok(if asked_ms > reap_after_ms { Request::Longer } else { Request::Ignored })
    }

    /// The rules of a queue that nobody has set: a beat each 20 s, 60 minutes of silence.
    #[must_use]
    pub const fn new(name: QueueName) -> Self {
        Self {
            name,
            revision: 1,
            paused: false,
            concurrency: None,
            terms: Terms { beat_every_ms: 20_000, reap_after_ms: 3_600_000, self_fence_ms: 2_100_000 },
            handover_delay_ms: 10_000,
            on_silence: OnSilence::Requeue,
            progress_deadline_ms: None,
            on_stuck: OnStuck::Alert,
            backoff: Backoff::DEFAULT,
            retention_ms: 30 * 24 * 3_600_000,
        }
    }

    /// Whether these are the rules of `other`; whether one of them is paused does not matter. To pause a queue, or to go
    /// on, is then no reason to [`Self::check`] them: those of an earlier version may break a rule that it did not have.
    #[must_use]
    pub fn has_rules_of(&self, other: &Self) -> bool {
        Self { paused: other.paused, revision: other.revision, ..self.clone() } == *other
    }

    /// Whether the values fit together.
    ///
    /// # Errors
    /// The first rule that they break.
    pub fn check(&self) -> Result<(), Unsound> {
        let Terms { beat_every_ms, reap_after_ms, self_fence_ms } = self.terms;
        if let Some((what, value)) = self.spans().into_iter().find(|(_, span)| *span > LONGEST_MS) {
            return Err(Unsound::Range { what, value, rule: "at most 36500 days" });
        }
        if beat_every_ms < 500 {
            return Err(Unsound::Range { what: "beat-every", value: beat_every_ms, rule: "at least 500ms" });
        }
        if reap_after_ms < 3 * beat_every_ms {
            return Err(Unsound::Threshold { reap_after_ms, beat_every_ms });
        }
        if reap_after_ms < 3_000 {
            return Err(Unsound::Range { what: "reap-after", value: reap_after_ms, rule: "at least 3s" });
        }
        if self_fence_ms * 10 >= reap_after_ms * 6 {
            return Err(Unsound::Fence { self_fence_ms, reap_after_ms });
        }
        if self_fence_ms <= beat_every_ms {
            return Err(Unsound::Early { self_fence_ms, beat_every_ms });
        }
        let Backoff { first_ms, most_ms } = self.backoff;
        if first_ms > most_ms {
            return Err(Unsound::Backoff { first_ms, most_ms });
        }
        if self.retention_ms <= reap_after_ms {
            return Err(Unsound::Retention { retention_ms: self.retention_ms, reap_after_ms });
        }
        if let Some(deadline_ms) = self.progress_deadline_ms
            && deadline_ms < 3 * beat_every_ms
        {
            return Err(Unsound::Progress { deadline_ms, beat_every_ms });
        }
        Ok(())
    }

    fn spans(&self) -> [(&'static str, u64); 8] {
        [
            ("beat-every", self.terms.beat_every_ms),
            ("reap-after", self.terms.reap_after_ms),
            ("self-fence", self.terms.self_fence_ms),
            ("handover-delay", self.handover_delay_ms),
            ("progress-deadline", self.progress_deadline_ms.unwrap_or_default()),
            ("backoff", self.backoff.first_ms),
            ("backoff-most", self.backoff.most_ms),
            ("retention", self.retention_ms),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> Queue {
        Queue::new(QueueName::new("backfill").unwrap())
    }

    #[test]
    fn the_rules_that_nobody_set_are_sound() {
        assert_eq!(queue().check(), Ok(()));
    }

    #[test]
    fn a_threshold_below_three_beats_is_refused() {
        let mut unsound = queue();
        unsound.terms = Terms { beat_every_ms: 20_000, reap_after_ms: 59_999, self_fence_ms: 20_000 };
        assert!(matches!(unsound.check(), Err(Unsound::Threshold { .. })));
    }

    #[test]
    fn a_threshold_of_three_short_beats_and_a_first_wait_above_the_longest_are_refused_by_their_own_rule() {
        let mut unsound = queue();
        unsound.terms = Terms { beat_every_ms: 500, reap_after_ms: 2_999, self_fence_ms: 1_000 };
        assert!(matches!(unsound.check(), Err(Unsound::Range { what: "reap-after", .. })));
        unsound.terms.reap_after_ms = 3_000;
        assert_eq!(unsound.check(), Ok(()));
        unsound.backoff = Backoff { first_ms: 7_200_000, ..Backoff::DEFAULT };
        assert!(matches!(unsound.check(), Err(Unsound::Backoff { .. })));
    }

    #[test]
    fn a_span_of_more_than_a_hundred_years_is_refused_by_its_name() {
        type Span = fn(&mut Queue) -> &mut u64;
        let put: [(_, Span); 8] = [
            ("beat-every", |queue| &mut queue.terms.beat_every_ms),
            ("reap-after", |queue| &mut queue.terms.reap_after_ms),
            ("self-fence", |queue| &mut queue.terms.self_fence_ms),
            ("handover-delay", |queue| &mut queue.handover_delay_ms),
            ("progress-deadline", |queue| queue.progress_deadline_ms.insert(0)),
            ("backoff", |queue| &mut queue.backoff.first_ms),
            ("backoff-most", |queue| &mut queue.backoff.most_ms),
            ("retention", |queue| &mut queue.retention_ms),
        ];
        for (name, of) in put {
            for too_long in [LONGEST_MS + 1, u64::MAX] {
                let mut unsound = queue();
                *of(&mut unsound) = too_long;
                let refused = unsound.check().unwrap_err().to_string();
                let right =
                    refused.starts_with(&format!("{name} ")) && refused.ends_with(": at most 36500 days");
                assert!(right, "{refused}");
            }
        }
        let longest = Terms { reap_after_ms: LONGEST_MS - 1, ..queue().terms };
        assert_eq!(Queue { terms: longest, retention_ms: LONGEST_MS, ..queue() }.check(), Ok(()));
    }

    #[test]
    fn a_client_may_ask_for_more_and_never_for_less_than_three_beats() {
        let rules = queue();
        let asked = |seconds| rules.request(Duration::from_secs(seconds));
        assert_eq!(asked(7_200), Ok(Request::Longer));
        assert_eq!(asked(600), Ok(Request::Ignored));
        assert!(matches!(asked(59), Err(Unsound::Threshold { .. })));
    }

    #[test]
    fn a_deadline_that_beats_cannot_keep_is_refused() {
        let rules = Queue { progress_deadline_ms: Some(59_999), ..queue() };
        assert!(matches!(rules.check(), Err(Unsound::Progress { .. })));
        assert_eq!(Queue { progress_deadline_ms: Some(60_000), ..queue() }.check(), Ok(()));
    }

    #[test]
    fn a_worker_has_to_stop_before_its_job_can_be_given_away() {
        let mut unsound = queue();
        unsound.terms.self_fence_ms = unsound.terms.reap_after_ms * 6 / 10;
        assert!(matches!(unsound.check(), Err(Unsound::Fence { .. })));
    }

    #[test]
    fn a_worker_that_beats_does_not_stop_between_two_beats() {
        let mut rules = queue();
        for self_fence_ms in [0, 20_000] {
            rules.terms.self_fence_ms = self_fence_ms;
            assert!(matches!(rules.check(), Err(Unsound::Early { .. })));
        }
        rules.terms.self_fence_ms = 20_001;
        assert_eq!(rules.check(), Ok(()));
    }

    #[test]
    fn a_rule_that_is_broken_is_told_in_spans_as_people_write_them() {
        let told = |rules: Queue| rules.check().expect_err("it breaks a rule").to_string();
        let terms = queue().terms;
        let text = told(Queue { terms: Terms { reap_after_ms: 1_000, ..terms }, ..queue() });
        assert!(text.starts_with("reap-after 1s is below three beats of 20s:"), "{text}");
        let text = told(Queue { terms: Terms { self_fence_ms: 3_000_000, ..terms }, ..queue() });
        assert!(text.starts_with("self-fence 50m is not below 0.6 of reap-after 1h:"), "{text}");
        assert!(text.ends_with("set it below 36m"), "{text}");
        let text = told(Queue { terms: Terms { self_fence_ms: 20_000, ..terms }, ..queue() });
        assert!(text.starts_with("self-fence 20s is not above beat-every 20s:"), "{text}");
        let text = told(Queue { terms: Terms { beat_every_ms: 100, ..terms }, ..queue() });
        assert_eq!(text, "beat-every 100ms: at least 500ms");
        let text = told(Queue { backoff: Backoff { first_ms: 7_200_000, ..Backoff::DEFAULT }, ..queue() });
        assert!(text.starts_with("backoff 2h is above backoff-most 1h:"), "{text}");
        let text = told(Queue { retention_ms: 0, ..queue() });
        assert!(text.starts_with("retention 0s is not above reap-after 1h:"), "{text}");
        let text = told(Queue { progress_deadline_ms: Some(59_999), ..queue() });
        assert!(text.starts_with("progress-deadline 59s 999ms is below three beats of 20s,"), "{text}");
    }
}
