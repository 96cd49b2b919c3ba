//! What came of a call.

use std::io;
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
pub struct Reply(Option<Box<RawValue>>);

impl Reply {
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
        self.0.as_deref().map_or("null", RawValue::get)
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

/// The id that a reply belongs to, and what it says.
pub(super) fn read(frame: &Frame) -> Result<(String, Answer), ProtocolError> {
    let args = frame.args()?;
    let [Arg::Json(json), Arg::Text(id)] = args[..] else { return Err(ProtocolError::NotAReply) };
    let body: Body<'_> = serde_json::from_str(json).map_err(|_| ProtocolError::Body)?;
    let answer = match body {
        Body { error: Some(serde_json::Value::String(error)), .. } => Answer::Refused(error),
        Body { error: Some(error), .. } => Answer::Refused(error.to_string()),
        Body { methods: Some(methods), .. } => Answer::Done(Reply(Some(methods.to_owned()))),
        Body { args: Some(args), .. } => Answer::Done(Reply(args.first().map(|first| (*first).to_owned()))),
        Body { args: None, .. } => return Err(ProtocolError::Body),
    };
    Ok((id.to_owned(), answer))
}
