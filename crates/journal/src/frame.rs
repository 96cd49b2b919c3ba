//! One record on disk: `magic | length | sequence | crc32 | payload | length`.
//!
//! The checksum tells a torn or rotten record from a whole one; it says nothing about intent. Against tampering
//! stands the tree. The sequence lets a removed, doubled or swapped record be named as such, and the length at
//! the end lets a reader walk backwards.

use palisade_core::ablation::{self, Check};

/// Largest payload in bytes. A record is a decision, not a dump: what is larger belongs into a bundle with its hash.
pub const MAX_PAYLOAD: usize = 1024 * 1024;

/// Bytes before the payload: magic, length (u32), sequence (u64), crc32 (u32); numbers are little-endian.
pub(crate) const BEFORE: usize = 20;
/// Bytes after the payload: the length again.
pub(crate) const AFTER: usize = 4;
/// Largest frame in bytes.
pub(crate) const MAX_FRAME: usize = BEFORE + MAX_PAYLOAD + AFTER;

/// The first byte occurs in no UTF-8 text, so no payload holds the magic.
const MAGIC: [u8; 4] = [0xf1, b'P', b'L', b'J'];

/// A whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) sequence: u64,
    pub(crate) payload: &'a [u8],
}

impl Frame<'_> {
    /// Bytes on disk.
    pub(crate) const fn length(&self) -> usize {
        BEFORE + self.payload.len() + AFTER
    }
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The bytes end within the frame.
    #[error("the record is incomplete")]
    Incomplete,
    /// There is no record's mark.
    #[error("no record begins here")]
    Magic,
    /// The length is beyond [`MAX_PAYLOAD`], or the one at the end differs.
    #[error("the record's length is damaged")]
    Length,
    /// The checksum over sequence, length and payload differs.
    #[error("the record's checksum does not match its bytes")]
    Checksum,
}

/// The frame of `payload` as record number `sequence`, or `None` if the payload is larger than [`MAX_PAYLOAD`].
pub(crate) fn encode(sequence: u64, payload: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= MAX_PAYLOAD)?;
    let mut bytes = Vec::with_capacity(BEFORE + payload.len() + AFTER);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&checksum(sequence, payload).to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&length.to_le_bytes());
    Some(bytes)
}

/// The frame that `bytes` begin with.
pub(crate) fn decode(bytes: &[u8]) -> Result<Frame<'_>, Flaw> {
    let (magic, rest) = bytes.split_first_chunk::<4>().ok_or(Flaw::Incomplete)?;
    if *magic != MAGIC {
        return Err(Flaw::Magic);
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(Flaw::Incomplete)?;
    let (sequence, rest) = rest.split_first_chunk::<8>().ok_or(Flaw::Incomplete)?;
    let (crc, rest) = rest.split_first_chunk::<4>().ok_or(Flaw::Incomplete)?;
    let size = u32::from_le_bytes(*length) as usize;
    if size > MAX_PAYLOAD {
        return Err(Flaw::Length);
    }
    let (payload, rest) = rest.split_at_checked(size).ok_or(Flaw::Incomplete)?;
    let again = rest.first_chunk::<4>().ok_or(Flaw::Incomplete)?;
    if again != length {
        return Err(Flaw::Length);
    }
    let sequence = u64::from_le_bytes(*sequence);
    if u32::from_le_bytes(*crc) != checksum(sequence, payload) && !ablation::is_off(Check::JournalIntegrity) {
        return Err(Flaw::Checksum);
    }
    Ok(Frame { sequence, payload })
}

/// Length of the frame whose last four bytes are `tail`, if it can be one.
pub(crate) fn length_from_tail(tail: [u8; AFTER]) -> Option<usize> {
    let size = u32::from_le_bytes(tail) as usize;
    (size <= MAX_PAYLOAD).then_some(BEFORE + size + AFTER)
}

/// Whether a whole frame begins anywhere in `bytes`.
pub(crate) fn any_whole_frame(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|start| bytes[start] == MAGIC[0] && decode(&bytes[start..]).is_ok())
}

fn checksum(sequence: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sequence.to_le_bytes());
    hasher.update(&(payload.len() as u64).to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_comes_back_from_its_bytes_and_what_follows_is_left_alone() {
        let mut bytes = encode(7, b"payload").unwrap();
        let length = bytes.len();
        bytes.extend_from_slice(b"more");
        let frame = decode(&bytes).unwrap();
        assert_eq!(frame, Frame { sequence: 7, payload: b"payload" });
        assert_eq!(frame.length(), length);
    }

    #[test]
    fn every_shorter_prefix_is_incomplete() {
        let bytes = encode(7, b"payload").unwrap();
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Err(Flaw::Incomplete), "{end} bytes");
        }
    }

    #[test]
    fn every_flipped_bit_is_a_flaw() {
        let bytes = encode(7, b"payload").unwrap();
        for place in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[place / 8] ^= 1 << (place % 8);
            assert!(decode(&flipped).is_err(), "bit {place}");
        }
    }

    #[test]
    fn a_payload_beyond_the_limit_has_no_frame() {
        assert!(encode(0, &vec![b'x'; MAX_PAYLOAD]).is_some());
        assert!(encode(0, &vec![b'x'; MAX_PAYLOAD + 1]).is_none());
        assert_eq!(length_from_tail((MAX_PAYLOAD as u32).to_le_bytes()), Some(MAX_FRAME));
        assert_eq!(length_from_tail((MAX_PAYLOAD as u32 + 1).to_le_bytes()), None);
    }

    #[test]
    fn a_whole_frame_is_found_behind_garbage() {
        let mut bytes = vec![0xf1, b'P', 0, 3, 0xf1];
        assert!(!any_whole_frame(&bytes));
        bytes.extend(encode(3, b"{}").unwrap());
        assert!(any_whole_frame(&bytes));
        bytes.pop();
        assert!(!any_whole_frame(&bytes));
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80), magic in any::<bool>()) {
            let mut bytes = bytes;
            if magic && bytes.len() >= 4 {
                bytes[..4].copy_from_slice(&MAGIC);
            }
            if let Ok(frame) = decode(&bytes) {
                prop_assert!(frame.length() <= bytes.len());
            }
        }
    }
}
