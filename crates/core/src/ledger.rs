//! What each caller has lately taken down: the memory behind the sliding budget.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::actor::Tree;
use crate::record::{Event, Phase, Record, Ruling};
use crate::time::Timestamp;

/// Recent takings, from the journal's intents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    takings: Vec<Taking>,
    changes: Vec<Change>,
}

/// So many jobs that one command changed by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    at: Timestamp,
    tree: Tree,
    jobs: u64,
}

/// What one operation took down.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Taking {
    at: Timestamp,
    tree: Tree,
    /// Instances per name.
    instances: BTreeMap<String, usize>,
}

impl Ledger {
    /// Reads the intents, deeds on jobs by hand, and the calls that a firewall let through, among `records` that are younger
    /// than `window` at `now`.
    ///
    /// An intent counts even if its outcome is unknown: what may have happened is charged.
    pub fn from_records<'a>(
        records: impl IntoIterator<Item = &'a Record>,
        now: Timestamp,
        window: Duration,
    ) -> Self {
        let mut ledger = Self::default();
        for record in records {
            if record.at < now.before(window) {
                continue;
            }
            let instances = match &record.event {
                Event::Intent(intent) if intent.operation.takes_down() => {
                    count(intent.targets.iter().map(|target| target.pin.name.as_str()))
                }
                Event::JobsChanged(changed) if changed.phase == Phase::Begun && changed.is_charged() => {
                    let (at, tree) = (record.at, record.actor.tree.clone());
                    ledger.changes.push(Change { at, tree, jobs: changed.jobs });
                    continue;
                }
                Event::Called(called) if called.takes_down && called.ruling != Ruling::Refused => {
                    count(called.targets.iter().map(String::as_str))
                }
                _ => continue,
            };
            ledger.takings.push(Taking { at: record.at, tree: record.actor.tree.clone(), instances });
        }
        ledger
    }

    /// How many jobs `tree` has set out to change by hand since `since`, each as often as it was changed.
    #[must_use]
    pub fn jobs_changed_by(&self, tree: &Tree, since: Timestamp) -> u64 {
        let its = self.changes.iter().filter(|change| change.tree == *tree && change.at >= since);
        its.fold(0, |sum, change| sum.saturating_add(change.jobs))
    }

    /// What `tree` has taken down since `since`: for each name, the most instances that one operation took.
    ///
    /// The same name taken twice is one process deployed twice, so it is counted once.
    #[must_use]
    pub fn taken_by(&self, tree: &Tree, since: Timestamp) -> BTreeMap<String, usize> {
        let mut total = BTreeMap::new();
        for taking in self.takings.iter().filter(|taking| taking.tree == *tree && taking.at >= since) {
            merge(&mut total, &taking.instances);
        }
        total
    }
}

/// Instances per name.
pub fn count<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, usize> {
    let mut instances = BTreeMap::new();
    for name in names {
        *instances.entry(name.to_owned()).or_default() += 1;
    }
    instances
}

/// Adds `more` to `total`, keeping the larger number of each name.
pub fn merge(total: &mut BTreeMap<String, usize>, more: &BTreeMap<String, usize>) {
    for (name, count) in more {
        let most = total.entry(name.clone()).or_default();
        *most = (*most).max(*count);
    }
}
