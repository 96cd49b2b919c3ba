//! One connection as a machine of bytes: no IO, no clock, no policy.
//!
//! Client bytes go in and [`Step`]s come out; whoever runs the machine has each one judged and gives back what
//! to do. A request that passes is written anew under a number of our own, so that two clients' ids, or one id
//! used twice, never meet at the daemon. Replies are matched by that number, in whatever order they come.

use std::collections::BTreeMap;

use palisade_core::ablation::{self, Check};
use palisade_pm2::methods::Method;
use palisade_pm2::wire::{Arg, DecodeError, Decoder, EncodeError, FRAME_CAP, encode};
use serde_json::json;

use palisade_pm2::asked::{Asked, BadCall};
use palisade_pm2::redaction::redacted;

/// Largest request, in bytes. A start carries one environment, which Linux keeps below this in practice.
pub const REQUEST_CAP: usize = 1024 * 1024;

/// Bytes of a reply that are passed on before it is whole.
const PART: usize = 64 * 1024;

/// Longest id of a request, in bytes. PM2's own are a pid and a counter.
pub const ID_CAP: usize = 256;

/// One connection's state.
#[derive(Debug)]
pub struct Session {
    from_client: Decoder,
    from_daemon: Decoder,
    /// The client's ids, by ours.
    waiting: BTreeMap<u64, String>,
    next: u64,
    /// Whether values of environments are left out of replies.
    redacts: bool,
}

/// One request.
#[derive(Debug)]
pub enum Step {
    /// Well formed: to be judged, and then given to [`Session::pass`] or [`refusal`].
    Judge(Asking),
    /// Malformed: to be answered with [`refusal`] and never to reach the daemon.
    Reject {
        /// The client's id for it; empty where it gave none.
        id: String,
        /// What is wrong.
        why: BadCall,
    },
}

/// A well-formed request and the client's id for it.
#[derive(Debug)]
pub struct Asking {
    /// The client's id.
    pub id: String,
    /// The request.
    pub asked: Asked,
    /// Bytes that it came in.
    pub size: usize,
}

/// Bytes from the daemon that are no reply to anything that was asked. The connection is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// No frame.
    #[error(transparent)]
    Frame(#[from] DecodeError),
    /// A reply without an id of ours.
    #[error("the daemon answered what nobody asked")]
    Unmatched,
    /// A reply that is too large with the client's id.
    #[error(transparent)]
    Write(#[from] EncodeError),
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A new connection.
    #[must_use]
    pub fn new() -> Self {
        Self {
            from_client: Decoder::capped(REQUEST_CAP),
            from_daemon: Decoder::capped(FRAME_CAP),
            waiting: BTreeMap::new(),
            next: 0,
            redacts: false,
        }
    }

    /// From here on values of environments are left out of replies, or not.
    pub fn set_redacting(&mut self, redacts: bool) {
        self.redacts = redacts && !ablation::is_off(Check::ReplyRedaction);
    }

    /// Whether values of environments are left out of replies.
    #[must_use]
    pub const fn is_redacting(&self) -> bool {
        self.redacts
    }

    /// Takes the client's bytes that were read as no request yet, as they came.
    #[must_use]
    pub fn take_requests(&mut self) -> Vec<u8> {
        self.from_client.take_pending()
    }

    /// As [`Self::take_requests`], of the daemon's bytes.
    #[must_use]
    pub fn take_replies(&mut self) -> Vec<u8> {
        self.from_daemon.take_pending()
    }

    /// Takes bytes of the client.
    pub fn client_sent(&mut self, bytes: &[u8]) {
        self.from_client.push(bytes);
    }

    /// The client's next whole request.
    ///
    /// # Errors
    /// The client's bytes are no frame, or one above [`REQUEST_CAP`]: where the next one begins is lost.
    pub fn next_request(&mut self, offered: &[Method]) -> Result<Option<Step>, DecodeError> {
        let Some(frame) = self.from_client.next_frame()? else { return Ok(None) };
        let Ok(args) = frame.args() else { return Ok(Some(reject("", BadCall::Frame))) };
        let id = match args.last() {
            Some(Arg::Text(id)) if id.len() <= ID_CAP => *id,
            Some(Arg::Text(_) | Arg::Json(_) | Arg::Blob(_)) | None => {
                return Ok(Some(reject("", BadCall::Frame)));
            }
        };
        let [Arg::Json(json), Arg::Text(_)] = args[..] else {
            return Ok(Some(reject(id, BadCall::Frame)));
        };
        Ok(Some(match Asked::read(json, offered) {
            Ok(asked) => Step::Judge(Asking { id: id.to_owned(), asked, size: json.len() }),
            Err(why) => reject(id, why),
        }))
    }

    /// The frame that the daemon gets for a request that may pass.
    ///
    /// # Errors
    /// It is too large to be written.
    pub fn pass(&mut self, asking: Asking) -> Result<Vec<u8>, EncodeError> {
        let frame = encode(&[Arg::Json(&asking.asked.body()), Arg::Text(&self.next.to_string())])?;
        self.waiting.insert(self.next, asking.id);
        self.next += 1;
        Ok(frame)
    }

    /// Takes bytes of the daemon.
    pub fn daemon_sent(&mut self, bytes: &[u8]) {
        self.from_daemon.push(bytes);
    }

    /// The frame that the client gets for the daemon's next whole reply, or what has come of one that is large: its
    /// end, with the client's id, follows. A reply from which values are left out is always given whole.
    ///
    /// # Errors
    /// The daemon's bytes are no reply to anything that was asked.
    pub fn next_reply(&mut self) -> Result<Option<Vec<u8>>, ReplyError> {
        let Some(frame) = self.from_daemon.next_frame()? else {
            return Ok(if self.redacts { None } else { self.from_daemon.part(PART) });
        };
        let ours = frame.last_text().and_then(|ours| ours.parse().ok()).ok_or(ReplyError::Unmatched)?;
        let theirs = self.waiting.remove(&ours).ok_or(ReplyError::Unmatched)?;
        if !self.redacts {
            return Ok(Some(frame.with_last_text(&theirs)?));
        }
        let [Arg::Json(json), _] = frame.args()?[..] else { return Err(ReplyError::Unmatched) };
        let json = redacted(json).ok_or(ReplyError::Unmatched)?;
        Ok(Some(encode(&[Arg::Json(&json), Arg::Text(&theirs)])?))
    }

    /// Whether the client has got a part of a reply, and not its end.
    #[must_use]
    pub const fn is_within_a_reply(&self) -> bool {
        self.from_daemon.is_within_a_frame()
    }

    /// Requests that wait for the daemon's reply.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes that are held for this connection.
    #[must_use]
    pub fn held(&self) -> usize {
        self.from_client.pending() + self.from_daemon.pending()
    }

    /// Whether the client has begun a frame and not ended it.
    #[must_use]
    pub fn is_half_asked(&self) -> bool {
        self.from_client.pending() > 0
    }

    /// Answers everything that waits, because the daemon is gone.
    pub fn abandon(&mut self, text: &str) -> Vec<u8> {
        self.from_daemon = Decoder::capped(FRAME_CAP);
        std::mem::take(&mut self.waiting).into_values().flat_map(|id| refusal(&id, text)).collect()
    }
}

fn reject(id: &str, why: BadCall) -> Step {
    Step::Reject { id: id.to_owned(), why }
}

/// The reply that makes a client's call fail with `text`. Empty if it cannot be written, which a short text can.
#[must_use]
pub fn refusal(id: &str, text: &str) -> Vec<u8> {
    let body = json!({ "error": text, "stack": text }).to_string();
    encode(&[Arg::Json(&body), Arg::Text(id)]).unwrap_or_default()
}
