//! One segment, read forward through a buffer that always shows the next whole frame.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::files;
use crate::frame::MAX_FRAME;
use crate::segment::{self, Identity};

/// Takes several frames of any size, so that a look at the next one seldom moves what is left.
const BUFFER: usize = 4 * MAX_FRAME;

/// What is left of a segment, up to the length that it had when the scan began.
#[derive(Debug)]
pub(crate) struct Window {
    path: PathBuf,
    file: File,
    length: u64,
    /// Byte of the segment at `buffer[start]`.
    offset: u64,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Window {
    /// Opens segment `first` behind its header, which is compared with `identity`'s.
    pub(crate) fn open(dir: &Path, identity: &Identity, (first, length): (u64, u64)) -> Result<Self, Error> {
        let path = segment::path(dir, first);
        let file = files::open(&path)?;
        let mut window = Self { path, file, length, offset: 0, buffer: vec![0; BUFFER], start: 0, end: 0 };
        let header = identity.header_length();
        let found = window.peek()?;
        identity.check_header(&found[..found.len().min(header)], first)?;
        window.advance(header);
        Ok(window)
    }

    /// Goes on at byte `offset`, which is not beyond the segment's end.
    pub(crate) fn seek(&mut self, offset: u64) {
        (self.offset, self.start, self.end) = (offset, 0, 0);
    }

    /// The next bytes: a frame of any size, or all that is left.
    pub(crate) fn peek(&mut self) -> Result<&[u8], Error> {
        if self.end - self.start < MAX_FRAME && self.unread() > 0 {
            self.refill()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// Goes on behind `length` bytes that [`Window::peek`] showed.
    pub(crate) fn advance(&mut self, length: usize) {
        self.start += length;
        self.offset += length as u64;
    }

    /// The last `length` bytes that were passed. Valid until the next `peek`.
    pub(crate) fn passed(&self, length: usize) -> &[u8] {
        &self.buffer[self.start - length..self.start]
    }

    /// Byte of the segment at which the next frame begins.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes from there to the segment's end.
    pub(crate) const fn left(&self) -> u64 {
        self.length.saturating_sub(self.offset)
    }

    /// Bytes of the segment that are not in the buffer yet.
    const fn unread(&self) -> u64 {
        self.left().saturating_sub((self.end - self.start) as u64)
    }

    fn refill(&mut self) -> Result<(), Error> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let space = (self.buffer.len() - self.end) as u64;
        let wanted = usize::try_from(self.unread().min(space)).expect("not more than the buffer takes");
        let target = &mut self.buffer[self.end..self.end + wanted];
        let from = self.offset + self.end as u64;
        self.file.read_exact_at(target, from).map_err(Error::unreadable("read", &self.path))?;
        self.end += wanted;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;
    use crate::segment::JournalId;

    fn identity() -> Identity {
        Identity { origin: "palisade/here".into(), journal: JournalId([1; 16]) }
    }

    fn segment_of(frames: u64, size: usize) -> (tempfile::TempDir, u64) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = identity().header(0);
        for sequence in 0..frames {
            bytes.extend(frame::encode(sequence, &vec![b'x'; size]).unwrap());
        }
        std::fs::write(segment::path(folder.path(), 0), &bytes).unwrap();
        (folder, bytes.len() as u64)
    }

    #[test]
    fn frames_that_cross_the_buffers_end_are_shown_whole() {
        let (folder, length) = segment_of(60, 150_000);
        assert!(length > 2 * BUFFER as u64);
        let mut window = Window::open(folder.path(), &identity(), (0, length)).unwrap();
        for sequence in 0..60 {
            let (found, size) =
                frame::decode(window.peek().unwrap()).map(|f| (f.sequence, f.length())).unwrap();
            assert_eq!(found, sequence);
            window.advance(size);
            assert_eq!(frame::decode(window.passed(size)).unwrap().sequence, sequence);
        }
        assert_eq!((window.left(), window.peek().unwrap().len()), (0, 0));
    }

    #[test]
    fn bytes_beyond_the_length_at_the_beginning_are_not_shown() {
        let (folder, length) = segment_of(2, 10);
        let frame = (frame::BEFORE + 10 + frame::AFTER) as u64;
        let mut window = Window::open(folder.path(), &identity(), (0, length - frame)).unwrap();
        assert_eq!(window.peek().unwrap().len() as u64, frame);
        assert_eq!(window.left(), frame);
    }

    #[test]
    fn a_segment_that_shrinks_while_it_is_read_is_an_error() {
        let (folder, length) = segment_of(2, 10);
        assert!(matches!(
            Window::open(folder.path(), &identity(), (0, length + 1)),
            Err(Error::Unreadable { .. })
        ));
    }

    #[test]
    fn seeking_goes_on_at_that_byte() {
        let (folder, length) = segment_of(3, 10);
        let mut window = Window::open(folder.path(), &identity(), (0, length)).unwrap();
        let second = window.offset() + (frame::BEFORE + 10 + frame::AFTER) as u64;
        window.seek(second);
        assert_eq!(frame::decode(window.peek().unwrap()).unwrap().sequence, 1);
    }
}
