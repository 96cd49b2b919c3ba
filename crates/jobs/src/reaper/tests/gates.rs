//! Each gate in the history that it is there for, on and off.

use super::court::{BEAT, Court, SWEEP, THRESHOLD, limits};
use crate::reaper::{Gate, Limits, Proof};
use std::time::Duration;

/// Whether a living subject, or one too many, is condemned in the history that `gate` is there for.
fn harm(gate: Gate, off: Option<Gate>) -> bool {
    let of = |population| Court::without(off, population, limits());
    match gate {
        // The store stands still for ten thresholds. Everybody beats again three beats after it is back.
        Gate::Credit => {
            let mut court = of(2);
            court.run(THRESHOLD / 2, &[]);
            court.pass(THRESHOLD * 10);
            court.run(BEAT * 3, &[0, 1]).is_some()
        }
        // The store's clock runs at nearly twice the speed; a worker is paused for 0.7 of its threshold.
        Gate::TwoClocks => {
            let mut court = of(2);
            court.store_rate = 190;
            court.run(THRESHOLD / 2, &[]);
            court.run(THRESHOLD * 7 / 10, &[0]).is_some()
        }
        // A former term has charged nearly all of it while the store came and went. The new one has hardly looked.
        Gate::Fresh => {
            let mut court = of(2);
            court.run(THRESHOLD - SWEEP, &[0]);
            court.new_term();
            court.run(BEAT * 3, &[0]).is_some()
        }
        // The store can be read and not be written: nobody can beat, and neither can the judge.
        Gate::Canary => {
            let mut court = of(2);
            court.run(THRESHOLD / 2, &[]);
            court.canary = false;
            court.run(THRESHOLD * 3, &[0, 1]).is_some()
        }
        // Nine of ten go silent at once: the network between them and the store.
        Gate::Brake => {
            let mut court = of(10);
            court.run(THRESHOLD / 2, &[]);
            court.run(THRESHOLD * 3 / 2, &[1, 2, 3, 4, 5, 6, 7, 8, 9]).is_some()
        }
        // Everything is slow; the judge's own question takes a seventh of the threshold.
        Gate::Health => {
            let mut court = of(2);
            court.took = THRESHOLD / 7;
            court.run(THRESHOLD / 2, &[]);
            court.run(THRESHOLD * 3 / 2, &[0]).is_some()
        }
        // Not harm: somebody dead is never found, because terms are shorter than the threshold.
        Gate::Memory => {
            let mut court = of(2);
            !(0..20).any(|_| {
                court.new_term();
                court.run(THRESHOLD / 3, &[0]).is_some()
            })
        }
        // Not harm: somebody dead for certain is waited for.
        Gate::Proof => {
            let mut court = of(2);
            court.subjects[0].proof = Some(Proof::OtherBoot);
            court.run(SWEEP * 2, &[0]).is_none()
        }
    }
}

#[test]
fn every_gate_prevents_what_it_is_there_for_and_nothing_else_does() {
    for gate in Gate::ALL {
        assert!(!harm(gate, None), "{gate:?} is on, and what it is there for has happened");
        assert!(harm(gate, Some(gate)), "{gate:?} is off, and nothing has happened");
    }
}

#[test]
fn a_real_death_is_found_within_two_sweeps_of_its_threshold() {
    let mut court = Court::of(10, limits());
    court.run(THRESHOLD, &[]);
    let (who, after) = court.run(THRESHOLD * 2, &[3]).unwrap();
    assert_eq!(who, [3]);
    assert!(after >= THRESHOLD && after <= THRESHOLD + SWEEP * 2, "{after:?}");
}

#[test]
fn after_changes_of_terms_a_death_is_found_within_the_fresh_time() {
    let mut court = Court::of(10, limits());
    court.run(THRESHOLD * 4 / 5, &[3]);
    for _ in 0..3 {
        court.new_term();
        court.run(SWEEP * 6, &[3]);
    }
    court.new_term();
    let (who, after) = court.run(THRESHOLD, &[3]).unwrap();
    assert_eq!(who, [3]);
    assert!(after <= limits().fresh(BEAT) + SWEEP * 2, "{after:?}");
}

#[test]
fn a_threshold_below_the_floor_is_the_floor() {
    let limits = Limits { floor: THRESHOLD * 2, ..limits() };
    let mut court = Court::of(3, limits);
    let (_, after) = court.run(THRESHOLD * 3, &[0]).unwrap();
    assert!(after >= THRESHOLD * 2, "{after:?}");
}

#[test]
fn limits_that_no_judge_can_work_with_are_refused() {
    assert_eq!(limits().check(), Ok(()));
    for sweep_every in [Duration::ZERO, Duration::from_millis(49), Duration::from_secs(601)] {
        assert!(Limits { sweep_every, ..limits() }.check().is_err());
    }
    for brake_percent in [0, 101] {
        assert!(Limits { brake_percent, ..limits() }.check().is_err());
    }
}
