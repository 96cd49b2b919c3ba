//! Reading backward from the end: what happened in the last minutes, without reading what came before.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Damage, Error, Kind};
use crate::files;
use crate::frame::{self, AFTER, Flaw};
use crate::reader::{Entry, look};
use crate::scan::{Cursor, Scan, Step};
use crate::segment::{self, Identity, Listing, Position};

/// The records from last to first, as they were at the call. Checks and ends as [`crate::Reader`] does.
///
/// # Errors
/// [`Error::Unreadable`] if there is no journal; [`Error::Damaged`] if its head or its unsigned tail is.
pub fn recent(dir: &Path) -> Result<Recent, Error> {
    let (head, listing) = look(dir)?;
    let identity = head.signed.identity.clone();
    let at = Cursor { position: head.signed.end, sequence: head.signed.size };
    // The way back starts where the signed records end; the few that may lie behind are read forward.
    let mut scan = Scan::from(dir, &identity, listing.clone(), at, head.signed.size)?;
    let mut unsigned = Vec::new();
    while let Step::Record { at, payload } = scan.step()? {
        unsigned.push(Entry::new(at, payload.to_vec()));
    }
    Ok(Recent { dir: dir.to_owned(), identity, listing, unsigned, at, open: None, failed: false })
}

/// See [`recent`].
#[derive(Debug)]
pub struct Recent {
    dir: PathBuf,
    identity: Identity,
    listing: Listing,
    unsigned: Vec<Entry>,
    at: Cursor,
    /// The segment that is being read, by its number.
    open: Option<(u64, File)>,
    failed: bool,
}

impl Recent {
    fn before(&mut self) -> Result<Entry, Error> {
        if self.at.position.offset <= self.identity.header_length() as u64 {
            self.at.position = self.end_of_previous()?;
        }
        let segment = self.at.position.segment;
        let path = segment::path(&self.dir, segment);
        let file = match self.open.take() {
            Some((open, file)) if open == segment => file,
            Some(_) | None => files::open(&path)?,
        };
        let (_, file) = self.open.insert((segment, file));
        let entry = entry_in(file, &path, &self.identity, self.at)?;
        self.at = entry.at();
        Ok(entry)
    }

    fn end_of_previous(&self) -> Result<Position, Error> {
        let Position { segment, .. } = self.at.position;
        let previous = self.listing.0.iter().rev().find(|(first, _)| *first < segment);
        let (segment, offset) = previous.ok_or_else(|| damage(self.at, Kind::Removed { found: segment }))?;
        Ok(Position { segment: *segment, offset: *offset })
    }
}

impl Iterator for Recent {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(entry) = self.unsigned.pop() {
            return Some(Ok(entry));
        }
        if self.failed || self.at.sequence == 0 {
            return None;
        }
        let entry = self.before();
        self.failed = entry.is_err();
        Some(entry)
    }
}

/// The record that ends right before `at`, which is not at a segment's begin.
pub(crate) fn entry_before(dir: &Path, identity: &Identity, at: Cursor) -> Result<Entry, Error> {
    let path = segment::path(dir, at.position.segment);
    entry_in(&files::open(&path)?, &path, identity, at)
}

fn entry_in(file: &File, path: &Path, identity: &Identity, at: Cursor) -> Result<Entry, Error> {
    let end = at.position.offset;
    let room = end.saturating_sub(identity.header_length() as u64);
    let mut tail = [0; AFTER];
    let tail_at = end.checked_sub(AFTER as u64).ok_or_else(|| damage(at, Kind::Frame(Flaw::Incomplete)))?;
    file.read_exact_at(&mut tail, tail_at).map_err(Error::unreadable("read", path))?;
    let length = frame::length_from_tail(tail).filter(|length| *length as u64 <= room);
    let length = length.ok_or_else(|| damage(at, Kind::Frame(Flaw::Length)))?;
    let mut bytes = vec![0; length];
    let offset = end - length as u64;
    file.read_exact_at(&mut bytes, offset).map_err(Error::unreadable("read", path))?;
    let found = frame::decode(&bytes).map_err(|flaw| damage(at, Kind::Frame(flaw)))?;
    if found.sequence.checked_add(1) != Some(at.sequence) || found.length() != length {
        return Err(damage(at, Kind::Removed { found: found.sequence }));
    }
    let position = Position { segment: at.position.segment, offset };
    Ok(Entry::new(Cursor { position, sequence: found.sequence }, found.payload.to_vec()))
}

fn damage(at: Cursor, kind: Kind) -> Error {
    Damage::at(Cursor { sequence: at.sequence.saturating_sub(1), ..at }, kind).into()
}
