//! The state before an act, without secrets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::process::{DaemonIdentity, Pin, Process};
use crate::time::Timestamp;

/// The daemon's whole list at one moment. Redacted: it may be shown and shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its name on disk, and what `--snapshot` takes.
    pub id: SnapshotId,
    /// When the list was asked for.
    pub taken_at: Timestamp,
    /// The daemon that gave it.
    pub daemon: DaemonIdentity,
    /// Every entry, modules included, in the daemon's order.
    pub processes: Vec<Process>,
    /// SHA-256 of the restore bundle that holds the values; `None` where none was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
}

/// Name of a snapshot: its moment and a part of the operation's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(String);

impl SnapshotId {
    /// The id of the snapshot that `operation` took at `moment`: sorts by time.
    #[must_use]
    pub fn new(moment: Timestamp, operation: &str) -> Self {
        let digits: String = moment.to_string().chars().filter(char::is_ascii_digit).collect();
        let tail: String = operation.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        Self(format!("{digits}-{tail}"))
    }

    /// Reads an id that was typed: digits, `-`, letters only, so that it can be a file name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= 64;
        (fits && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')).then(|| Self(text.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Snapshot {
    /// The entries that rules count: all but PM2's own modules.
    pub fn countable(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| !process.module)
    }

    /// The entry that `pin` pins, restarted or not.
    #[must_use]
    pub fn entry(&self, pin: &Pin) -> Option<&Process> {
        let is_it =
            |process: &&Process| process.pin.unique_id == pin.unique_id && process.pin.pm_id == pin.pm_id;
        self.processes.iter().find(is_it)
    }

    /// Entries that are no longer on the daemon, `now` being its list; only those called one of `names`, if given.
    ///
    /// A restored process has a new UUID, so what counts is how many instances of each name are there.
    #[must_use]
    pub fn lost(&self, now: &Self, names: Option<&[String]>) -> Vec<&Process> {
        let present = |name: &str| now.countable().filter(|process| process.pin.name == name).count();
        let mut lacking = BTreeMap::<&str, usize>::new();
        for process in self.countable() {
            *lacking.entry(&process.pin.name).or_default() += 1;
        }
        for (name, count) in &mut lacking {
            *count = count.saturating_sub(present(name));
        }
        let wanted = |process: &&Process| names.is_none_or(|names| names.contains(&process.pin.name));
        let absent = |process: &&Process| now.entry(&process.pin).is_none();
        let mut take = |process: &&Process| match lacking.get_mut(process.pin.name.as_str()) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            Some(_) | None => false,
        };
        self.countable().filter(wanted).filter(absent).filter(|process| take(process)).collect()
    }
}
