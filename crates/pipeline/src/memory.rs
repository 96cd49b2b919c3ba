//! What the journal remembers that the next decision needs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use palisade_core::actor::ProcessRef;
use palisade_core::outcome::Outcome;
use palisade_core::policy::PolicyRef;
use palisade_core::process::EntryId;
use palisade_core::record::{Event, Intent};
use palisade_core::request::OperationId;
use palisade_core::{Ledger, Record, Timestamp};
use palisade_journal as journal;

/// Recent records, newest first, and the last policy that any record names.
#[derive(Debug, Default)]
pub struct Memory {
    recent: Vec<Record>,
    policy: Option<PolicyRef>,
}

impl Memory {
    /// Reads back to `window` before `now`, and on to the last record that names a policy.
    ///
    /// # Errors
    /// The journal cannot be read or is damaged.
    pub fn read(folder: &Path, now: Timestamp, window: Duration) -> Result<Self, journal::Error> {
        let mut memory = Self::default();
        if journal::signed_head(folder)?.is_none() {
            return Ok(memory);
        }
        for entry in journal::recent(folder)? {
            let record = entry?.record()?;
            let old = record.at < now.before(window);
            // A record names the last policy that was known: before one without any there is none.
            let is_unruled = record.policy.is_none();
            if memory.policy.is_none() {
                memory.policy.clone_from(&record.policy);
            }
            if !old {
                memory.recent.push(record);
            } else if memory.policy.is_some() || is_unruled {
                break;
            }
        }
        Ok(memory)
    }

    /// The policy of the newest record that names one.
    #[must_use]
    pub const fn policy(&self) -> Option<&PolicyRef> {
        self.policy.as_ref()
    }

    /// The policy that was recorded last is this one.
    pub(crate) fn note_policy(&mut self, policy: &PolicyRef) {
        self.policy = Some(policy.clone());
    }

    /// What was lately taken down, by caller.
    #[must_use]
    pub fn ledger(&self, now: Timestamp, window: Duration) -> Ledger {
        Ledger::from_records(&self.recent, now, window)
    }

    /// Adds a record that this process has just written, and forgets those older than `window`.
    pub(crate) fn remember(&mut self, record: Record, window: Duration) {
        let since = record.at.before(window);
        self.policy.clone_from(&record.policy);
        self.recent.retain(|known| known.at >= since);
        self.recent.insert(0, record);
    }

    /// The records, newest first.
    #[must_use]
    pub fn recent(&self) -> &[Record] {
        &self.recent
    }

    /// Entries that operations other than `own` were about to touch at `since`, or set out to touch later. An intent
    /// that was written before counts as long as no outcome was written before, too: its act was under way.
    #[must_use]
    pub fn touched_by_others(&self, own: &OperationId, since: Timestamp) -> BTreeSet<EntryId> {
        let is_end = |record: &&Record| matches!(record.event, Event::Outcome(_)) && record.at < since;
        let ended: BTreeSet<&OperationId> =
            self.recent.iter().filter(is_end).map(|record| &record.op).collect();
        let others = self.recent.iter().filter(|record| record.op != *own && !ended.contains(&record.op));
        others
            .filter_map(|record| match &record.event {
                Event::Intent(intent) => Some(intent),
                _ => None,
            })
            .flat_map(|intent| intent.targets.iter().map(|target| target.pin.entry()))
            .collect()
    }
}

/// An intent of which no outcome was recorded, or none but "unknown".
#[derive(Debug, Clone)]
pub struct Unsettled {
    /// Its record.
    pub record: Record,
    /// The intent in it.
    pub intent: Intent,
}

/// Intents without a known outcome whose process is gone, oldest first. Reads the whole journal.
///
/// # Errors
/// The journal cannot be read or is damaged.
pub fn unsettled(
    folder: &Path,
    is_alive: impl Fn(ProcessRef) -> bool,
) -> Result<Vec<Unsettled>, journal::Error> {
    let mut open = BTreeMap::<OperationId, Unsettled>::new();
    if journal::signed_head(folder)?.is_none() {
        return Ok(Vec::new());
    }
    for entry in journal::Reader::open(folder)? {
        let record = entry?.record()?;
        match &record.event {
            Event::Intent(intent) => {
                let intent = intent.clone();
                open.insert(record.op.clone(), Unsettled { record, intent });
            }
            // Its own process could not tell what came of it, so somebody has to look.
            Event::Outcome(outcome) if outcome.outcome == Outcome::Unknown => {}
            Event::Outcome(_) | Event::Reconciled(_) => {
                open.remove(&record.op);
            }
            Event::PolicyChanged(_)
            | Event::Refused(_)
            | Event::DeploymentStarted(_)
            | Event::DeploymentEnded(_)
            | Event::Recovered(_)
            | Event::Repeated(_)
            | Event::BypassBegan(_)
            | Event::BypassEnded(_)
            | Event::Administered(_)
            | Event::EpochRaised(_)
            | Event::DeploymentRefused(_)
            | Event::JobJudged(_)
            | Event::Called(_)
            | Event::Gap(_)
            | Event::NoticeUndelivered(_)
            | Event::JobsChanged(_) => {}
        }
    }
    let gone = |unsettled: &Unsettled| {
        let asked = unsettled.record.actor.observed.process;
        !is_alive(unsettled.intent.executor.unwrap_or(asked))
    };
    Ok(open.into_values().filter(gone).collect())
}
