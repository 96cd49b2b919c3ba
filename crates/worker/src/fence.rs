//! When a worker has to stop by itself: a rule over the boot clock.
//!
//! The reaper counts a worker's silence by what it sees, and gives the job away after `reap_after`. The worker counts
//! from the *start* of its last acknowledged beat, which the store cannot have seen earlier, and stops after
//! `self_fence`, which is below 0.6 of that. So side effects end before anybody else may start, even where the two
//! clocks differ in rate by 1.6. The boot clock counts a suspended machine.

use palisade_jobs::claim::Terms;

/// What a handler hands over within so many milliseconds of being told to stop is stored.
pub const HAND_OVER_MS: u64 = 1_500;

/// Whether an attempt may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may, and has to be asked again after so many milliseconds at the latest.
    Sure {
        /// Time left, at least 1.
        left_ms: u64,
    },
    /// No beat was acknowledged in time: side effects stop now.
    Fenced {
        /// Milliseconds since the start of the last acknowledged beat.
        silent_ms: u64,
    },
}

/// Judges by the moment at which the last acknowledged beat began. Both moments are of the boot clock.
#[must_use]
pub fn standing(now_ms: u64, acknowledged_ms: u64, terms: &Terms) -> Standing {
    let silent_ms = now_ms.saturating_sub(acknowledged_ms);
    match terms.self_fence_ms.checked_sub(silent_ms).filter(|left| *left > 0) {
        Some(left_ms) => Standing::Sure { left_ms },
        None => Standing::Fenced { silent_ms },
    }
}

/// How long a handler that is fenced may take to end before it is ended, in milliseconds: never more than half of the
/// time that is left before the reaper may act.
#[must_use]
pub fn grace_ms(terms: &Terms) -> u64 {
    HAND_OVER_MS.min(terms.reap_after_ms.saturating_sub(terms.self_fence_ms) / 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TERMS: Terms = Terms { beat_every_ms: 1_000, reap_after_ms: 10_000, self_fence_ms: 5_000 };

    #[test]
    fn an_attempt_stands_until_its_last_acknowledged_beat_is_too_old() {
        assert_eq!(standing(100, 100, &TERMS), Standing::Sure { left_ms: 5_000 });
        assert_eq!(standing(5_099, 100, &TERMS), Standing::Sure { left_ms: 1 });
        assert_eq!(standing(5_100, 100, &TERMS), Standing::Fenced { silent_ms: 5_000 });
        // A machine that slept for a week.
        assert_eq!(standing(604_800_100, 100, &TERMS), Standing::Fenced { silent_ms: 604_800_000 });
    }

    #[test]
    fn a_handler_has_a_second_and_a_half_to_hand_over_and_less_where_the_reaper_may_act_soon() {
        assert_eq!((HAND_OVER_MS, grace_ms(&TERMS)), (1_500, 1_500));
        assert_eq!(grace_ms(&Terms { reap_after_ms: 6_000, ..TERMS }), 500);
    }

    proptest! {
        /// The reaper first notices silence at or after the last acknowledged beat began. By its clock, which may run
        /// faster by a fifth, it never gives a job away before the handler was ended.
        #[test]
        fn a_fenced_handler_has_ended_before_the_reaper_may_act(
            reap_after_ms in 100_u64..10_000_000,
            share in 1_u64..60,
        ) {
            let self_fence_ms = (reap_after_ms * share / 100).min(reap_after_ms * 6 / 10 - 1);
            let terms = Terms { beat_every_ms: 1, reap_after_ms, self_fence_ms };
            let ended_ms = self_fence_ms + grace_ms(&terms);
            prop_assert!(ended_ms * 12 / 10 <= reap_after_ms, "{ended_ms} of {reap_after_ms}");
        }
    }
}
