//! The frames that PM2's daemon and its clients exchange (AMP version 1), without any IO.
//!
//! A frame is one byte (`version << 4 | count of arguments`), then for each argument its length as a big-endian
//! `u32` and its bytes. An argument that begins with `j:` is JSON, one that begins with `s:` is text, any other
//! is a blob. There is no length of the whole and no checksum, so a reader has to set its own bounds: here
//! [`FRAME_CAP`] bytes and [`MAX_ARGS`] arguments, checked as soon as a length is announced and before anything
//! is set aside for it. Both sockets of PM2, `rpc.sock` and `pub.sock`, use this format.

use std::ops::Range;

/// Largest frame that is read or written, in bytes. A list of 200 processes is about 1.1 MB.
pub const FRAME_CAP: usize = 16 * 1024 * 1024;

/// Most arguments in one frame: the count has four bits.
pub const MAX_ARGS: usize = 15;

/// The version that PM2 writes into each frame.
const VERSION: u8 = 1;

/// Bytes of an argument's length.
const LENGTH: usize = 4;

/// Bytes that are taken at once: more would cost more in fresh pages than it saves in calls to the kernel.
const ROOM: usize = 64 * 1024;

/// One argument of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arg<'a> {
    /// JSON text, without its `j:`. Not parsed here.
    Json(&'a str),
    /// Text, without its `s:`.
    Text(&'a str),
    /// Bytes as they are.
    Blob(&'a [u8]),
}

/// A frame that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// None, or more than [`MAX_ARGS`].
    #[error("a frame has 1 to {MAX_ARGS} arguments, not {0}")]
    Count(usize),
    /// Larger than [`FRAME_CAP`].
    #[error("a frame of {0} bytes is above the cap of {FRAME_CAP}")]
    TooLarge(usize),
    /// A blob that a reader would take for JSON or text.
    #[error("a blob that begins with `j:` or `s:` would be read as JSON or text")]
    AmbiguousBlob,
}

/// Bytes that are no frame. The connection cannot be used any further: where the next frame begins is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The first byte names another version.
    #[error("a frame of version {0}, expected {VERSION}")]
    Version(u8),
    /// A frame without arguments: no peer sends one, and PM2's own reader hangs on it.
    #[error("a frame without arguments")]
    Empty,
    /// The announced lengths exceed the decoder's cap.
    #[error("a frame of at least {announced} bytes was announced, the cap is {cap}")]
    TooLarge {
        /// Bytes that were announced so far.
        announced: usize,
        /// The decoder's cap.
        cap: usize,
    },
    /// JSON or text that is not UTF-8.
    #[error("argument {0} is tagged as text and is not UTF-8")]
    NotText(usize),
}

/// The bytes of one frame.
///
/// # Errors
/// No arguments or too many, more than [`FRAME_CAP`] bytes, or a blob that would be read as something else.
pub fn encode(args: &[Arg<'_>]) -> Result<Vec<u8>, EncodeError> {
    let count = u8::try_from(args.len()).unwrap_or(u8::MAX);
    if args.is_empty() || args.len() > MAX_ARGS {
        return Err(EncodeError::Count(args.len()));
    }
    let size = args.iter().fold(1, |size: usize, arg| size.saturating_add(LENGTH).saturating_add(arg.size()));
    if size > FRAME_CAP {
        return Err(EncodeError::TooLarge(size));
    }
    let mut bytes = Vec::with_capacity(size);
    bytes.push(VERSION << 4 | count);
    for arg in args {
        let (tag, content) = arg.parts();
        if tag.is_empty() && (content.starts_with(b"j:") || content.starts_with(b"s:")) {
            return Err(EncodeError::AmbiguousBlob);
        }
        let length = u32::try_from(arg.size()).map_err(|_| EncodeError::TooLarge(size))?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(tag);
        bytes.extend_from_slice(content);
    }
    Ok(bytes)
}

impl<'a> Arg<'a> {
    const fn parts(&self) -> (&'static [u8], &'a [u8]) {
        match self {
            Self::Json(json) => (b"j:", json.as_bytes()),
            Self::Text(text) => (b"s:", text.as_bytes()),
            Self::Blob(bytes) => (b"", bytes),
        }
    }

    const fn size(&self) -> usize {
        let (tag, content) = self.parts();
        tag.len() + content.len()
    }

    fn read(bytes: &'a [u8]) -> Result<Self, std::str::Utf8Error> {
        if let Some(json) = bytes.strip_prefix(b"j:") {
            return Ok(Self::Json(std::str::from_utf8(json)?));
        }
        if let Some(text) = bytes.strip_prefix(b"s:") {
            return Ok(Self::Text(std::str::from_utf8(text)?));
        }
        Ok(Self::Blob(bytes))
    }
}

/// A whole frame, with its bytes. Debug tells the shape and no content, for frames carry secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Vec<u8>,
    args: Vec<Range<usize>>,
}

impl Frame {
    /// The arguments, in order.
    ///
    /// # Errors
    /// [`DecodeError::NotText`] if one is tagged as JSON or text and is not UTF-8.
    pub fn args(&self) -> Result<Vec<Arg<'_>>, DecodeError> {
        let read = |(index, range): (usize, &Range<usize>)| {
            Arg::read(&self.bytes[range.clone()]).map_err(|_| DecodeError::NotText(index))
        };
        self.args.iter().enumerate().map(read).collect()
    }

    /// The arguments as they came, tags and all.
    pub(crate) fn raw_args(&self) -> Vec<&[u8]> {
        self.args.iter().map(|range| &self.bytes[range.clone()]).collect()
    }

    /// The last argument, if that is text.
    #[must_use]
    pub fn last_text(&self) -> Option<&str> {
        match Arg::read(&self.bytes[self.args.last()?.clone()]) {
            Ok(Arg::Text(text)) => Some(text),
            Ok(Arg::Json(_) | Arg::Blob(_)) | Err(_) => None,
        }
    }

    /// The frame as it came.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The frame with another text in the place of its last argument, without a copy of the others.
    ///
    /// # Errors
    /// It would be above [`FRAME_CAP`].
    pub fn with_last_text(self, text: &str) -> Result<Vec<u8>, EncodeError> {
        let Self { mut bytes, args } = self;
        let start = args.last().map_or(1, |range| range.start.saturating_sub(LENGTH));
        let last = Arg::Text(text);
        let size = start.saturating_add(LENGTH).saturating_add(last.size());
        let length = u32::try_from(last.size()).map_err(|_| EncodeError::TooLarge(size))?;
        if size > FRAME_CAP {
            return Err(EncodeError::TooLarge(size));
        }
        bytes.truncate(start);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(b"s:");
        bytes.extend_from_slice(text.as_bytes());
        Ok(bytes)
    }

    /// The frame as it came, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({} args, {} bytes)", self.args.len(), self.bytes.len())
    }
}

/// Finds frames in bytes that arrive in any pieces.
///
/// Memory is bounded by what has arrived: an announced length sets nothing aside. After an error every later
/// call gives the same error.
pub struct Decoder {
    /// Largest frame that is taken, in bytes.
    cap: usize,
    buffer: Vec<u8>,
    /// Where the frame that is being read begins in the buffer.
    head: usize,
    /// How many arguments that frame has; 0 until its first byte is here.
    count: usize,
    /// Bytes of it that were given out or forgotten. They are in the buffer no more.
    given: usize,
    /// Arguments of that frame whose lengths have been read, counted from its beginning.
    args: Vec<Range<usize>>,
    failed: Option<DecodeError>,
}

impl Decoder {
    /// A decoder at the beginning of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self::capped(FRAME_CAP)
    }

    /// A decoder that takes frames of at most `cap` bytes: a server need not take what a client must.
    #[must_use]
    pub fn capped(cap: usize) -> Self {
        let cap = cap.min(FRAME_CAP);
        Self { cap, buffer: Vec::new(), head: 0, count: 0, given: 0, args: Vec::new(), failed: None }
    }

    /// Takes bytes that arrived. After an error they are dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Bytes of an incomplete frame, or of frames that were not asked for yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.head
    }

    /// Takes what has arrived and was not given out as a frame, as it came.
    #[must_use]
    pub fn take_pending(&mut self) -> Vec<u8> {
        let mut left = std::mem::replace(self, Self::capped(self.cap));
        left.buffer.split_off(left.head)
    }

    /// Of a frame that is not whole: its bytes so far, up to the end of its first argument, where they are at least
    /// `enough`. What [`Decoder::next_frame`] gives later is the rest of that frame, of which only the last argument can be read.
    pub fn part(&mut self, enough: usize) -> Option<Vec<u8>> {
        let [first] = &self.args[..] else { return None };
        let arrived = self.pending().min(first.end - self.given);
        if arrived < enough.max(1) {
            return None;
        }
        let rest = self.buffer.split_off(self.head + arrived);
        let mut part = std::mem::replace(&mut self.buffer, rest);
        part.drain(..self.head);
        self.head = 0;
        self.given += arrived;
        Some(part)
    }

    /// Whether a part of a frame was given out or forgotten, and its rest was not given out yet.
    #[must_use]
    pub const fn is_within_a_frame(&self) -> bool {
        self.given > 0
    }

    /// Of the frame that [`Decoder::next_frame`] waits for: what has arrived of its first argument and was not forgotten,
    /// if that is JSON, without its tag.
    pub(crate) fn json_so_far(&self) -> Option<&[u8]> {
        Some(&self.buffer[self.place_of_json()?])
    }

    fn place_of_json(&self) -> Option<Range<usize>> {
        let first = self.args.first()?;
        let begins = self.head + first.start.saturating_sub(self.given);
        let ends = (self.head + first.end - self.given).min(self.buffer.len());
        let arrived = self.buffer.get(begins..ends)?;
        let tag = if self.given > 0 { 0 } else { b"j:".len() };
        (self.given > 0 || arrived.starts_with(b"j:")).then_some(begins + tag..ends)
    }

    /// Drops that many bytes of [`Decoder::json_so_far`], which somebody has read. What [`Decoder::next_frame`] gives later
    /// is the rest of that frame, without a tag.
    pub(crate) fn forget(&mut self, count: usize) {
        let Some(place) = self.place_of_json().filter(|_| count > 0) else { return };
        let gone = place.end.min(place.start + count);
        self.buffer.drain(..gone);
        self.given += gone - self.head;
        self.head = 0;
    }

    /// Where bytes that arrive can be put without a copy.
    pub(crate) fn room(&mut self) -> &mut Vec<u8> {
        if self.buffer.capacity() - self.buffer.len() < ROOM / 2 {
            self.buffer.reserve(ROOM);
        }
        &mut self.buffer
    }

    /// The next whole frame, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// The bytes are no frame, or one above the cap. The connection has to be closed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, DecodeError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        self.scan().inspect_err(|error| {
            *self = Self { failed: Some(error.clone()), ..Self::capped(self.cap) };
        })
    }

    fn scan(&mut self) -> Result<Option<Frame>, DecodeError> {
        let bytes = &self.buffer[self.head..];
        if self.count == 0 {
            let Some(count) = count(bytes)? else { return Ok(self.wait()) };
            self.count = count;
        }
        while self.args.len() < self.count {
            let at = self.args.last().map_or(1, |range| range.end);
            let here = at - self.given;
            let Some(length) = bytes.get(here..here + LENGTH) else { return Ok(self.wait()) };
            let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
            let start = at + LENGTH;
            let end = start.saturating_add(length);
            if end > self.cap {
                return Err(DecodeError::TooLarge { announced: end, cap: self.cap });
            }
            self.args.push(start..end);
        }
        let size = self.args.last().map_or(1, |range| range.end) - self.given;
        if bytes.len() < size { Ok(self.wait()) } else { Ok(Some(self.take(size))) }
    }

    /// Drops the frames that were taken, once per wait and not once per frame, so that many small frames cost
    /// one move of what is left.
    fn wait<T>(&mut self) -> Option<T> {
        if self.head > 0 {
            self.buffer.drain(..self.head);
            self.head = 0;
        }
        None
    }

    /// Takes the frame of `size` bytes. A buffer that holds nothing else is handed over, not copied.
    fn take(&mut self, size: usize) -> Frame {
        let (mut args, given) = (std::mem::take(&mut self.args), std::mem::take(&mut self.given));
        self.count = 0;
        for range in &mut args {
            *range = range.start.saturating_sub(given)..range.end - given;
        }
        if self.head == 0 && self.buffer.len() == size {
            return Frame { bytes: std::mem::take(&mut self.buffer), args };
        }
        let end = self.head + size;
        let bytes = self.buffer[self.head..end].to_vec();
        self.head = end;
        Frame { bytes, args }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Decoder({} bytes pending)", self.pending())
    }
}

/// Number of arguments of the frame that begins with `bytes`.
fn count(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    let Some(first) = bytes.first() else { return Ok(None) };
    if first >> 4 != VERSION {
        return Err(DecodeError::Version(first >> 4));
    }
    match usize::from(first & 0x0f) {
        0 => Err(DecodeError::Empty),
        count => Ok(Some(count)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_read_and_forgotten_piece_by_piece_is_the_whole_argument(
            bodies in prop::collection::vec("[a-z]{0,200}", 1..4),
            pieces in prop::collection::vec(1_usize..60, 1..8),
            appetite in prop::collection::vec(0_usize..60, 1..8),
        ) {
            let frames = bodies.iter().map(|body| encode(&[Arg::Json(body), Arg::Text("7:1")]).unwrap());
            let bytes = frames.collect::<Vec<_>>().concat();
            let (mut decoder, mut read, mut whole) = (Decoder::new(), String::new(), Vec::new());
            let (mut pieces, mut appetite) = (pieces.iter().cycle(), appetite.iter().cycle());
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(rest.len().min(*pieces.next().unwrap()));
                decoder.room().extend_from_slice(piece);
                rest = later;
                loop {
                    let begun = decoder.is_within_a_frame();
                    let Some(frame) = decoder.next_frame().unwrap() else { break };
                    let json = frame.raw_args()[0];
                    let json = if begun { json } else { json.strip_prefix(b"j:").unwrap() };
                    read.push_str(std::str::from_utf8(json).unwrap());
                    whole.push(std::mem::take(&mut read));
                    prop_assert_eq!(frame.last_text(), Some("7:1"));
                }
                if let Some(json) = decoder.json_so_far() {
                    let count = json.len().min(*appetite.next().unwrap());
                    read.push_str(std::str::from_utf8(&json[..count]).unwrap());
                    decoder.forget(count);
                }
            }
            prop_assert_eq!(whole, bodies);
            prop_assert_eq!(decoder.pending(), 0);
        }
    }

    #[test]
    fn an_argument_that_is_no_json_is_shown_to_nobody() {
        let bytes = encode(&[Arg::Text("{}{}{}"), Arg::Text("7:1")]).unwrap();
        let mut decoder = Decoder::new();
        decoder.push(&bytes[..9]);
        assert_eq!(decoder.next_frame(), Ok(None));
        assert_eq!(decoder.json_so_far(), None);
        decoder.forget(1);
        decoder.push(&bytes[9..]);
        assert_eq!(decoder.next_frame().unwrap().unwrap().bytes(), bytes);
    }
}
