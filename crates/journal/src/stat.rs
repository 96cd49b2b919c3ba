//! What a journal holds, at a glance: nothing is read that the answer does not need.

use std::path::Path;

use palisade_core::Timestamp;

use crate::error::Error;
use crate::reader::{Reader, look};
use crate::recent::recent;
use crate::reserve;
use crate::scan::{Cursor, Scan, Step};

/// Sizes and times of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Records, those without a signature included.
    pub records: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Number of segments.
    pub segments: usize,
    /// Time of the first record.
    pub oldest: Option<Timestamp>,
    /// Time of the last record.
    pub newest: Option<Timestamp>,
    /// Bytes set aside for a full disk; 0 once they were needed and until there is room again.
    pub reserve_bytes: u64,
    /// Whole records behind the signed head.
    pub unsigned_tail: u64,
    /// Bytes of an incomplete last record.
    pub torn_bytes: u64,
}

/// Looks at the journal in `dir`. Checks no signature and no earlier record.
///
/// # Errors
/// [`Error::Unreadable`] if there is no journal; [`Error::Damaged`] if its head, its first or last record is.
pub fn stat(dir: &Path) -> Result<Stat, Error> {
    let (head, listing) = look(dir)?;
    let (bytes, segments) = (listing.bytes(), listing.0.len());
    let signed = head.signed.size;
    let at = Cursor { position: head.signed.end, sequence: signed };
    let mut scan = Scan::from(dir, &head.signed.identity, listing, at, signed)?;
    let torn_bytes = loop {
        match scan.step()? {
            Step::Record { .. } => {}
            Step::Torn(torn) => break torn.bytes,
            Step::End => break 0,
        }
    };
    let records = scan.cursor().sequence;
    let time =
        |entry: Result<crate::Entry, Error>| entry.and_then(|entry| entry.record()).map(|record| record.at);
    Ok(Stat {
        records,
        bytes,
        segments,
        oldest: Reader::open(dir)?.next().map(time).transpose()?,
        newest: recent(dir)?.next().map(time).transpose()?,
        reserve_bytes: reserve::size(dir),
        unsigned_tail: records - signed,
        torn_bytes,
    })
}
