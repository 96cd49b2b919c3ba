//! Records refusals, by the rules of [`crate::coalesce`].
//!
//! Every command is a process of its own, so what they counted is in a small file beside the journal.

use std::path::PathBuf;

use palisade_core::record::{Event, Record, Refused};
use palisade_core::request::OperationId;
use palisade_core::{Code, Refusal, Request, canonical};
use palisade_host::state::StateDirectory;
use palisade_host::{clock, files};

use crate::coalesce::{Counts, Quota, stands_for};
use crate::error::Error;
use crate::memory::Memory;
use crate::run::Context;
use crate::system_log;
use crate::writer::Writer;

/// Where a refusal went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// A record of its own.
    Record {
        /// Its number, from 0.
        sequence: u64,
    },
    /// Counted with an equal one, or against the caller's quota.
    Counted {
        /// The operation whose record stands for it.
        with: OperationId,
    },
    /// The journal could not take it; the system log was given a line.
    SystemLog,
}

/// Does `act` with the counts of this host, under their lock: two refusals at once are both counted, and a count is
/// written once. Where there is no lock to be had there is no count: what is lost is a number, not a record.
fn with_counts<T>(state: &StateDirectory, act: impl FnOnce(&mut Counts) -> T) -> T {
    let file = |name: &str| state.root().join(name);
    let lock = files::private_folder(state.root())
        .and_then(|()| files::open_or_create_private(&file("repeated.lock")))
        .ok()
        .filter(|lock| lock.lock().is_ok());
    if lock.is_none() {
        return act(&mut Counts::default());
    }
    let path: PathBuf = file("repeated.json");
    let bytes = files::read_bounded(&path, 1 << 20).unwrap_or_default();
    let before: Counts = serde_json::from_slice(&bytes).unwrap_or_default();
    let mut counts = before.clone();
    let result = act(&mut counts);
    if counts != before {
        // The refusal stands whether or not it is counted.
        files::write_atomic(&path, canonical::json(&counts).as_bytes(), 0o600).unwrap_or_default();
    }
    result
}

/// Records a refusal. Never fails: that it could not be recorded changes nothing about the refusal.
pub(crate) fn record(
    context: &Context<'_>,
    request: &Request,
    refusal: &Refusal,
    memory: &Memory,
) -> Recorded {
    let event = refused(request, refusal);
    let state = context.state;
    if let Some(with) = counted_with(context, request, &event, memory) {
        with_counts(state, |counts| counts.add(&with, clock::now()));
        return Recorded::Counted { with };
    }
    let written = with_counts(state, |counts| write(context, request, event, memory, counts));
    written.unwrap_or_else(|error| {
        let line =
            format!("refused {} of {} and could not record it: {error}", request.operation, request.scope);
        // The last resort; where there is no system log, the caller's own terminal has the refusal.
        system_log::write(&line).unwrap_or_default();
        Recorded::SystemLog
    })
}

fn write(
    context: &Context<'_>,
    request: &Request,
    event: Refused,
    memory: &Memory,
    counts: &mut Counts,
) -> Result<Recorded, Error> {
    let host_policy = context.host_policy.clone();
    let mut writer = Writer::open(context.state, request.id.clone(), request.actor.clone(), host_policy)?;
    writer.note_policy(memory.policy())?;
    counts.write_to(&mut writer)?;
    let receipt = writer.append(Event::Refused(event))?;
    Ok(receipt.sequence().map_or(Recorded::SystemLog, |sequence| Recorded::Record { sequence }))
}

fn refused(request: &Request, refusal: &Refusal) -> Refused {
    Refused {
        operation: request.operation,
        scope: request.scope.clone(),
        selection: request.selection.clone(),
        daemon: refusal.plan.daemon.clone(),
        targets: refusal.plan.targets.iter().map(|target| target.pin.name.clone()).collect(),
        total: refusal.plan.blast_radius().total,
        findings: refusal.findings.clone(),
    }
}

/// The earlier operation whose record stands for this refusal too, if there is one.
fn counted_with(
    context: &Context<'_>,
    request: &Request,
    event: &Refused,
    memory: &Memory,
) -> Option<OperationId> {
    let by_caller = |record: &&Record| record.actor.tree == request.actor.tree;
    let refusals = memory.recent().iter().filter(by_caller).filter_map(|record| match &record.event {
        Event::Refused(refused) => Some((record, key(refused))),
        _ => None,
    });
    stands_for(refusals, &key(event), Quota::Held, clock::now(), context.policy.limits.window)
}

/// What makes two refusals of one caller equal.
fn key(refused: &Refused) -> impl PartialEq + '_ {
    let codes: Vec<Code> = refused.findings.iter().map(|finding| finding.code).collect();
    (refused.operation, &refused.scope, &refused.selection, &refused.targets, codes)
}
