//! The one way forward through the records, shared by recovery, reading and verification.
//!
//! It checks what needs no tree: headers, checksums, and that the sequence has no gap and no repeat. It tells a
//! torn last record, which a crash explains, from damage, which nothing explains. Torn can only be what lies
//! beyond the signed head, at the very end, with no whole record behind it: appends are one at a time, each is
//! flushed before the next, and the head is written after the record.

use std::path::{Path, PathBuf};

use crate::error::{Damage, Error, Kind};
use crate::frame::{self, AFTER, BEFORE, Flaw, MAX_FRAME};
use crate::segment::{Identity, Listing, Position};
use crate::window::Window;

/// Where a record begins, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Where.
    pub position: Position,
    /// Number of the record.
    pub sequence: u64,
}

/// An incomplete last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Torn {
    pub(crate) at: Cursor,
    pub(crate) bytes: u64,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// A whole record.
    Record { at: Cursor, payload: &'a [u8] },
    /// The end, and an incomplete record.
    Torn(Torn),
    /// The end.
    End,
}

/// A walk over the segments of a listing.
#[derive(Debug)]
pub(crate) struct Scan {
    dir: PathBuf,
    identity: Identity,
    segments: Vec<(u64, u64)>,
    current: usize,
    window: Window,
    expected: u64,
    signed: u64,
}

impl Scan {
    /// From the first record on. Records below `signed` are covered by a head and cannot be torn.
    pub(crate) fn all(dir: &Path, identity: &Identity, listing: Listing, signed: u64) -> Result<Self, Error> {
        let position = Position { segment: 0, offset: identity.header_length() as u64 };
        Self::from(dir, identity, listing, Cursor { position, sequence: 0 }, signed)
    }

    /// From `cursor` on.
    pub(crate) fn from(
        dir: &Path,
        identity: &Identity,
        listing: Listing,
        cursor: Cursor,
        signed: u64,
    ) -> Result<Self, Error> {
        let Listing(segments) = listing;
        let Cursor { position, sequence } = cursor;
        // The cursor is where known records end, so what is missing begins with the last of them.
        let gone = |kind| Damage::at(Cursor { position, sequence: sequence.saturating_sub(1) }, kind);
        let Some(current) = segments.iter().position(|(first, _)| *first == position.segment) else {
            let next = segments.iter().map(|(first, _)| *first).find(|first| *first > position.segment);
            let kind = next.map_or(Kind::TailCut { signed }, |found| Kind::Removed { found });
            return Err(gone(kind).into());
        };
        let mut window = Window::open(dir, identity, segments[current])?;
        if segments[current].1 < position.offset {
            return Err(gone(Kind::TailCut { signed }).into());
        }
        window.seek(position.offset);
        let (dir, identity) = (dir.to_owned(), identity.clone());
        Ok(Self { dir, identity, segments, current, window, expected: sequence, signed })
    }

    /// Where the next record begins, or will.
    pub(crate) fn cursor(&self) -> Cursor {
        let (segment, _) = self.segments[self.current];
        Cursor { position: Position { segment, offset: self.window.offset() }, sequence: self.expected }
    }

    /// The next record, or how the journal ends.
    pub(crate) fn step(&mut self) -> Result<Step<'_>, Error> {
        let length = loop {
            let found = frame::decode(self.window.peek()?).map(|found| (found.sequence, found.length()));
            match found {
                Ok((sequence, length)) if sequence == self.expected => break length,
                Ok((sequence, length)) => return Err(self.out_of_order(sequence, length)?),
                Err(flaw) if self.window.left() > 0 => return self.flawed(flaw),
                Err(_nothing_left) if self.is_last() => return self.end(),
                Err(_nothing_left) => self.enter_next()?,
            }
        };
        let at = self.cursor();
        self.window.advance(length);
        self.expected += 1;
        let bytes = self.window.passed(length);
        Ok(Step::Record { at, payload: &bytes[BEFORE..length - AFTER] })
    }

    fn is_last(&self) -> bool {
        self.current + 1 == self.segments.len()
    }

    fn enter_next(&mut self) -> Result<(), Error> {
        let next = self.segments[self.current + 1];
        let (first, _) = next;
        if first != self.expected {
            let (found, ahead) = (first, first > self.expected);
            return Err(self.damage(if ahead { Kind::Removed { found } } else { Kind::Doubled { found } }));
        }
        self.window = Window::open(&self.dir, &self.identity, next)?;
        self.current += 1;
        Ok(())
    }

    fn end(&self) -> Result<Step<'_>, Error> {
        if self.expected < self.signed {
            return Err(self.damage(Kind::TailCut { signed: self.signed }));
        }
        Ok(Step::End)
    }

    /// The bytes at the cursor are no whole frame.
    fn flawed(&mut self, flaw: Flaw) -> Result<Step<'_>, Error> {
        let (left, at) = (self.window.left(), self.cursor());
        let rest = self.window.peek()?;
        let rest = &rest[..rest.len().min(MAX_FRAME)];
        let trailer = rest.last_chunk().copied().and_then(frame::length_from_tail);
        let at_end = self.current + 1 == self.segments.len() && left <= MAX_FRAME as u64;
        let followed = at_end && frame::any_whole_frame(&rest[1..]);
        if at_end && !followed && self.expected >= self.signed {
            return Ok(Step::Torn(Torn { at, bytes: left }));
        }
        // A frame whose own end is there was not cut, whatever its damaged length says.
        let ends_well = trailer == Some(rest.len());
        let cut = at_end && flaw == Flaw::Incomplete && !followed && !ends_well;
        let kind = if cut { Kind::TailCut { signed: self.signed } } else { Kind::Frame(flaw) };
        Err(self.damage(kind))
    }

    /// The frame at the cursor is whole and has another number than its place.
    fn out_of_order(&mut self, found: u64, length: usize) -> Result<Error, Error> {
        if found < self.expected {
            return Ok(self.damage(Kind::Doubled { found }));
        }
        let behind = self.window.peek()?.get(length..).unwrap_or_default();
        let swapped = frame::decode(behind).is_ok_and(|next| next.sequence == self.expected);
        Ok(self.damage(if swapped { Kind::Swapped { found } } else { Kind::Removed { found } }))
    }

    fn damage(&self, kind: Kind) -> Error {
        Damage::at(self.cursor(), kind).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{self, JournalId};

    fn identity() -> Identity {
        Identity { origin: "palisade/here".into(), journal: JournalId([1; 16]) }
    }

    /// The first sequence of a segment, and the sequences of its frames.
    type Frames<'a> = (u64, &'a [u64]);

    /// Segments as lists of sequences, each a frame, with `tail` behind the last.
    fn folder(segments: &[Frames<'_>], tail: &[u8]) -> (tempfile::TempDir, Listing) {
        let folder = tempfile::tempdir().unwrap();
        for (place, (first, sequences)) in segments.iter().enumerate() {
            let mut bytes = identity().header(*first);
            for sequence in *sequences {
                bytes.extend(frame::encode(*sequence, format!("record {sequence}").as_bytes()).unwrap());
            }
            if place + 1 == segments.len() {
                bytes.extend_from_slice(tail);
            }
            std::fs::write(segment::path(folder.path(), *first), bytes).unwrap();
        }
        let listing = Listing::read(folder.path()).unwrap();
        (folder, listing)
    }

    /// Number of records, bytes that are torn, or the damage.
    fn outcome(segments: &[Frames<'_>], tail: &[u8], signed: u64) -> Result<(u64, u64), (u64, Kind)> {
        let (folder, listing) = folder(segments, tail);
        let walk = || {
            let mut scan = Scan::all(folder.path(), &identity(), listing, signed)?;
            loop {
                match scan.step()? {
                    Step::Record { at, payload } => {
                        assert_eq!(payload, format!("record {}", at.sequence).as_bytes());
                    }
                    Step::Torn(torn) => return Ok((torn.at.sequence, torn.bytes)),
                    Step::End => return Ok((scan.cursor().sequence, 0)),
                }
            }
        };
        walk().map_err(|error| match error {
            Error::Damaged(damage) => (damage.sequence, damage.kind),
            other => panic!("not damage: {other}"),
        })
    }

    #[test]
    fn records_in_order_are_walked_across_segments() {
        assert_eq!(outcome(&[(0, &[])], b"", 0), Ok((0, 0)));
        assert_eq!(outcome(&[(0, &[0, 1, 2])], b"", 3), Ok((3, 0)));
        assert_eq!(outcome(&[(0, &[0, 1]), (2, &[2]), (3, &[])], b"", 3), Ok((3, 0)));
    }

    #[test]
    fn what_is_out_of_order_is_named_by_what_stands_there() {
        let table: [(&[Frames<'_>], (u64, Kind)); 9] = [
            (&[(0, &[0, 2, 3])], (1, Kind::Removed { found: 2 })),
            (&[(0, &[0, 2])], (1, Kind::Removed { found: 2 })),
            (&[(0, &[1, 2])], (0, Kind::Removed { found: 1 })),
            (&[(0, &[0, 1, 1, 2])], (2, Kind::Doubled { found: 1 })),
            (&[(0, &[0, 1, 0])], (2, Kind::Doubled { found: 0 })),
            (&[(0, &[0, 2, 1, 3])], (1, Kind::Swapped { found: 2 })),
            (&[(0, &[0]), (2, &[2])], (1, Kind::Removed { found: 2 })),
            (&[(0, &[0, 1, 2]), (2, &[2])], (3, Kind::Doubled { found: 2 })),
            (&[(0, &[0]), (1, &[2])], (1, Kind::Removed { found: 2 })),
        ];
        for (segments, expected) in table {
            // The same whether a head covers the records or not: a crash explains none of it.
            for signed in [0, 3] {
                assert_eq!(outcome(segments, b"", signed), Err(expected.clone()), "{segments:?}");
            }
        }
    }

    #[test]
    fn an_incomplete_end_is_torn_beyond_the_head_and_cut_below_it() {
        let half = &frame::encode(2, b"record 2").unwrap()[..15];
        assert_eq!(outcome(&[(0, &[0, 1])], half, 2), Ok((2, 15)));
        assert_eq!(outcome(&[(0, &[0, 1])], half, 0), Ok((2, 15)));
        assert_eq!(outcome(&[(0, &[0, 1])], half, 3), Err((2, Kind::TailCut { signed: 3 })));
        assert_eq!(outcome(&[(0, &[0, 1])], b"", 3), Err((2, Kind::TailCut { signed: 3 })));
    }

    #[test]
    fn a_damaged_end_is_torn_beyond_the_head_and_named_below_it() {
        let mut flipped = frame::encode(2, b"record 2").unwrap();
        flipped[22] ^= 1;
        assert_eq!(outcome(&[(0, &[0, 1])], &flipped, 2), Ok((2, flipped.len() as u64)));
        assert_eq!(outcome(&[(0, &[0, 1])], &flipped, 3), Err((2, Kind::Frame(Flaw::Checksum))));
        let mut longer = frame::encode(2, b"record 2").unwrap();
        longer[4] += 1;
        assert_eq!(outcome(&[(0, &[0, 1])], &longer, 3), Err((2, Kind::Frame(Flaw::Incomplete))));
    }

    #[test]
    fn an_end_that_no_single_append_can_have_left_is_damage() {
        let mut followed = vec![0; 30];
        followed.extend(frame::encode(3, b"record 3").unwrap());
        assert_eq!(outcome(&[(0, &[0, 1])], &followed, 2), Err((2, Kind::Frame(Flaw::Magic))));
        assert_eq!(outcome(&[(0, &[0, 1])], &vec![0; MAX_FRAME], 2), Ok((2, MAX_FRAME as u64)));
        assert_eq!(outcome(&[(0, &[0, 1])], &vec![0; MAX_FRAME + 1], 2), Err((2, Kind::Frame(Flaw::Magic))));
    }

    #[test]
    fn an_incomplete_record_in_a_segment_that_is_not_the_last_is_damage() {
        let (folder, _) = folder(&[(0, &[0, 1]), (2, &[2])], b"");
        let path = segment::path(folder.path(), 0);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 1);
        std::fs::write(&path, bytes).unwrap();
        let listing = Listing::read(folder.path()).unwrap();
        let mut scan = Scan::all(folder.path(), &identity(), listing, 0).unwrap();
        assert!(matches!(scan.step(), Ok(Step::Record { .. })));
        assert!(matches!(scan.step(), Err(Error::Damaged(Damage { sequence: 1, kind: Kind::Frame(_), .. }))));
    }

    #[test]
    fn a_walk_from_the_middle_goes_on_with_the_right_number() {
        let (folder, listing) = folder(&[(0, &[0, 1]), (2, &[2, 3])], b"");
        let mut scan = Scan::all(folder.path(), &identity(), listing.clone(), 4).unwrap();
        for _ in 0..3 {
            scan.step().unwrap();
        }
        let mut later = Scan::from(folder.path(), &identity(), listing, scan.cursor(), 4).unwrap();
        assert!(matches!(
            later.step(),
            Ok(Step::Record { at: Cursor { sequence: 3, .. }, payload: b"record 3" })
        ));
        assert!(matches!(later.step(), Ok(Step::End)));
    }

    #[test]
    fn a_place_beyond_the_end_means_that_the_tail_was_cut() {
        let (folder, listing) = folder(&[(0, &[0, 1])], b"");
        for position in [Position { segment: 0, offset: 5000 }, Position { segment: 2, offset: 60 }] {
            let cursor = Cursor { position, sequence: 3 };
            let found = Scan::from(folder.path(), &identity(), listing.clone(), cursor, 3);
            assert!(matches!(found, Err(Error::Damaged(Damage { kind: Kind::TailCut { signed: 3 }, .. }))));
        }
    }
}
