//! Bytes that pass unread between a client and the daemon, and where their frames begin and end. Without any IO.
//!
//! Nothing is checked and nothing is kept: whatever the two say to each other passes. Only who wants to read again later
//! has to know where a frame ends, and whether each request has its reply.

/// Bytes of an argument's length.
const LENGTH: usize = 4;

/// Both directions of one connection.
#[derive(Debug, Default)]
pub struct Passage {
    requests: Direction,
    replies: Direction,
}

/// Where one direction stands.
#[derive(Debug, Default)]
struct Direction {
    /// Frames that have begun.
    begun: u64,
    /// Arguments of the frame that is under way which have not ended; 0 between two frames.
    args: u8,
    /// The length of the argument that is under way, as far as it has come.
    length: [u8; LENGTH],
    known: usize,
    /// Bytes that are left of it.
    left: usize,
}

impl Passage {
    /// Takes bytes of the client and says how many of them pass: all, or without `may_begin` those up to the end of
    /// the request that has begun.
    pub fn requests(&mut self, bytes: &[u8], may_begin: bool) -> usize {
        self.requests.take(bytes, may_begin)
    }

    /// Takes bytes of the daemon, which all pass.
    pub fn replies(&mut self, bytes: &[u8]) {
        self.replies.take(bytes, true);
    }

    /// Requests that have begun.
    #[must_use]
    pub const fn begun(&self) -> u64 {
        self.requests.begun
    }

    /// Whether both directions are between two frames, and as many replies came as requests went.
    #[must_use]
    pub const fn is_at_rest(&self) -> bool {
        self.requests.args == 0 && self.replies.args == 0 && self.replies.begun >= self.requests.begun
    }
}

impl Direction {
    fn take(&mut self, bytes: &[u8], may_begin: bool) -> usize {
        let mut at = 0;
        while at < bytes.len() && (self.args > 0 || may_begin) {
            at += self.step(&bytes[at..]);
        }
        at
    }

    /// Takes one byte of a head, or what is there of an argument. `bytes` is not empty.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.args == 0 {
            self.begun += 1;
            // The version is not looked at, and a frame without arguments ends where it begins: as PM2 does it.
            self.args = bytes[0] & 0x0f;
            return 1;
        }
        let taken = if self.known < LENGTH {
            self.length[self.known] = bytes[0];
            self.known += 1;
            self.left = u32::from_be_bytes(self.length) as usize;
            1
        } else {
            let taken = self.left.min(bytes.len());
            self.left -= taken;
            taken
        };
        if self.known == LENGTH && self.left == 0 {
            self.known = 0;
            self.args -= 1;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Arg, encode};

    fn frames() -> Vec<Vec<u8>> {
        let odd = vec![vec![0x20], vec![0x31, 0, 0, 0, 0]];
        let whole = [vec![Arg::Json("{}"), Arg::Text("1:1")], vec![Arg::Blob(b"")], vec![Arg::Text("x"); 15]];
        whole.iter().map(|args| encode(args).unwrap()).chain(odd).collect()
    }

    #[test]
    fn frames_are_counted_wherever_the_bytes_are_cut() {
        let bytes = frames().concat();
        for cut in 0..=bytes.len() {
            let mut passage = Passage::default();
            for part in [&bytes[..cut], &bytes[cut..]] {
                assert_eq!(passage.requests(part, true), part.len());
            }
            assert!(passage.begun() == 5 && !passage.is_at_rest(), "no reply has come");
            bytes.chunks(cut.max(1)).for_each(|part| passage.replies(part));
            assert!(passage.is_at_rest(), "cut at {cut}");
        }
    }

    #[test]
    fn what_has_begun_passes_to_its_end_and_no_further() {
        let next = encode(&[Arg::Json("[]"), Arg::Text("2:1")]).unwrap();
        for frame in frames() {
            for cut in 1..=frame.len() {
                let mut passage = Passage::default();
                passage.requests(&frame[..cut], true);
                let rest = [&frame[cut..], &next].concat();
                assert_eq!(passage.requests(&rest, false), frame.len() - cut, "cut at {cut}");
                assert_eq!((passage.requests(&next, false), passage.begun()), (0, 1));
            }
        }
    }
}
