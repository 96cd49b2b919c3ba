//! Records calls that a firewall judged, by the rules of [`crate::coalesce`].
//!
//! A firewall lives long, so what it remembers of the journal and what it counted stay in memory. What is lost
//! when it is killed is a count, never a record.

use std::time::Duration;

use palisade_core::policy::PolicyRef;
use palisade_core::record::{Administered, Called, Event, Gap, Ruling};
use palisade_core::request::OperationId;
use palisade_core::{Actor, Code, Ledger, Receipt, Record, Timestamp};
use palisade_host::state::StateDirectory;
use palisade_host::{clock, random};

use crate::coalesce::{Counts, Quota, stands_for};
use crate::error::Error;
use crate::memory::Memory;
use crate::refusals::Recorded;
use crate::run::check_revision;
use crate::system_log;
use crate::writer::Writer;

/// The calls of one firewall: its memory of the journal, and its hand on it.
#[derive(Debug)]
pub struct CallLog {
    state: StateDirectory,
    policy: PolicyRef,
    window: Duration,
    memory: Memory,
    counts: Counts,
    writer: Option<Writer>,
}

impl CallLog {
    /// Reads what the journal of `state` remembers of the last `window`. Writes nothing.
    ///
    /// # Errors
    /// The journal is damaged or cannot be read, or names a newer policy than `policy`.
    pub fn open(state: StateDirectory, policy: PolicyRef, window: Duration) -> Result<Self, Error> {
        let memory = Memory::read(&state.journal(), clock::now(), window)?;
        check_revision(&policy, &memory)?;
        Ok(Self { state, policy, window, memory, counts: Counts::default(), writer: None })
    }

    /// Goes on under another policy, and records that it changed.
    ///
    /// # Errors
    /// Its revision is below the last one recorded; the earlier one stays in force then.
    pub fn adopt(&mut self, actor: &Actor, policy: PolicyRef, window: Duration) -> Result<(), Error> {
        if policy.revision < self.policy.revision {
            return Err(Error::PolicyRolledBack { recorded: self.policy.clone(), found: policy });
        }
        check_revision(&policy, &self.memory)?;
        self.policy = policy;
        self.window = self.window.max(window);
        // A writer names the policy that it was opened under.
        self.writer = None;
        if let Err(error) = self.note_policy(actor) {
            let line = format!("a new policy is in force, and could not be recorded: {error}");
            // The next record says it too.
            system_log::write(&line).unwrap_or_default();
        }
        Ok(())
    }

    fn note_policy(&mut self, actor: &Actor) -> Result<(), Error> {
        let op = random::operation_id()?;
        let mut writer = Writer::open(&self.state, op, actor.clone(), self.policy.clone())?;
        writer.note_policy(self.memory.policy())?;
        self.memory.note_policy(&self.policy);
        self.writer = Some(writer);
        Ok(())
    }

    /// What was lately taken down, by caller.
    #[must_use]
    pub fn ledger(&self, now: Timestamp) -> Ledger {
        self.memory.ledger(now, self.window)
    }

    /// The newest call of `actor`'s tree within the window that was refused for more than an earlier refusal. A
    /// registration is no call: it asks nothing of the daemon.
    #[must_use]
    pub fn refused_before<'a>(&'a self, actor: &'a Actor, now: Timestamp) -> Option<(Timestamp, &'a Called)> {
        let since = now.before(self.window);
        let of_others = [Code::RefusedBefore, Code::NotRegistered];
        let for_itself =
            |called: &Called| called.findings.iter().any(|finding| !of_others.contains(&finding.code));
        let refused = |(record, called): &(&Record, &Called)| {
            record.at >= since && called.ruling == Ruling::Refused && for_itself(called)
        };
        self.calls_of(actor).find(refused).map(|(record, called)| (record.at, called))
    }

    fn calls_of<'a>(&'a self, actor: &'a Actor) -> impl Iterator<Item = (&'a Record, &'a Called)> {
        let by_caller = self.memory.recent().iter().filter(|record| record.actor.tree == actor.tree);
        by_caller.filter_map(|record| match &record.event {
            Event::Called(called) => Some((record, called)),
            _ => None,
        })
    }

    /// Records a call. On return a record of its own is durable.
    ///
    /// A refusal or objection equal to one of the last minute, and any beyond the caller's quota, is counted. A
    /// call that passes is always a record of its own. What the journal cannot take goes to the system log, and
    /// is remembered until this process ends.
    pub fn record(&mut self, actor: &Actor, called: Called) -> Recorded {
        let now = clock::now();
        if let Some(first) = self.counted_with(actor, &called, now) {
            self.counts.add(&first, now);
            return Recorded::Counted { with: first };
        }
        let line = format!("{:?} {} by {}", called.ruling, called.method, actor.tree.as_str());
        self.write_or_log(actor, Event::Called(called), &line)
    }

    fn write_or_log(&mut self, actor: &Actor, event: Event, line: &str) -> Recorded {
        match self.write(actor, event) {
            Ok((record, receipt)) => {
                self.memory.remember(record, self.window);
                receipt.sequence().map_or(Recorded::SystemLog, |sequence| Recorded::Record { sequence })
            }
            Err(error) => {
                self.writer = None;
                let line = format!("{line}, and could not record it: {error}");
                // The last resort; where there is no system log, a refused caller still has the answer.
                system_log::write(&line).unwrap_or_default();
                Recorded::SystemLog
            }
        }
    }

    /// Records what was done with the daemon beside calls: that the firewall started it, or somebody wrote its dump.
    pub fn note_start(&mut self, actor: &Actor, done: Administered) -> Recorded {
        let line = format!("{} at {}: {}", done.act.said(), done.home, done.details.join("; "));
        self.write_or_log(actor, Event::Administered(done), &line)
    }

    /// Records that for a while nobody judged.
    pub fn note_gap(&mut self, actor: &Actor, gap: Gap) -> Recorded {
        let line = format!("nobody judged for a while: {}", gap.reason);
        self.write_or_log(actor, Event::Gap(gap), &line)
    }

    /// Writes the counts that no record has taken along yet: for the end of the process.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn flush(&mut self) -> Result<(), Error> {
        if let Some(writer) = &mut self.writer {
            self.counts.write_to(writer)?;
        }
        Ok(())
    }

    fn write(&mut self, actor: &Actor, event: Event) -> Result<(Record, Receipt), Error> {
        let op = random::operation_id()?;
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => Writer::open(&self.state, op.clone(), actor.clone(), self.policy.clone())?,
        };
        writer.set_actor(actor.clone());
        writer.note_policy(self.memory.policy())?;
        self.counts.write_to(&mut writer)?;
        let record = Record { op: op.clone(), ..writer.record(event.clone()) };
        let receipt = writer.append_for(op, event)?;
        self.writer = Some(writer);
        Ok((record, receipt))
    }

    /// The earlier record that stands for this call too, if there is one.
    fn counted_with(&self, actor: &Actor, called: &Called, now: Timestamp) -> Option<OperationId> {
        if called.ruling == Ruling::Passed {
            return None;
        }
        let objected = self.calls_of(actor).filter(|(_, earlier)| earlier.ruling != Ruling::Passed);
        let earlier = objected.map(|(record, earlier)| (record, key(earlier)));
        // An observed call that takes something down is charged to its caller, so each is a record.
        let charged = called.takes_down && called.ruling == Ruling::Observed;
        let quota = if charged { Quota::Waived } else { Quota::Held };
        stands_for(earlier, &key(called), quota, now, self.window)
    }
}

/// What makes two calls of one caller equal.
fn key(called: &Called) -> impl PartialEq + '_ {
    let codes: Vec<Code> = called.findings.iter().map(|finding| finding.code).collect();
    (&called.method, called.ruling, &called.scope, &called.targets, codes)
}
