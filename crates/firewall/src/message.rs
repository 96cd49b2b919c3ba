//! What holder and judge say to each other.
//!
//! Both may be of different versions for a while, for either is started anew from the file that is there then. So
//! the first message names [`PROTOCOL`], fields may be added, and a judge that does not know the number says so.

use palisade_core::policy::Mode;
use palisade_core::record::{Administered, Gap};
use palisade_host::peer::Peer;
use serde::{Deserialize, Serialize};

use palisade_pm2::asked::Kind;

/// The version of these messages. It grows when an older reader would misread one.
pub(crate) const PROTOCOL: u32 = 2;

/// What comes first, with the sockets that it names beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Handover {
    /// [`PROTOCOL`] of who sends it.
    pub(crate) protocol: u32,
    /// What the descriptors beside it are, in their order.
    pub(crate) sockets: Vec<Handed>,
}

/// One descriptor that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Handed {
    /// Listens for calls; we made it, and remove its file at the end.
    Rpc,
    /// Listens for subscribers of the bus; we made it.
    Pub,
    /// Listens for requests to the firewall itself; we made it.
    Control,
    /// As `Rpc`, and a supervisor made it.
    GivenRpc,
    /// As `Pub`, and a supervisor made it.
    GivenPub,
    /// As `Control`, and a supervisor made it.
    GivenControl,
    /// As `Rpc`, for an app: which of the options' sockets it is, from 0.
    App(u16),
    /// The lock of the home.
    Lock,
}

/// From the holder to the judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ToJudge {
    /// To be answered under the same number. Many may be under way.
    Asked { id: u64, connection: u64, client: Peer, question: Question },
    /// A connection that asked has ended.
    Gone { connection: u64 },
    /// While there was no judge.
    Gap(Gap),
    /// The holder started the daemon.
    Record(Administered),
    /// A sign of life.
    Beat,
    /// Write what is to be written, and end.
    End,
}

/// What a connection asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Question {
    /// May this pass?
    Call { method: String, kind: Kind, socket: Option<String> },
    /// This did not pass, and is for the record. Any answer says that it was seen.
    Bad { why: String },
    /// A line that came over the control socket.
    Control { line: String },
    /// An order that came over the control socket. It is put to one judge only: it may have begun.
    Order { line: String },
}

impl Question {
    /// Whether it is about a call, which passes where nobody has to judge.
    pub(crate) const fn is_of_a_call(&self) -> bool {
        matches!(self, Self::Call { .. } | Self::Bad { .. })
    }
}

/// From the judge to the holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FromJudge {
    /// It judges from here on, or has read the policy again; the mode is that of the strictest app.
    Ready { mode: Mode },
    /// It cannot judge, and ends.
    Failed { exit: u8, text: String },
    /// A line for whoever asked the question of that number; its answer follows.
    Step { id: u64, line: String },
    /// The answer to the question of that number.
    Answered { id: u64, answer: Answer },
    /// A sign of life.
    Beat,
}

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// It may pass.
    Pass,
    /// It may not; the text is for the caller.
    Refuse(String),
    /// What became of an order: the line that is answered.
    Told(String),
}
