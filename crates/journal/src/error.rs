//! What can go wrong, and how damage is named.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::frame::{Flaw, MAX_PAYLOAD};
use crate::scan::Cursor;
use crate::segment;

/// A journal that cannot be opened, appended to or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A write failed: disk full, read-only, no permission. Nothing was acknowledged.
    #[error("the journal cannot be written: {operation} {}", path.display())]
    Unwritable {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A read failed.
    #[error("the journal cannot be read: {operation} {}", path.display())]
    Unreadable {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The content was altered or is rotten. Never repaired silently.
    #[error("the journal is damaged: {0}")]
    Damaged(Damage),
    /// A record is larger than a frame takes.
    #[error(
        "the record has {bytes} bytes and the limit is {MAX_PAYLOAD}: refer to large content by its hash"
    )]
    TooLarge {
        /// Bytes of the record's canonical JSON.
        bytes: usize,
    },
    /// A payload is whole but is not a record that this version knows.
    #[error("record {sequence} cannot be read")]
    UnknownRecord {
        /// Number of the record.
        sequence: u64,
        /// What its JSON lacks.
        #[source]
        source: serde_json::Error,
    },
    /// A segment or record was written by a newer version.
    #[error("{what} has format {found}, and this version reads up to {known}")]
    NewerFormat {
        /// The segment or record.
        what: String,
        /// Its format.
        found: u32,
        /// The highest that is known.
        known: u32,
    },
    /// The signing key or the verifier key cannot be used.
    #[error("{} {problem}", path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        problem: KeyProblem,
    },
    /// A name that cannot be the origin of a signed head.
    #[error("{origin:?} cannot be an origin: 1 to 200 bytes without white space and \"+\"")]
    Origin {
        /// The name.
        origin: String,
    },
    /// The journal belongs to another origin.
    #[error("the journal's origin is {found:?}, and {expected:?} was asked for")]
    OtherOrigin {
        /// What was asked for.
        expected: String,
        /// What the journal says.
        found: String,
    },
    /// Text that is no signed head of a Palisade journal.
    #[error("{} holds no signed head", path.display())]
    NotAnAnchor {
        /// The file, or a name for the text.
        path: PathBuf,
    },
    /// An anchor is never replaced by an older or contradicting one.
    #[error("{} anchors {kept} records, which a head of {offered} records does not continue", path.display())]
    AnchorWouldGoBack {
        /// The anchor file.
        path: PathBuf,
        /// Records that it covers.
        kept: u64,
        /// Records that the new head covers.
        offered: u64,
    },
    /// An earlier flush failed, so that nobody knows what is on disk; open the journal again.
    #[error("an earlier write to the journal could not be made durable; open it again")]
    Poisoned,
}

impl Error {
    pub(crate) fn unwritable(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Unwritable { operation, path: path.to_owned(), source }
    }

    pub(crate) fn unreadable(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Unreadable { operation, path: path.to_owned(), source }
    }
}

/// Why a key file is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// The path is a symbolic link, a folder or a device.
    #[error("is not a regular file")]
    NotAFile,
    /// Group or others may read or write it.
    #[error("is accessible to group or others: it must have mode 0400 or 0600")]
    TooOpen,
    /// It belongs to another user.
    #[error("belongs to another user")]
    ForeignOwner,
    /// The content is no key.
    #[error("holds no key in note format")]
    Malformed,
    /// The key was made for another origin.
    #[error("was made for another origin")]
    OtherOrigin,
    /// A verifier key that does not belong to the signing key beside it.
    #[error("is not the public half of the signing key beside it")]
    OtherKey,
    /// There is a journal, and its key is gone.
    #[error("is missing, and the journal is not empty")]
    Missing,
}

/// Where a journal is damaged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// File in the journal's folder: a segment, `head` or `head.durable`; or `anchor`.
    pub file: String,
    /// Byte in that file.
    pub offset: u64,
    /// Number of the first record that cannot be vouched for.
    pub sequence: u64,
    /// What was found.
    pub kind: Kind,
}

impl Damage {
    /// Damage at a place in a segment.
    pub(crate) fn at(cursor: Cursor, kind: Kind) -> Self {
        let Cursor { position, sequence } = cursor;
        Self { file: segment::file_name(position.segment), offset: position.offset, sequence, kind }
    }

    /// Damage to a file that is no segment.
    pub(crate) fn of(file: &str, kind: Kind) -> Self {
        Self { file: file.to_owned(), offset: 0, sequence: 0, kind }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}, record {}: {}", self.file, self.offset, self.sequence, self.kind)
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

/// Kinds of damage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Kind {
    /// The bytes of one record are altered or rotten.
    #[error("{0}")]
    Frame(Flaw),
    /// Records are gone.
    #[error("records are missing: the next one is {found}")]
    Removed {
        /// Number of the record that comes instead.
        found: u64,
    },
    /// A record comes again.
    #[error("record {found} comes again")]
    Doubled {
        /// Its number.
        found: u64,
    },
    /// Two records have changed places.
    #[error("record {found} stands in its place")]
    Swapped {
        /// Number of the record that comes too early.
        found: u64,
    },
    /// The journal ends below its signed head.
    #[error("the journal ends here, and its signed head covers {signed} records")]
    TailCut {
        /// Records that the head covers.
        signed: u64,
    },
    /// The journal ends below an anchor, so that its own head was replaced, too.
    #[error("the journal ends here, and an anchor covers {anchored} records")]
    CutBelowAnchor {
        /// Records that the anchor covers.
        anchored: u64,
    },
    /// A segment's header is altered.
    #[error("the segment's header is damaged")]
    Header,
    /// A segment of another journal.
    #[error("the segment belongs to another journal")]
    ForeignSegment,
    /// Each record is whole, and the tree differs from what was signed.
    #[error("records from here to {until} are not those that were signed")]
    Rewritten {
        /// Number after the last record that may be altered.
        until: u64,
    },
    /// The same records stand at other places than the head says.
    #[error("the signed records end at another place than the head says")]
    Moved,
    /// There is no head, though there are records.
    #[error("the signed head is missing")]
    HeadMissing,
    /// The head's text or its frontier is altered.
    #[error("the head is damaged")]
    HeadDamaged,
    /// The signature was not made by the journal's key.
    #[error("the signature does not fit the text and the key")]
    Signature,
    /// The head is older than one that this process has seen.
    #[error("the head covers fewer records than the {seen} that were signed before")]
    HeadWentBack {
        /// Records that were covered.
        seen: u64,
    },
    /// The anchor belongs to another journal.
    #[error("the anchor belongs to another journal")]
    ForeignAnchor,
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn damage_names_file_byte_record_and_kind() {
        let damage = Damage {
            file: "00000000000000000000.plj".into(),
            offset: 78,
            sequence: 4,
            kind: Kind::Removed { found: 6 },
        };
        assert_eq!(
            Error::from(damage).to_string(),
            "the journal is damaged: 00000000000000000000.plj at byte 78, record 4: \
             records are missing: the next one is 6"
        );
    }

    #[test]
    fn the_cause_is_a_source_and_not_repeated_in_the_message() {
        let error = Error::unwritable("append to", Path::new("/j/a.plj"))(io::Error::other("disk on fire"));
        assert_eq!(error.to_string(), "the journal cannot be written: append to /j/a.plj");
        assert_eq!(error.source().unwrap().to_string(), "disk on fire");
    }
}
