//! Whether what followed is what was planned.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ablation::{self, Check};
use crate::actor::ProcessRef;
use crate::code::Code;
use crate::outcome::{TargetOutcome, TargetResult};
use crate::plan::Plan;
use crate::process::{EntryId, Pin, Process, Status};
use crate::request::Operation;
use crate::snapshot::Snapshot;
use crate::text::Shown;

/// What was seen after the act, on the daemon's list and in the process table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// The daemon's list.
    pub snapshot: Snapshot,
    /// Operating-system processes of targets that were to end and still run.
    pub survivors: Vec<ProcessRef>,
    /// Operating-system processes of spared entries that no longer run.
    pub vanished: Vec<ProcessRef>,
    /// Where restored processes differ from their bundle, or are missing; empty for other operations.
    pub restored: Vec<Drift>,
}

/// The comparison's result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Where the state differs from the prediction. Empty means verified.
    pub drift: Vec<Drift>,
    /// Changes nearby that this act did not cause and that harm nothing, for the reader.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One difference from the prediction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// What kind it is.
    pub kind: DriftKind,
    /// The process, by its PM2 name.
    pub name: String,
    /// PM2's number for it.
    pub pm_id: u32,
    /// What was expected and what was found.
    pub message: String,
}

/// Kinds of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DriftKind {
    /// The daemon is another one than before.
    DaemonChanged,
    /// A target is not in the state that the operation promises.
    TargetNotAsPlanned,
    /// A process that was to be spared is gone or down.
    ForeignHarmed,
    /// A restored process is not as its bundle says.
    RestoreDiffers,
}

impl DriftKind {
    /// The code whose page explains it.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::DaemonChanged => Code::DaemonChanged,
            Self::TargetNotAsPlanned | Self::ForeignHarmed => Code::VerificationFailed,
            Self::RestoreDiffers => Code::RestoreDiffers,
        }
    }
}

impl Verification {
    /// Whether the state is as predicted.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.drift.is_empty()
    }

    /// Compares what followed with what `plan` predicted from `before`. Entries that another recorded operation set out
    /// to touch meanwhile are `touched_by_others`: their absence is that operation's.
    #[must_use]
    pub fn of(
        plan: &Plan,
        results: &[TargetOutcome],
        before: &Snapshot,
        after: &After,
        touched_by_others: &BTreeSet<EntryId>,
    ) -> Self {
        let mut found = Self::default();
        if !plan.daemon.is_same_daemon(&after.snapshot.daemon) {
            found.drift.push(Drift {
                kind: DriftKind::DaemonChanged,
                name: "PM2".to_owned(),
                pm_id: 0,
                message: format!(
                    "the daemon was pid {} and is pid {}",
                    plan.daemon.process.pid, after.snapshot.daemon.process.pid
                ),
            });
        }
        found.drift.extend(after.restored.iter().cloned());
        for result in results.iter().filter(|result| result.result == TargetResult::Done) {
            found.check_target(plan.operation, result, before, after);
        }
        if !ablation::is_off(Check::VerifySpared) {
            for spared in &plan.spared {
                match touched_by_others.contains(&spared.pin.entry()) {
                    true => found.note_touched(&spared.pin),
                    false => found.check_spared(&spared.pin, &spared.status, after),
                }
            }
        }
        found
    }

    fn check_target(
        &mut self,
        operation: Operation,
        result: &TargetOutcome,
        before: &Snapshot,
        after: &After,
    ) {
        let now = after.snapshot.entry(&result.pin);
        let then = before.entry(&result.pin);
        let survives = result.pin.process.is_some_and(|process| after.survivors.contains(&process));
        let problem = match (operation, now) {
            (Operation::Delete, Some(process)) => {
                Some(format!("deleted, and still listed as {}", process.status))
            }
            (Operation::Delete | Operation::Stop, _) if survives => {
                Some("taken down, and its operating-system process still runs".to_owned())
            }
            (Operation::Delete, None) => None,
            (Operation::Stop, Some(process)) if process.status != Status::Stopped => {
                Some(format!("stopped, and listed as {}", process.status))
            }
            (Operation::Restart | Operation::Reload, Some(process)) => restart_problem(then, process),
            // A restored process has a new UUID; the resource has compared it by name.
            (Operation::Restore, _) | (Operation::Stop, Some(_)) => None,
            (Operation::Reload, None) => reload_problem(result, after),
            (_, None) => Some(format!("{operation} was carried out, and it is no longer listed")),
        };
        if let Some(problem) = problem {
            self.drift.push(Drift {
                kind: DriftKind::TargetNotAsPlanned,
                name: result.pin.name.clone(),
                pm_id: result.pin.pm_id,
                message: problem,
            });
        }
    }

    fn note_touched(&mut self, pin: &Pin) {
        self.notes.push(format!("{} was touched by another recorded operation", Shown(&pin.name)));
    }

    fn check_spared(&mut self, pin: &Pin, status: &Status, after: &After) {
        let vanished = pin.process.is_some_and(|process| after.vanished.contains(&process));
        let problem = match after.snapshot.entry(pin) {
            None => Some("it was to be spared, and is no longer listed".to_owned()),
            Some(now) if status.is_up() && !now.status.is_up() => {
                Some(format!("it was to be spared, was {status}, and is {}", now.status))
            }
            Some(now) if now.pin.process != pin.process => {
                self.notes.push(format!("{} was restarted meanwhile, not by this act", Shown(&pin.name)));
                None
            }
            Some(_) if vanished => Some("it was to be spared, and its process has ended".to_owned()),
            Some(_) => None,
        };
        if let Some(message) = problem {
            self.drift.push(Drift {
                kind: DriftKind::ForeignHarmed,
                name: pin.name.clone(),
                pm_id: pin.pm_id,
                message,
            });
        }
    }
}

fn restart_problem(then: Option<&Process>, now: &Process) -> Option<String> {
    if !now.status.is_up() {
        return Some(format!("restarted, and listed as {}", now.status));
    }
    // PM2 lists an app as online even when its process could not be started, as in a folder that is gone.
    if now.status == Status::Online && now.pin.process.is_none() {
        return Some("restarted, and listed as online, but no process of it runs".to_owned());
    }
    let unchanged =
        then.is_some_and(|then| then.pin.process.is_some() && then.pin.process == now.pin.process);
    unchanged.then(|| "restarted, and it is still the same operating-system process".to_owned())
}

/// A cluster reload may replace the entry; an online instance of the same name in the same slot is as planned.
fn reload_problem(result: &TargetOutcome, after: &After) -> Option<String> {
    let replaced = after.snapshot.countable().any(|process| {
        process.pin.name == result.pin.name && process.pin.pm_id == result.pin.pm_id && process.status.is_up()
    });
    (!replaced).then(|| "reloaded, and it is no longer listed".to_owned())
}
