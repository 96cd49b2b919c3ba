//! An append-only, tamper-evident log of decisions: RFC 6962 tree, signed heads, crc-guarded records.
//!
//! A journal is a folder. Several processes append to it, one record at a time, under a file lock
//! ([`Journal::append`]); a receipt is given out only once the record is durable. Each record is a frame with a
//! checksum in a segment (`00000000000000000000.plj`), a leaf of one SHA-256 tree, and covered by the signed
//! head that is written after it. The checksum answers "is it whole", the tree answers "is it what was written".
//!
//! ## What a crash leaves
//! * Within the frame: an incomplete last record. It was never acknowledged; the next append cuts it off, and
//!   [`Journal::recovered`] says what to record about it.
//! * Between frame and head: a whole record without a signature. It is read, checked and signed with the next.
//!
//! Anything else that does not fit is [`Error::Damaged`], named by file, byte, record and kind, and never
//! repaired.
//!
//! ## What it does not show
//! Whoever holds the key can write another journal; whoever can write the folder can put an older one back,
//! head included. Only a signed head that is kept elsewhere, an [`Anchor`], shows that.

mod anchor;
mod base64;
mod begin;
mod error;
mod files;
mod frame;
mod head;
mod journal;
mod key;
mod lock;
mod note;
mod reader;
mod recent;
mod reserve;
mod scan;
mod segment;
mod stat;
mod tree;
mod verify;
mod window;

pub use anchor::{Anchor, parse_anchors, read_anchors, write_anchor};
pub use error::{Damage, Error, KeyProblem, Kind};
pub use frame::{Flaw, MAX_PAYLOAD};
pub use head::signed_head;
pub use journal::{Journal, Limits};
pub use key::public_path;
pub use note::{SignedHead, VerifierKey};
pub use reader::{Entry, Reader};
pub use recent::{Recent, recent};
pub use scan::Cursor;
pub use segment::{FORMAT, JournalId, Position};
pub use stat::{Stat, stat};
pub use tree::{Frontier, Hash, leaf};
pub use verify::{Verified, verify};
