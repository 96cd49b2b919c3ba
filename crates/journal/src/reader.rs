//! Reading forward, without the key.

use std::path::Path;

use palisade_core::{Record, canonical, record};
use serde::Deserialize;

use crate::error::{Damage, Error, Kind};
use crate::head::Head;
use crate::lock::Lock;
use crate::scan::{Cursor, Scan, Step};
use crate::segment::Listing;
use crate::tree;

/// One record as it lies in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    at: Cursor,
    payload: Vec<u8>,
}

impl Entry {
    pub(crate) const fn new(at: Cursor, payload: Vec<u8>) -> Self {
        Self { at, payload }
    }

    /// Number of the record, from 0.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.at.sequence
    }

    /// Where it begins.
    #[must_use]
    pub const fn at(&self) -> Cursor {
        self.at
    }

    /// Its canonical JSON.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Its leaf hash in hex, as the receipt has it.
    #[must_use]
    pub fn leaf(&self) -> String {
        canonical::hex(&tree::leaf(&self.payload))
    }

    /// The record.
    ///
    /// # Errors
    /// [`Error::NewerFormat`], or [`Error::UnknownRecord`] if the JSON is no record.
    pub fn record(&self) -> Result<Record, Error> {
        #[derive(Deserialize)]
        struct Version {
            v: u32,
        }
        let unknown = |source| Error::UnknownRecord { sequence: self.sequence(), source };
        let Version { v: found } = serde_json::from_slice(&self.payload).map_err(unknown)?;
        if found > record::FORMAT {
            let what = format!("record {}", self.sequence());
            return Err(Error::NewerFormat { what, found, known: record::FORMAT });
        }
        serde_json::from_slice(&self.payload).map_err(unknown)
    }
}

/// What a reader starts from: the head and the segments of one moment.
pub(crate) fn look(dir: &Path) -> Result<(Head, Listing), Error> {
    let _lock = Lock::shared(dir)?;
    let listing = Listing::read(dir)?;
    let head = Head::read(dir)?.ok_or_else(|| Damage::of("head", Kind::HeadMissing))?;
    Ok((head, listing))
}

/// The records from first to last, as they were when the reader was opened.
///
/// Checksums and numbering are checked, signatures are not: that is [`crate::verify()`]. It ends after the first
/// error, and before an incomplete last record.
#[derive(Debug)]
pub struct Reader {
    scan: Scan,
    failed: bool,
}

impl Reader {
    /// From the first record on.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if there is no journal; [`Error::Damaged`] if its head or first header is.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let (head, listing) = look(dir)?;
        let scan = Scan::all(dir, &head.signed.identity, listing, head.signed.size)?;
        Ok(Self { scan, failed: false })
    }

    /// From `cursor` on: [`Entry::at`] of a record, or [`Reader::cursor`] of a reader that came to the end.
    ///
    /// # Errors
    /// Those of [`Reader::open`].
    pub fn open_at(dir: &Path, cursor: Cursor) -> Result<Self, Error> {
        let (head, listing) = look(dir)?;
        let scan = Scan::from(dir, &head.signed.identity, listing, cursor, head.signed.size)?;
        Ok(Self { scan, failed: false })
    }

    /// Where the next record begins, or will.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.scan.cursor()
    }
}

impl Iterator for Reader {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        match self.scan.step() {
            Ok(Step::Record { at, payload }) => Some(Ok(Entry::new(at, payload.to_vec()))),
            Ok(Step::Torn(_) | Step::End) => None,
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::Position;

    fn entry(payload: &str) -> Entry {
        let position = Position { segment: 0, offset: 60 };
        Entry::new(Cursor { position, sequence: 4 }, payload.as_bytes().to_vec())
    }

    #[test]
    fn a_record_of_a_newer_format_is_refused_by_its_number_whatever_else_it_holds() {
        match entry(r#"{"v":2,"event":"something-new","data":[]}"#).record() {
            Err(Error::NewerFormat { what, found: 2, known: 1 }) => assert_eq!(what, "record 4"),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn a_payload_that_is_no_record_names_its_number_and_keeps_the_cause() {
        for payload in ["", "{}", "[1]", r#"{"v":1}"#, r#"{"v":1,"event":"unheard-of","data":{}}"#] {
            assert!(
                matches!(entry(payload).record(), Err(Error::UnknownRecord { sequence: 4, .. })),
                "{payload}"
            );
        }
    }

    #[test]
    fn a_payload_is_there_even_if_it_cannot_be_read_as_a_record() {
        let odd = entry("odd");
        assert_eq!((odd.sequence(), odd.payload(), odd.at().position.offset), (4, &b"odd"[..], 60));
        assert_eq!(odd.leaf(), canonical::hex(&tree::leaf(b"odd")));
    }
}
