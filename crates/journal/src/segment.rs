//! Segments: their names, their headers, and which ones there are.

use std::fmt;
use std::path::{Path, PathBuf};

use palisade_core::canonical;

use crate::error::{Damage, Error, Kind};
use crate::files::{self, Durability};

/// The highest segment format that this version reads, and the one it writes.
pub const FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"PALJRNL\n";

/// Number that tells one journal from every other one; random, made with the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalId(pub(crate) [u8; 16]);

impl fmt::Display for JournalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&canonical::hex(&self.0))
    }
}

impl JournalId {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut id = [0; 16];
        for (place, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
        }
        (Self(id).to_string() == text).then_some(Self(id))
    }
}

/// A place in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// First sequence of the segment, which names its file.
    pub segment: u64,
    /// Byte in that file.
    pub offset: u64,
}

/// Whose segments they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) origin: String,
    pub(crate) journal: JournalId,
}

impl Identity {
    /// The header of this journal's segment that begins with record `first`:
    /// `magic | format | first sequence | journal id | origin length | origin | crc32`.
    pub(crate) fn header(&self, first: u64) -> Vec<u8> {
        let origin = self.origin.as_bytes();
        let length = u16::try_from(origin.len()).expect("an origin has at most 200 bytes");
        let mut bytes = Vec::with_capacity(self.header_length());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&first.to_le_bytes());
        bytes.extend_from_slice(&self.journal.0);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(origin);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// Bytes of every header of this journal.
    pub(crate) const fn header_length(&self) -> usize {
        8 + 4 + 8 + 16 + 2 + self.origin.len() + 4
    }

    /// Compares a header as read with the one that segment `first` must have.
    pub(crate) fn check_header(&self, found: &[u8], first: u64) -> Result<(), Error> {
        if found == self.header(first) {
            return Ok(());
        }
        let kind = match whole_header(found) {
            Some(format) if format > FORMAT => {
                return Err(Error::NewerFormat { what: file_name(first), found: format, known: FORMAT });
            }
            // A whole header under the wrong name means that the file was renamed or copied.
            Some(_) => Kind::ForeignSegment,
            None => Kind::Header,
        };
        Err(Damage { file: file_name(first), offset: 0, sequence: first, kind }.into())
    }
}

/// The format that a header names, if it is whole.
fn whole_header(bytes: &[u8]) -> Option<u32> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let format = u32::from_le_bytes(*rest.first_chunk()?);
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let length = u16::from_le_bytes(bytes.get(36..38)?.try_into().ok()?);
    let origin_end = 38 + usize::from(length);
    // Another origin's length shifts the checksum, so it is looked for where that header says.
    let whole = match bytes.get(origin_end..origin_end + 4) {
        Some(own) => crc32fast::hash(&bytes[..origin_end]).to_le_bytes() == own,
        None => crc32fast::hash(body).to_le_bytes() == *crc,
    };
    whole.then_some(format)
}

/// File name of the segment that begins with record `first`.
pub(crate) fn file_name(first: u64) -> String {
    format!("{first:020}.plj")
}

pub(crate) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(file_name(first))
}

/// Creates the segment that begins with record `first`. It appears with its whole header, durably, or not at all.
pub(crate) fn create(dir: &Path, identity: &Identity, first: u64) -> Result<(), Error> {
    files::replace(&path(dir, first), &identity.header(first), 0o600, Durability::Power)
}

/// The segments of a folder with their lengths in bytes, in order: taken under the lock, it is a moment's picture.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listing(pub(crate) Vec<(u64, u64)>);

impl Listing {
    pub(crate) fn read(dir: &Path) -> Result<Self, Error> {
        let unreadable = || Error::unreadable("list", dir);
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(unreadable())? {
            let entry = entry.map_err(unreadable())?;
            let name = entry.file_name();
            let Some(first) = name.to_str().and_then(first_of) else { continue };
            let length = entry.metadata().map_err(Error::unreadable("look at", &entry.path()))?.len();
            segments.push((first, length));
        }
        segments.sort_unstable();
        Ok(Self(segments))
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.iter().map(|(_, length)| length).sum()
    }
}

fn first_of(name: &str) -> Option<u64> {
    let first = name.strip_suffix(".plj")?.parse().ok()?;
    (file_name(first) == name).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(origin: &str) -> Identity {
        Identity { origin: origin.into(), journal: JournalId([0xab; 16]) }
    }

    fn kind_of(result: Result<(), Error>) -> Kind {
        match result {
            Err(Error::Damaged(damage)) => damage.kind,
            other => panic!("not damage: {other:?}"),
        }
    }

    #[test]
    fn a_header_fits_its_own_journal_and_segment_only() {
        let own = identity("palisade/here");
        let header = own.header(5);
        assert_eq!(header.len(), own.header_length());
        own.check_header(&header, 5).unwrap();
        assert_eq!(kind_of(own.check_header(&header, 6)), Kind::ForeignSegment);
        assert_eq!(kind_of(own.check_header(&identity("palisade/else").header(5), 5)), Kind::ForeignSegment);
        assert_eq!(kind_of(own.check_header(&header[..9], 5)), Kind::Header);
    }

    #[test]
    fn every_flipped_byte_of_a_header_is_damage() {
        let own = identity("palisade/here");
        for place in 0..own.header_length() {
            let mut header = own.header(5);
            header[place] ^= 0x10;
            assert_eq!(kind_of(own.check_header(&header, 5)), Kind::Header, "byte {place}");
        }
    }

    #[test]
    fn a_segment_of_a_newer_format_is_refused_by_name() {
        let own = identity("palisade/here");
        let mut header = own.header(5);
        header[8] = 2;
        let end = header.len() - 4;
        let crc = crc32fast::hash(&header[..end]).to_le_bytes();
        header[end..].copy_from_slice(&crc);
        assert!(matches!(own.check_header(&header, 5), Err(Error::NewerFormat { found: 2, known: 1, .. })));
    }

    #[test]
    fn names_sort_as_numbers_and_other_files_are_no_segments() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["00000000000000000010.plj", "00000000000000000002.plj", "2.plj", "head", "lock", "x.plj"]
        {
            std::fs::write(folder.path().join(name), "abc").unwrap();
        }
        let listing = Listing::read(folder.path()).unwrap();
        assert_eq!(listing, Listing(vec![(2, 3), (10, 3)]));
        assert_eq!(listing.bytes(), 6);
    }

    #[test]
    fn a_journal_id_has_one_text() {
        let id = JournalId([0x0f; 16]);
        assert_eq!(JournalId::parse(&id.to_string()), Some(id));
        for text in ["", "0f", &id.to_string().to_uppercase(), "+f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f"] {
            assert_eq!(JournalId::parse(text), None, "{text:?}");
        }
    }
}
