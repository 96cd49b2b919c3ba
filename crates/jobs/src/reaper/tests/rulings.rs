//! Single rulings: what is told, stored, held and forgotten.

use super::court::{BEAT, Court, SWEEP, THRESHOLD, limits};
use crate::job::Note;
use crate::reaper::{Ground, Held, Proof, Reaper, Reason};

#[test]
fn any_change_of_the_counter_refutes_also_one_that_falls() {
    let mut court = Court::of(3, limits());
    court.run(THRESHOLD - SWEEP, &[0]);
    court.subjects[0].counter = 0;
    assert_eq!(court.sweep().counts.suspect, 0);
    assert!(court.run(THRESHOLD - SWEEP, &[0]).is_none());
}

#[test]
fn a_failed_sweep_keeps_the_silence_and_has_to_be_followed_by_a_fresh_look() {
    let mut court = Court::of(3, limits());
    court.run(THRESHOLD - SWEEP, &[0]);
    court.judge.could_not_see();
    let (_, after) = court.run(THRESHOLD, &[0]).unwrap();
    let fresh = limits().fresh(BEAT);
    assert!(after >= fresh && after <= fresh + SWEEP * 3, "{after:?}");
}

#[test]
fn a_store_that_restarts_between_two_sweeps_is_seen_to_have_been_away() {
    let mut court = Court::of(3, limits());
    court.run(THRESHOLD - SWEEP, &[0]);
    court.store_run += 1;
    let (_, after) = court.run(THRESHOLD, &[0]).unwrap();
    assert!(after >= limits().fresh(BEAT), "{after:?}");
}

#[test]
fn a_changed_threshold_counts_after_a_fresh_look() {
    let mut court = Court::of(3, limits());
    court.run(THRESHOLD - SWEEP, &[0]);
    court.subjects[0].reap_after = THRESHOLD / 2;
    let (_, after) = court.run(THRESHOLD, &[0]).unwrap();
    assert!(after >= limits().fresh(BEAT), "a shorter threshold took somebody at once: {after:?}");
}

#[test]
fn the_brake_lets_go_after_twice_the_threshold_once_others_were_seen_alive() {
    let silent: Vec<usize> = (1..10).collect();
    let mut court = Court::of(10, limits());
    let (who, after) = court.run(THRESHOLD * 4, &silent).unwrap();
    assert_eq!(who, [1, 2, 3], "a pass takes thirty of a hundred at most");
    assert!(after >= THRESHOLD * 2, "{after:?}");

    // Nobody is alive who could show that the store takes beats: it holds on.
    let all: Vec<usize> = (0..10).collect();
    let mut court = Court::of(10, limits());
    assert_eq!(court.run(THRESHOLD * 10, &all), None);
    let ruling = court.sweep();
    assert_eq!(ruling.held, Some(Held::Brake { suspects: 10, most: 3, population: 10 }));
    assert_eq!(ruling.counts.due, 10);
    court.judge.lift_brake();
    let ruling = court.sweep();
    assert_eq!((ruling.condemned.len(), ruling.held), (3, None));
}

#[test]
fn a_lifted_brake_holds_again_at_the_next_silence_of_many() {
    let all: Vec<usize> = (0..10).collect();
    let mut court = Court::of(10, limits());
    court.judge.lift_brake();
    assert_eq!(court.run(THRESHOLD * 2, &all), None, "it was lifted before it held");
    court.judge.lift_brake();
    assert!(!court.sweep().condemned.is_empty());
    court.run(SWEEP * 2, &[]);
    assert_eq!(court.run(THRESHOLD * 3 / 2, &all), None, "the lift outlived its silence");
}

#[test]
fn with_two_workers_the_brake_never_holds() {
    let mut court = Court::of(2, limits());
    let (who, _) = court.run(THRESHOLD * 2, &[0, 1]).unwrap();
    assert_eq!(who, [0, 1]);
}

#[test]
fn a_proven_death_needs_no_silence_no_brake_and_no_fresh_look() {
    let mut court = Court::of(10, limits());
    for subject in &mut court.subjects {
        subject.proof = Some(Proof::OtherBoot);
    }
    assert_eq!(court.sweep().condemned.len(), 10);
}

fn stored(court: &Court) -> Vec<usize> {
    court.stored.iter().map(|row| row.key).collect()
}

#[test]
fn only_what_missed_two_beats_and_two_sweeps_is_stored_and_a_beat_forgets_it() {
    let mut court = Court::of(1_000, limits());
    court.run(BEAT + SWEEP, &[5]);
    assert_eq!(stored(&court), [0; 0]);
    court.run(BEAT * 3, &[5]);
    assert_eq!(stored(&court), [5]);
    court.run(SWEEP, &[]);
    assert_eq!(stored(&court), [0; 0]);

    court.run(BEAT * 5, &[5, 6]);
    assert_eq!(stored(&court).len(), 2);
    court.subjects.retain(|subject| subject.key != 6);
    court.run(SWEEP, &[5]);
    assert_eq!(stored(&court), [5], "one that is gone is forgotten");

    // What a term before has stored and this one does not find is forgotten too.
    court.subjects.retain(|subject| subject.key != 5);
    court.new_term();
    court.sweep();
    assert_eq!(stored(&court), [0; 0]);
}

#[test]
fn a_new_term_loses_at_most_what_was_not_stored_yet() {
    let mut court = Court::of(2, limits());
    court.run(THRESHOLD / 2, &[0]);
    court.new_term();
    // The first sweep of a term charges nothing.
    let (_, after) = court.run(THRESHOLD, &[0]).unwrap();
    assert!(after <= THRESHOLD / 2 + SWEEP * 2, "{after:?}");
}

#[test]
fn a_reason_is_one_line_with_all_that_is_needed_and_ends_in_the_machine() {
    let mut court = Court::of(10, limits());
    let found = (0..200).find_map(|_| {
        court.beat(&[4]);
        court.sweep().condemned.first().cloned()
    });
    let ground = found.unwrap().ground;
    let Ground::Silence(silence) = ground else { panic!("{ground:?}") };
    assert!(silence.silent_ms >= silence.threshold_ms && silence.threshold_ms == 60_000);
    let by = Note {
        app: Some("atom-saas".parse().unwrap()),
        environment: Some("production".parse().unwrap()),
        version: Some("2.3.1\n\u{1b}[2J".to_owned()),
        host: "web-1".to_owned(),
        pid: 4242,
        machine_id: "9f2c01".to_owned(),
    };
    let reaper = Reaper { by, term: 7, policy: 3 };
    let line = Reason { ground, reaper: reaper.clone() }.to_string();
    assert_eq!(
        line,
        "reaped: silent for 1m 0s of observed time, 1m 0s of it seen by term 7 in 60 sweeps (rule: 1m 0s); 9 of 9 \
         others were alive; by atom-saas 2.3.1\\u{a}\\u{1b}[2J (production) on web-1, pid 4242, term 7, policy 3. \
         Reaper: 9f2c01"
    );
    let proven = Reason { ground: Ground::Proof { proof: Proof::ProcessGone }, reaper }.to_string();
    assert!(proven.starts_with("reaped: its worker is dead for certain (its process is gone); by atom-saas"));
}
