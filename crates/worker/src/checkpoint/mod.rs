//! Where checkpoints lie, and how they are read again.
//!
//! The bytes are put first, under a key that nobody else can make and that is never overwritten; the row in the store
//! of jobs follows. So a row always points at bytes that were there, and what is not in a row was never promised.

mod place;
mod resume;

pub use place::{Access, NoPlace, Place, PutError, ReadError};
pub use resume::{Bad, Found};

/// A checkpoint has at most so many bytes: 64 MiB. It goes through memory, in one piece.
pub const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// So many checkpoints of a job are kept, the newest ones.
pub const KEPT: usize = 3;
