//! Frames that wait to be written to one side, whole or in parts. Without any IO.

/// Frames that wait to be written. What was written of them is dropped at the end and not after each part: a list of
/// a megabyte goes out in many.
#[derive(Debug, Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
    /// Frames that wait for the end of the one that is under way.
    later: Vec<u8>,
    is_within: bool,
}

impl Outgoing {
    /// Puts a frame behind those that wait; the first one is taken as it is.
    pub fn push(&mut self, frame: Vec<u8>) {
        if self.is_within {
            self.later.extend(frame);
        } else {
            self.put(frame);
        }
    }

    /// As [`Self::push`], of the frame that is under way: with its end, unless it `goes_on`.
    pub fn push_part(&mut self, part: Vec<u8>, goes_on: bool) {
        self.put(part);
        self.is_within = goes_on;
        if !goes_on && !self.later.is_empty() {
            let later = std::mem::take(&mut self.later);
            self.put(later);
        }
    }

    fn put(&mut self, frame: Vec<u8>) {
        if self.is_empty() {
            (self.bytes, self.written) = (frame, 0);
            return;
        }
        if self.written > self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        self.bytes.extend(frame);
    }

    /// Bytes that are not written yet.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len() - self.written + self.later.len()
    }

    /// Whether there is nothing that could be written now.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// Bytes in memory.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.bytes.len() + self.later.len()
    }

    /// What can be written now.
    #[must_use]
    pub fn unwritten(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Notes that so many bytes of [`Self::unwritten`] were written.
    pub fn wrote(&mut self, count: usize) {
        self.written += count;
        if self.is_empty() {
            (self.bytes, self.written) = (Vec::new(), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_dropped_and_nothing_else() {
        let mut waiting = Outgoing::default();
        waiting.push(vec![1, 2, 3, 4]);
        waiting.written = 1;
        waiting.push(vec![5]);
        assert_eq!((waiting.len(), waiting.held()), (4, 5));
        waiting.written = 4;
        waiting.push(vec![6, 7]);
        assert_eq!((&waiting.bytes[waiting.written..], waiting.held()), (&[5, 6, 7][..], 3));
    }

    #[test]
    fn nothing_comes_into_the_middle_of_a_frame() {
        let mut waiting = Outgoing::default();
        waiting.push_part(vec![1], true);
        waiting.push(vec![9]);
        waiting.push_part(vec![2], true);
        assert_eq!((waiting.bytes.as_slice(), waiting.len()), (&[1, 2][..], 3));
        waiting.push_part(vec![3], false);
        waiting.push(vec![8]);
        assert_eq!(waiting.bytes, [1, 2, 3, 9, 8]);
    }
}
