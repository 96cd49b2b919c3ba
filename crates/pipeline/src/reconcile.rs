//! Settles intents whose outcome was never recorded, by looking at what is there.

use palisade_core::outcome::{Outcome, TargetOutcome, TargetResult};
use palisade_core::policy::PolicyRef;
use palisade_core::process::{Process, Status};
use palisade_core::record::{Event, Intent, OutcomeRecord};
use palisade_core::snapshot::SnapshotId;
use palisade_core::{Actor, Operation, Pin, Snapshot};
use palisade_host::state::StateDirectory;
use palisade_host::{clock, process, random};

use crate::error::Error;
use crate::memory::{self, Unsettled};
use crate::resource::Resource;
use crate::writer::Writer;

/// An intent with what was found of it.
#[derive(Debug)]
pub struct Settled {
    /// The intent.
    pub unsettled: Unsettled,
    /// The sum of what was found.
    pub outcome: Outcome,
    /// Each target.
    pub targets: Vec<TargetOutcome>,
}

/// Settles every open intent whose process is gone: looks at the resource, and records what is found. Repeats
/// nothing and undoes nothing. What the resource is still about to carry out stays open.
///
/// # Errors
/// The resource cannot be reached, or the journal cannot be read or written.
pub async fn reconcile<R: Resource>(
    resource: &mut R,
    host_policy: &PolicyRef,
    state: &StateDirectory,
    actor: &Actor,
) -> Result<Vec<Settled>, Error> {
    let open = memory::unsettled(&state.journal(), process::is_alive)?;
    if open.is_empty() {
        return Ok(Vec::new());
    }
    resource.identify().await?;
    let (id, at) = (random::operation_id()?, clock::now());
    let now = resource.snapshot(SnapshotId::new(at, id.as_str()), at).await?;
    let mut writer = Writer::open(state, id, actor.clone(), host_policy.clone())?;
    let mut settled = Vec::new();
    for unsettled in open.into_iter().filter(|open| !is_under_way(&open.intent, &now)) {
        let targets = found(&unsettled, &now);
        let outcome = Outcome::of(&targets);
        let record = OutcomeRecord { outcome, targets: targets.clone(), verification: None, took_ms: 0 };
        writer.append_for(unsettled.record.op.clone(), Event::Reconciled(record))?;
        settled.push(Settled { unsettled, outcome, targets });
    }
    Ok(settled)
}

/// Whether the daemon still carries the intent out: what is there now is not yet what it comes to.
fn is_under_way(intent: &Intent, now: &Snapshot) -> bool {
    let status = |pin: &Pin| now.entry(pin).map(|process| &process.status);
    let moves = |pin: &Pin| matches!(status(pin), Some(Status::Stopping | Status::Launching));
    intent.targets.iter().any(|target| moves(&target.pin))
}

/// What the list says of each target of an intent. Pure.
fn found(unsettled: &Unsettled, now: &Snapshot) -> Vec<TargetOutcome> {
    let intent = &unsettled.intent;
    let same_daemon = intent.daemon.is_same_daemon(&now.daemon);
    let outcome = |pin: &Pin| TargetOutcome {
        pin: pin.clone(),
        result: result(intent.operation, pin, now.entry(pin), now, same_daemon),
    };
    intent.targets.iter().map(|target| outcome(&target.pin)).collect()
}

fn result(
    operation: Operation,
    pin: &Pin,
    listed: Option<&Process>,
    now: &Snapshot,
    same_daemon: bool,
) -> TargetResult {
    let not_done = |why: &str| TargetResult::Failed(format!("not carried out: {why}"));
    match (operation, listed) {
        (Operation::Restore, _) => {
            let present = now.countable().any(|process| process.pin.name == pin.name);
            if present { TargetResult::Done } else { not_done("it is not listed") }
        }
        (Operation::Delete, None) if same_daemon => TargetResult::Done,
        (Operation::Delete, Some(_)) => not_done("it is still listed"),
        (Operation::Stop, Some(process)) if process.status == Status::Stopped => TargetResult::Done,
        (Operation::Stop, Some(_)) => not_done("it is not stopped"),
        (Operation::Restart | Operation::Reload, Some(process)) if process.pin.process != pin.process => {
            TargetResult::Done
        }
        (Operation::Restart | Operation::Reload, Some(_)) => not_done("it is the same process as before"),
        (_, None) => TargetResult::Unknown("the daemon no longer knows it".to_owned()),
    }
}
