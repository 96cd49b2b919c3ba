//! Random histories of one lease, with time: what must hold in each of them.

use std::time::Duration;

use palisade_lease::rule::{self, Lease, Moment, Term};
use palisade_lease::{Held, Holder, Name, Ttl};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Ask(usize, u64),
    Renew(usize, u64),
    Release(usize),
    Pass(u64),
    Back(u64),
    Restore(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3_usize, 50..500_u64).prop_map(|(who, ttl)| Step::Ask(who, ttl)),
        3 => (0..8_usize, 50..500_u64).prop_map(|(which, ttl)| Step::Renew(which, ttl)),
        1 => (0..8_usize).prop_map(Step::Release),
        4 => (0..400_u64).prop_map(Step::Pass),
        1 => (0..2_000_u64).prop_map(Step::Back),
        1 => (0..100_u64).prop_map(Step::Restore),
    ]
}

proptest! {
    /// At every moment, of all that were ever granted, at most one is accepted at a write; terms never fall and are
    /// given once; the clock may step back.
    #[test]
    fn at_most_one_of_all_that_were_granted_is_accepted(steps in prop::collection::vec(step(), 1..80)) {
        let name = Name::new("a").unwrap();
        let holders = ["x", "y", "z"].map(|text| Holder::new(text).unwrap());
        let (mut lease, mut now): (Option<Lease>, u64) = (None, 10_000);
        let mut granted: Vec<Held> = Vec::new();
        let mut highest = 0;
        for step in steps {
            let moment = Moment::from_ms(now);
            let shown = |which: usize| granted.len().checked_sub(1 + which % granted.len().max(1)).map(|at| granted[at].clone());
            let ttl = |ms: u64| Ttl::new(Duration::from_millis(ms)).unwrap();
            let next = match &step {
                Step::Ask(who, ms) => {
                    let next = rule::acquire(lease.as_ref(), &name, &holders[*who], ttl(*ms), moment);
                    if let Some(next) = &next {
                        prop_assert!(next.term.number() > highest, "a term was given twice");
                        granted.push(Held { name: name.clone(), term: next.term, holder: next.holder.clone() });
                    }
                    next
                }
                Step::Renew(which, ms) => shown(*which).and_then(|held| rule::renew(lease.as_ref(), &held, ttl(*ms), moment)),
                Step::Release(which) => shown(*which).and_then(|held| rule::release(lease.as_ref(), &held, moment)),
                Step::Pass(ms) => { now += ms; None }
                Step::Back(ms) => { now = now.saturating_sub(*ms); None }
                Step::Restore(above) => lease.as_ref().map(|lease| rule::raise(lease, Term::new(highest + above), moment)),
            };
            if let Some(next) = next {
                prop_assert!(next.term.number() >= highest, "a term fell");
                highest = next.term.number();
                lease = Some(next);
            }
            let accepted = granted.iter().filter(|held| rule::fences(lease.as_ref(), held, Moment::from_ms(now))).count();
            prop_assert!(accepted <= 1);
            if matches!(step, Step::Restore(_)) {
                prop_assert_eq!(accepted, 0, "somebody is accepted after a restore");
            }
        }
    }
}
