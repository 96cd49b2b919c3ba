//! What came of a call.

use std::io;
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::methods::Method;
use crate::wire::{Arg, DecodeError, EncodeError, Frame};

/// What came of one call.
#[derive(Debug)]
pub enum Answer {
    /// The daemon did it.
    Done(Reply),
    /// The daemon says that it did not.
    Refused(String),
    /// Sent, and no answer came: it may or may not have happened.
    NoReply(Lost),
    /// Never sent as a whole, so it has not happened.
    NotSent(Lost),
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The deadline passed.
    #[error("no answer within {} ms", .0.as_millis())]
    Deadline(Duration),
    /// The daemon closed the connection: it ended, or was restarted.
    #[error("the daemon closed the connection")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(io::ErrorKind),
    /// Something arrived that the protocol does not allow.
    #[error("unexpected bytes from the daemon: {0}")]
    Protocol(ProtocolError),
    /// An earlier call on this connection failed.
    #[error("the connection was given up before")]
    GivenUp,
    /// The daemon did not name that method.
    #[error("this daemon has no {}", .0.name())]
    NotOffered(Method),
    /// The request is too large for a frame.
    #[error("the request cannot be written: {0}")]
    TooLarge(EncodeError),
}

/// Bytes from the daemon that are no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// No frame.
    #[error(transparent)]
    Frame(#[from] DecodeError),
    /// A frame that is not JSON and an id.
    #[error("a frame that is not a reply and its id")]
    NotAReply,
    /// A reply to nothing that was asked, or a second one.
    #[error("a reply to nothing that was asked")]
    Unmatched,
    /// JSON that is neither a result nor an error.
    #[error("a reply that is neither a result nor an error")]
    Body,
}

/// The first result of a call, as JSON. Debug shows no content, for results carry secrets.
pub struct Reply {
    /// The frame that it came in: a list of many processes is not copied out of it.
    frame: Vec<u8>,
    result: Option<Range<usize>>,
}

impl Reply {
    /// No result, or one that was read while it arrived.
    pub(super) const fn empty() -> Self {
        Self { frame: Vec::new(), result: None }
    }

    /// Reads it as a `T`.
    ///
    /// # Errors
    /// If there is no result, or it is no `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.json())
    }

    /// Its text; `null` where the daemon gave none.
    #[must_use]
    pub fn json(&self) -> &str {
        let text = |range: &Range<usize>| std::str::from_utf8(self.frame.get(range.clone())?).ok();
        self.result.as_ref().and_then(text).unwrap_or("null")
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reply({} bytes)", self.json().len())
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    args: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    error: Option<serde_json::Value>,
    #[serde(borrow, default)]
    methods: Option<&'a RawValue>,
}

/// What a reply says, with places in its frame for what is long.
enum Said {
    Refused(String),
    Done(Option<Range<usize>>),
}

/// The id that a reply belongs to, and what it says. `rest` is shown the JSON that was not read yet, which is the whole
/// unless some of it was `begun` while it arrived, and says how much of it it has read: then nobody goes through it again,
/// not even to see whether it is text. Of a reply that was read in part nothing else can be known.
pub(super) fn read(
    frame: Frame,
    begun: bool,
    rest: &mut dyn FnMut(&[u8]) -> usize,
) -> Result<(String, Answer), ProtocolError> {
    if let [json, id] = frame.raw_args()[..]
        && let Some(json) = if begun { Some(json) } else { json.strip_prefix(b"j:") }
        && let Some(id) = id.strip_prefix(b"s:")
        && let Ok(id) = std::str::from_utf8(id)
        && (rest(json) > 0 || begun)
    {
        return Ok((id.to_owned(), Answer::Done(Reply::empty())));
    }
    let args = frame.args()?;
    let [Arg::Json(json), Arg::Text(id)] = args[..] else { return Err(ProtocolError::NotAReply) };
    let id = id.to_owned();
    match said(json, frame.bytes())? {
        Said::Refused(error) => Ok((id, Answer::Refused(error))),
        Said::Done(result) => Ok((id, Answer::Done(Reply { frame: frame.into_bytes(), result }))),
    }
}

fn said(json: &str, frame: &[u8]) -> Result<Said, ProtocolError> {
    let body: Body<'_> = serde_json::from_str(json).map_err(|_| ProtocolError::Body)?;
    let place = |part: &RawValue| {
        let start = part.get().as_ptr().addr() - frame.as_ptr().addr();
        start..start + part.get().len()
    };
    match body {
        Body { error: Some(serde_json::Value::String(error)), .. } => Ok(Said::Refused(error)),
        Body { error: Some(error), .. } => Ok(Said::Refused(error.to_string())),
        Body { methods: Some(methods), .. } => Ok(Said::Done(Some(place(methods)))),
        Body { args: Some(args), .. } => Ok(Said::Done(args.first().map(|first| place(first)))),
        Body { args: None, .. } => Err(ProtocolError::Body),
    }
}
