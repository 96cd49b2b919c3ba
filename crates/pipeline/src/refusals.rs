//! Records refusals, so that a loop of them can neither fill the disk nor bury what matters.
//!
//! A refusal equal to one of the last minute, and any refusal of a caller that has used up its quota, is counted
//! in a small file beside the journal. The count is written as one `repeated` record with the next refusal that
//! is recorded.

use std::path::PathBuf;
use std::time::Duration;

use palisade_core::record::{Event, Record, Refused, Repeated};
use palisade_core::request::OperationId;
use palisade_core::{Code, Refusal, Request, Timestamp, canonical};
use palisade_host::state::StateDirectory;
use palisade_host::{clock, files};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::memory::Memory;
use crate::run::Context;
use crate::system_log;
use crate::writer::Writer;

/// Equal refusals within this span are one record and a count.
pub(crate) const EQUAL_WITHIN: Duration = Duration::from_secs(60);
/// Refusals that one caller may write within the policy's window; further ones are counted.
pub(crate) const QUOTA: usize = 60;

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

/// Refusals that were counted since the last record.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Counts(Vec<Repeated>);

impl Counts {
    fn path(state: &StateDirectory) -> PathBuf {
        state.root().join("repeated.json")
    }

    /// An absent or unreadable file is an empty count: what is lost is a number, not a record.
    fn read(state: &StateDirectory) -> Self {
        let bytes = files::read_bounded(&Self::path(state), 1 << 20).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn write(&self, state: &StateDirectory) {
        // As with reading: the refusal stands whether or not it is counted.
        files::write_atomic(&Self::path(state), canonical::json(self).as_bytes(), 0o600).unwrap_or_default();
    }

    fn add(&mut self, first: &OperationId, last_at: Timestamp) {
        match self.0.iter_mut().find(|counted| counted.first == *first) {
            Some(counted) => {
                counted.count += 1;
                counted.last_at = last_at;
            }
            None => self.0.push(Repeated { count: 1, first: first.clone(), last_at }),
        }
    }
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
    if let Some(with) = stands_for(&event, request, memory, context.policy.limits.window) {
        let mut counts = Counts::read(state);
        counts.add(&with, clock::now());
        counts.write(state);
        return Recorded::Counted { with };
    }
    write(context, request, event, memory).unwrap_or_else(|error| {
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
) -> Result<Recorded, Error> {
    let host_policy = context.host_policy.clone();
    let mut writer = Writer::open(context.state, request.id.clone(), request.actor.clone(), host_policy)?;
    writer.note_policy(memory.policy())?;
    let counts = Counts::read(context.state);
    for repeated in &counts.0 {
        writer.append(Event::Repeated(repeated.clone()))?;
    }
    if !counts.0.is_empty() {
        Counts::default().write(context.state);
    }
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
fn stands_for(event: &Refused, request: &Request, memory: &Memory, window: Duration) -> Option<OperationId> {
    let now = clock::now();
    let by_caller = |record: &&Record| record.actor.tree == request.actor.tree;
    let refusals = || {
        memory.recent().iter().filter(by_caller).filter_map(|record| match &record.event {
            Event::Refused(refused) => Some((record, refused)),
            _ => None,
        })
    };
    let equal = |(record, refused): &(&Record, &Refused)| {
        record.at >= now.before(EQUAL_WITHIN) && key(refused) == key(event)
    };
    if let Some((record, _)) = refusals().find(equal) {
        return Some(record.op.clone());
    }
    let within = refusals().filter(|(record, _)| record.at >= now.before(window));
    let mut within = within.peekable();
    let newest = within.peek().map(|(record, _)| record.op.clone());
    (within.count() >= QUOTA).then_some(newest).flatten()
}

/// What makes two refusals of one caller equal.
fn key(refused: &Refused) -> impl PartialEq + '_ {
    let codes: Vec<Code> = refused.findings.iter().map(|finding| finding.code).collect();
    (refused.operation, &refused.scope, &refused.selection, &refused.targets, codes)
}
