//! Random histories of sweeps, failures, jumps and terms: what holds in each of them.

use std::time::Duration;

use proptest::prelude::*;

use super::court::{BEAT, Court, SWEEP, THRESHOLD, limits};
use crate::reaper::Ground;

const POPULATION: usize = 8;

#[derive(Debug, Clone)]
enum Step {
    /// So many sweeps in which those of the mask beat.
    Sweeps(u8, u8),
    /// The store's clock jumps by so many seconds.
    Jump(i16),
    /// Nothing could be done for so many seconds, by nobody.
    StandStill(u16),
    /// A sweep fails.
    Fail,
    /// Another judge.
    Term,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..70_u8, any::<u8>()).prop_map(|(sweeps, who)| Step::Sweeps(sweeps, who)),
        1 => prop_oneof![-5_000..0_i16, 2..5_000_i16].prop_map(Step::Jump),
        1 => (2..500_u16).prop_map(Step::StandStill),
        1 => Just(Step::Fail),
        1 => Just(Step::Term),
    ]
}

proptest! {
    /// A subject is condemned only after it was silent for its threshold in sweeps that could see, the last of which
    /// belong to one term without a break; and no pass takes more than the brake says.
    #[test]
    fn a_condemned_one_was_silent_in_sight_for_as_long_as_the_rule_says(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut court = Court::of(POPULATION, limits());
        // Counted apart from the judge: sweeps in sight since the last beat, and since the last break.
        let (mut silent, mut unbroken) = ([0_u32; POPULATION], [0_u32; POPULATION]);
        let mut blind = true;
        for step in steps {
            if !matches!(step, Step::Sweeps(..)) {
                (blind, unbroken) = (true, [0; POPULATION]);
            }
            match step {
                Step::Sweeps(sweeps, who) => for _ in 0..sweeps {
                    let silents: Vec<usize> = (0..POPULATION).filter(|at| who & (1 << at) == 0).collect();
                    court.beat(&silents);
                    let ruling = court.sweep();
                    for at in 0..POPULATION {
                        let more = u32::from(!blind);
                        let quiet = silents.contains(&at);
                        silent[at] = if quiet { silent[at] + more } else { 0 };
                        unbroken[at] = if quiet { unbroken[at] + more } else { 0 };
                    }
                    blind = false;
                    prop_assert!(ruling.condemned.len() <= limits().most(POPULATION));
                    for one in &ruling.condemned {
                        let Ground::Silence(evidence) = one.ground else {
                            return Err(TestCaseError::fail("nothing was proven"));
                        };
                        let (silent, unbroken) = (SWEEP * silent[one.key], SWEEP * unbroken[one.key]);
                        prop_assert!(silent >= THRESHOLD, "{one:?} was silent for {silent:?} in sight");
                        prop_assert!(unbroken >= limits().fresh(BEAT), "{one:?} was seen for {unbroken:?}");
                        prop_assert!(Duration::from_millis(evidence.silent_ms) <= silent, "{evidence:?}");
                    }
                },
                Step::Jump(seconds) => {
                    court.store_us = court.store_us.saturating_add_signed(i64::from(seconds) * 1_000_000);
                }
                Step::StandStill(seconds) => court.pass(Duration::from_secs(seconds.into())),
                Step::Fail => court.judge.could_not_see(),
                Step::Term => court.new_term(),
            }
        }
    }
}
