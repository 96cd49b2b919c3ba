//! Epochs at the resource: the ground against a stale job, and the recorded raise.

use palisade_core::actor::ProcessRef;
use palisade_core::epoch::{self, Epoch, Minimum, Subject};
use palisade_core::policy::PolicyRef;
use palisade_core::record::{EpochRaised, Event, JobJudged};
use palisade_core::{Actor, Finding, Receipt};
use palisade_host::state::StateDirectory;
use palisade_host::{claims, clock, epochs, random};

use crate::error::Error;
use crate::memory::Memory;
use crate::writer::Writer;

/// The grounds against a change that `actor` asks for: at most one, and none if no CI job is behind it.
#[must_use]
pub fn grounds(state: &StateDirectory, actor: &Actor, daemon: Option<ProcessRef>) -> Vec<Finding> {
    let job = claims::job(actor, daemon);
    job.and_then(|job| objection(state, &job)).into_iter().collect()
}

/// The ground against changes of `job`, read fresh: a raise counts from the next call on.
#[must_use]
pub fn objection(state: &StateDirectory, job: &epoch::Job) -> Option<Finding> {
    match epochs::read(state) {
        Ok(ratchet) => ratchet.objection(job),
        Err(error) => Some(epoch::unreadable(job, &format!("{}; {}", chain(&error), error.fix()))),
    }
}

/// The ground against a job that asks for an administrator's act, such as ending the daemon; it is recorded where the
/// journal can take it. A bypass of all PM2 guards lets it pass.
#[must_use]
pub fn bars(state: &StateDirectory, policy: Option<&PolicyRef>, actor: &Actor) -> Option<Finding> {
    let finding = grounds(state, actor, None).pop().filter(|_| !crate::deployment::is_bypassed())?;
    if let Some(policy) = policy {
        let judged = JobJudged { admitted: false, findings: vec![finding.clone()] };
        // The refusal stands whether or not it can be written down.
        let _unwritten = write(state, policy, actor.clone(), Event::JobJudged(judged)).err();
    }
    Some(finding)
}

fn write(state: &StateDirectory, policy: &PolicyRef, actor: Actor, event: Event) -> Result<Receipt, Error> {
    let memory = Memory::read(&state.journal(), clock::now(), std::time::Duration::ZERO)?;
    crate::run::check_revision(policy, &memory)?;
    let mut writer = Writer::open(state, random::operation_id()?, actor, policy.clone())?;
    writer.note_policy(memory.policy())?;
    Ok(writer.append(event)?)
}

/// The error and what lies beneath it, in one sentence.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// A minimum that was raised, or was there already.
#[derive(Debug)]
pub struct Raised {
    /// The minimum before.
    pub from: Option<Epoch>,
    /// Its record; `None` if nothing had to change.
    pub receipt: Option<Receipt>,
}

/// Raises the minimum of `subject`, durably, and records who did. The same epoch again changes nothing.
///
/// The record comes first: a raise that is recorded and cut off is repeated, one that is not recorded is not there.
///
/// # Errors
/// The minimum would fall, the record or the file cannot be written, or the file is damaged.
pub fn raise(
    state: &StateDirectory,
    policy: &PolicyRef,
    actor: Actor,
    subject: Subject,
    to: Epoch,
) -> Result<Raised, Error> {
    let locked = epochs::lock(state)?;
    let mut ratchet = locked.ratchet().clone();
    let known = ratchet.minimum(&subject).map(|known| (known.epoch, known.subject.file.clone()));
    let raised_by = actor.observed.user.clone().unwrap_or_else(|| format!("uid {}", actor.observed.uid));
    let minimum = Minimum { subject: subject.clone(), epoch: to, raised_at: clock::now(), raised_by };
    let from = ratchet.raise(minimum)?;
    if known.is_some_and(|(epoch, file)| epoch == to && (subject.file.is_none() || file == subject.file)) {
        return Ok(Raised { from, receipt: None });
    }
    let receipt = write(state, policy, actor, Event::EpochRaised(EpochRaised { subject, from, to }))?;
    locked.write(ratchet)?;
    Ok(Raised { from, receipt: Some(receipt) })
}
