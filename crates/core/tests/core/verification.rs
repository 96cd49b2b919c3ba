//! What followed, compared with what was planned.

use std::collections::BTreeSet;

use palisade_core::outcome::{Outcome, TargetOutcome, TargetResult};
use palisade_core::process::{Process, Status};
use palisade_core::verification::{After, DriftKind, Verification};
use palisade_core::{Operation, Plan, Selection, Snapshot};

use crate::support::{EIGHT, ablate, policy, request, scope, snapshot};

fn results(plan: &Plan, result: &TargetResult) -> Vec<TargetOutcome> {
    plan.targets
        .iter()
        .map(|target| TargetOutcome { pin: target.pin.clone(), result: result.clone() })
        .collect()
}

/// Verifies `operation` on flyer-crawler/production after `change` was made to the list.
fn verified(operation: Operation, change: impl FnOnce(&mut After)) -> Verification {
    verified_beside(operation, None, change)
}

/// As [`verified`], while another recorded operation touched the process of that name.
fn verified_beside(
    operation: Operation,
    touched: Option<&str>,
    change: impl FnOnce(&mut After),
) -> Verification {
    let before = snapshot(&EIGHT);
    let asked = request(operation, scope("flyer-crawler", "production"), Selection::Scope);
    let plan = Plan::draw(&asked, &before, &policy());
    let mut after =
        After { snapshot: before.clone(), survivors: Vec::new(), vanished: Vec::new(), restored: Vec::new() };
    change(&mut after);
    let is_touched = |process: &&Process| Some(process.pin.name.as_str()) == touched;
    let others = before.processes.iter().filter(is_touched).map(|process| process.pin.entry()).collect();
    Verification::of(&plan, &results(&plan, &TargetResult::Done), &before, &after, &others)
}

fn kinds(verification: &Verification) -> Vec<(DriftKind, &str)> {
    verification.drift.iter().map(|drift| (drift.kind, drift.name.as_str())).collect()
}

fn without(snapshot: &mut Snapshot, name: &str) {
    snapshot.processes.retain(|process| process.pin.name != name);
}

fn delete_targets(after: &mut After) {
    for name in &EIGHT[..3] {
        without(&mut after.snapshot, name);
    }
}

#[test]
fn a_delete_that_took_its_targets_and_nothing_else_is_clean() {
    assert_eq!(verified(Operation::Delete, delete_targets), Verification::default());
}

#[test]
fn canonical_verify_spared_a_foreign_process_that_vanished_is_drift() {
    ablate();
    let found = verified(Operation::Delete, |after| {
        delete_targets(after);
        without(&mut after.snapshot, "stock-alert");
    });
    assert_eq!(kinds(&found), [(DriftKind::ForeignHarmed, "stock-alert")]);
}

#[test]
fn what_another_recorded_operation_took_is_a_note() {
    let found = verified_beside(Operation::Delete, Some("stock-alert"), |after| {
        delete_targets(after);
        without(&mut after.snapshot, "stock-alert");
    });
    assert!(found.is_clean(), "{found:?}");
    assert_eq!(found.notes, ["stock-alert was touched by another recorded operation"]);
}

#[test]
fn a_target_that_is_still_listed_or_still_runs_is_drift() {
    let listed = verified(Operation::Delete, |_| {});
    assert_eq!(kinds(&listed).len(), 3);
    let survives = verified(Operation::Delete, |after| {
        after.survivors = vec![after.snapshot.processes[0].pin.process.unwrap()];
        delete_targets(after);
    });
    assert_eq!(kinds(&survives), [(DriftKind::TargetNotAsPlanned, "flyer-crawler-api")]);
    let errored = verified(Operation::Stop, |after| {
        for process in &mut after.snapshot.processes[..3] {
            process.status = Status::Stopped;
        }
        after.snapshot.processes[1].status = Status::Errored;
    });
    assert_eq!(kinds(&errored), [(DriftKind::TargetNotAsPlanned, "flyer-crawler-worker")]);
}

#[test]
fn a_restart_that_left_the_same_process_is_drift() {
    let found = verified(Operation::Restart, |after| {
        for process in &mut after.snapshot.processes[..2] {
            process.pin.process.as_mut().unwrap().pid += 500;
        }
    });
    assert_eq!(kinds(&found), [(DriftKind::TargetNotAsPlanned, "flyer-crawler-analytics-worker")]);
}

#[test]
fn a_spared_instance_of_a_cluster_is_not_mistaken_for_its_sibling() {
    let mut before = snapshot(&["flyer-crawler-api", "stock-alert", "stock-alert"]);
    for process in &mut before.processes[1..] {
        process.pin.unique_id = "shared".into();
    }
    let asked = request(Operation::Delete, scope("flyer-crawler", "production"), Selection::Scope);
    let plan = Plan::draw(&asked, &before, &policy());
    let mut now = before.clone();
    now.processes.remove(2);
    now.processes.remove(0);
    let after = After { snapshot: now, survivors: Vec::new(), vanished: Vec::new(), restored: Vec::new() };
    let found =
        Verification::of(&plan, &results(&plan, &TargetResult::Done), &before, &after, &BTreeSet::new());
    assert_eq!(found.drift.iter().map(|drift| drift.pm_id).collect::<Vec<_>>(), [2]);
}

#[test]
fn another_daemon_is_drift() {
    let found = verified(Operation::Delete, |after| {
        delete_targets(after);
        after.snapshot.daemon.process.pid = 78;
    });
    assert_eq!(kinds(&found), [(DriftKind::DaemonChanged, "PM2")]);
}

#[test]
fn a_spared_process_that_went_down_is_drift_and_one_that_restarted_is_a_note() {
    let found = verified(Operation::Delete, |after| {
        delete_targets(after);
        after.snapshot.processes[0].status = Status::Stopped;
        after.snapshot.processes[1].pin.process.as_mut().unwrap().pid += 500;
        after.vanished = vec![after.snapshot.processes[2].pin.process.unwrap()];
    });
    assert_eq!(
        kinds(&found),
        [
            (DriftKind::ForeignHarmed, "flyer-crawler-api-test"),
            (DriftKind::ForeignHarmed, "flyer-crawler-analytics-worker-test"),
        ]
    );
    assert_eq!(found.notes, ["flyer-crawler-worker-test was restarted meanwhile, not by this act"]);
}

#[test]
fn the_sum_of_outcomes_never_turns_an_unknown_into_done() {
    let before = snapshot(&EIGHT);
    let asked = request(Operation::Delete, scope("flyer-crawler", "production"), Selection::Scope);
    let plan = Plan::draw(&asked, &before, &policy());
    let mut all = results(&plan, &TargetResult::Done);
    assert_eq!(Outcome::of(&all), Outcome::Done);
    all[0].result = TargetResult::Changed("another process".into());
    assert_eq!(Outcome::of(&all), Outcome::Partial);
    all[1].result = TargetResult::Unknown("no answer".into());
    assert_eq!(Outcome::of(&all), Outcome::Unknown);
    assert_eq!(Outcome::of(&results(&plan, &TargetResult::Failed("no".into()))), Outcome::Failed);
    assert_eq!(Outcome::of(&[]), Outcome::Failed);
}
