//! What keeps a loop of refusals from filling the disk, or from burying what matters.
//!
//! A refusal equal to one of the last minute, and any refusal of a caller that has used up its quota, is counted with
//! an earlier record. The count is written as one `repeated` record with the next refusal that is recorded.

use std::time::Duration;

use palisade_core::record::{Event, Repeated};
use palisade_core::request::OperationId;
use palisade_core::{Record, Timestamp};
use palisade_journal as journal;
use serde::{Deserialize, Serialize};

use crate::writer::Writer;

/// Equal refusals within this span are one record and a count.
const EQUAL_WITHIN: Duration = Duration::from_secs(60);
/// Refusals that one caller may write within the policy's window; further ones are counted.
const QUOTA: usize = 60;

/// The quota of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quota {
    /// Beyond it, refusals are counted.
    Held,
    /// Whatever is not equal to an earlier one is a record of its own.
    Waived,
}

/// The earlier operation whose record stands for a new refusal too, if there is one. `earlier` are the refusals of the
/// same caller, newest first, each with what makes two of them equal.
pub(crate) fn stands_for<'a, K: PartialEq>(
    earlier: impl Iterator<Item = (&'a Record, K)>,
    key: &K,
    quota: Quota,
    now: Timestamp,
    window: Duration,
) -> Option<OperationId> {
    let (mut newest, mut within) = (None, 0);
    for (record, other) in earlier {
        if record.at >= now.before(EQUAL_WITHIN) && other == *key {
            return Some(record.op.clone());
        }
        if record.at >= now.before(window) {
            newest.get_or_insert(&record.op);
            within += 1;
        }
    }
    newest.filter(|_| quota == Quota::Held && within >= QUOTA).cloned()
}

/// Refusals that were counted since the last record.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts(Vec<Repeated>);

impl Counts {
    /// Counts one with the record of operation `first`.
    pub(crate) fn add(&mut self, first: &OperationId, last_at: Timestamp) {
        match self.0.iter_mut().find(|counted| counted.first == *first) {
            Some(counted) => {
                counted.count += 1;
                counted.last_at = last_at;
            }
            None => self.0.push(Repeated { count: 1, first: first.clone(), last_at }),
        }
    }

    /// Writes them; those that were written are forgotten.
    pub(crate) fn write_to(&mut self, writer: &mut Writer) -> Result<(), journal::Error> {
        while let Some(repeated) = self.0.last() {
            writer.append(Event::Repeated(repeated.clone()))?;
            self.0.pop();
        }
        Ok(())
    }
}
