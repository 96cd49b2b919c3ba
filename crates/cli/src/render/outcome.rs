//! What was carried out, as text.

use std::collections::BTreeSet;

use palisade_core::outcome::{Outcome, TargetOutcome, TargetResult};
use palisade_core::process::Status;
use palisade_core::text::{Shown, escaped};
use palisade_core::verification::Verification;
use palisade_core::{Code, Operation};
use palisade_pipeline::CarriedOut;

use super::plan::task;
use crate::output::{BAD, GOOD, styled};

/// The outcome of a plan: each target, the verification, the way back.
pub(crate) fn carried_out(done: &CarriedOut) -> Vec<String> {
    let plan = &done.plan;
    let count = done.targets.iter().filter(|target| target.result == TargetResult::Done).count();
    let head = match done.outcome {
        Outcome::Done => styled(GOOD, "done:"),
        Outcome::Partial => styled(BAD, "partial:"),
        Outcome::Failed => styled(BAD, "failed:"),
        Outcome::Unknown => styled(BAD, "unknown:"),
    };
    let mut lines = vec![format!(
        "{head} {}: {count} of {} targets in {} ms",
        task(plan.operation, &plan.scope),
        plan.targets.len(),
        done.took_ms
    )];
    lines.extend(done.targets.iter().map(|target| target_line(plan.operation, target)));
    lines.extend(verification(done.verification.as_ref(), plan.spared.len()));
    lines.push(format!("  snapshot: {}", done.before.id.as_str()));
    match done.recorded.as_ref().and_then(palisade_core::Receipt::sequence) {
        Some(sequence) => lines.push(format!("  recorded: journal record {sequence}")),
        None => lines.push(format!("  recorded: {}", styled(BAD, "the outcome is NOT in the journal"))),
    }
    lines.extend(undo(done).map(|command| format!("  undo:     {command}")));
    if done.outcome == Outcome::Unknown {
        lines.push("  next:     palisade pm2 reconcile".to_owned());
    }
    lines
}

/// The command that takes back what was done, where there is one.
fn undo(done: &CarriedOut) -> Option<String> {
    let names = |wanted: fn(&Status) -> bool| {
        let was = |target: &TargetOutcome| done.before.entry(&target.pin).map(|process| &process.status);
        let taken = done.targets.iter().filter(|target| target.result == TargetResult::Done);
        let taken = taken.filter(|target| was(target).is_some_and(wanted));
        let names: BTreeSet<_> = taken.map(|target| word(&target.pin.name)).collect();
        (!names.is_empty()).then(|| Vec::from_iter(names).join(" "))
    };
    let scope = &done.plan.scope;
    match done.plan.operation {
        Operation::Delete => {
            names(|_| true).map(|_| format!("palisade pm2 restore --snapshot {}", done.before.id.as_str()))
        }
        // A restart of what is stopped starts it.
        Operation::Stop => names(Status::is_up).map(|names| {
            format!("palisade pm2 restart --app {} --environment {} {names}", scope.app, scope.environment)
        }),
        Operation::Restart | Operation::Reload | Operation::Restore => None,
    }
}

/// A name as one word of a shell's command line.
fn word(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-@:/+".contains(c);
    if name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("'{}'", escaped(name).replace('\'', r"'\''"))
    }
}

/// One target with its result.
pub(crate) fn target_line(operation: Operation, target: &TargetOutcome) -> String {
    let word = match &target.result {
        TargetResult::Done => match operation {
            Operation::Delete => "deleted".to_owned(),
            Operation::Stop => "stopped".to_owned(),
            Operation::Restart => "restarted".to_owned(),
            Operation::Reload => "reloaded".to_owned(),
            Operation::Restore => "restored".to_owned(),
        },
        TargetResult::Changed(why) => {
            format!("NOT TOUCHED [{}], it changed: {}", Code::TargetChanged, escaped(why))
        }
        TargetResult::Failed(why) => format!("FAILED: {}", escaped(why)),
        TargetResult::Unknown(why) => format!("UNKNOWN [{}]: {}", Code::OutcomeUnknown, escaped(why)),
    };
    format!("  {} (pm_id {}): {word}", Shown(&target.pin.name), target.pin.pm_id)
}

pub(crate) fn verification(found: Option<&Verification>, spared: usize) -> Vec<String> {
    let Some(found) = found else {
        return vec![format!(
            "  {} the daemon could not be looked at after the act",
            styled(BAD, "not verified:")
        )];
    };
    let mut lines: Vec<String> = found
        .drift
        .iter()
        .map(|drift| {
            format!(
                "  {} [{}] {} (pm_id {}): {}",
                styled(BAD, "drift:"),
                drift.kind.code(),
                Shown(&drift.name),
                drift.pm_id,
                escaped(&drift.message)
            )
        })
        .collect();
    if found.is_clean() {
        lines.push(format!("  verified: targets as planned, {spared} spared processes untouched"));
    }
    lines.extend(found.notes.iter().map(|note| format!("  note:     {note}")));
    lines
}
