//! Reaching a daemon, and finding out who answers.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_core::actor::ProcessRef;
use palisade_host::{peer, process};
use serde::Deserialize;
use tokio::net::UnixStream;

use super::answer::{Answer, Reply};
use super::exchange::Connection;
use super::{Client, Lost};
use crate::methods::{Call, Method, Release};

/// No daemon answers at that socket. Nothing was touched, and no daemon was started.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// Nothing is at that path.
    #[error("no PM2 daemon at {}: the socket does not exist", socket.display())]
    NoSocket {
        /// The path.
        socket: PathBuf,
    },
    /// The socket is a left-over: nobody listens.
    #[error("no PM2 daemon at {}: nobody listens on the socket", socket.display())]
    NobodyListens {
        /// The path.
        socket: PathBuf,
    },
    /// This user may not connect. Whether a daemon runs there is not known.
    #[error("this user may not connect to the PM2 daemon at {}: {barrier}", socket.display())]
    Denied {
        /// The path.
        socket: PathBuf,
        /// What is in the way.
        barrier: Barrier,
    },
    /// Somebody listens and does not answer.
    #[error("the PM2 daemon at {} did not answer within {} ms", socket.display(), deadline.as_millis())]
    Silent {
        /// The path.
        socket: PathBuf,
        /// How long was waited.
        deadline: Duration,
    },
    /// Any other reason.
    #[error("cannot connect to the PM2 daemon at {}", socket.display())]
    Other {
        /// The path.
        socket: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// A folder that may not be entered, or the socket itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barrier {
    /// Where it is.
    pub path: PathBuf,
    /// Its permissions.
    pub mode: u32,
    /// The user that owns it.
    pub owner: u32,
}

impl Barrier {
    /// What denied the way to `socket`: the last thing on it that can be looked at at all. `None` where nothing can.
    fn before(socket: &Path) -> Option<Self> {
        let (path, found) =
            socket.ancestors().find_map(|path| Some((path, path.symlink_metadata().ok()?)))?;
        Some(Self { path: path.to_owned(), mode: found.mode() & 0o7777, owner: found.uid() })
    }
}

impl fmt::Display for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has mode {:04o} and belongs to uid {}", self.path.display(), self.mode, self.owner)
    }
}

impl Unreachable {
    /// How to go on, in one sentence.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::NoSocket { .. } => {
                "check PM2_HOME or --pm2-home, and start PM2 with `pm2 resurrect` if it is \
                                      not meant to be down"
                    .to_owned()
            }
            Self::NobodyListens { .. } => {
                "the daemon has died: look for apps that it left behind before you start \
                                           PM2 with `pm2 resurrect`"
                    .to_owned()
            }
            Self::Denied { barrier, .. } => format!(
                "run this as uid {}, who owns it (`sudo -u '#{0}' palisade …`); do not open the permissions: \
                 whoever may connect may delete every process",
                barrier.owner
            ),
            Self::Silent { .. } => {
                "the daemon is busy or stopped: look at its process and at pm2.log".to_owned()
            }
            Self::Other { socket, .. } => format!("check that {} is PM2's rpc.sock", socket.display()),
        }
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No daemon answers.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// The kernel does not say which process listens, so nothing can be pinned to it.
    #[error("cannot tell which process listens on {}", socket.display())]
    Unidentified {
        /// The path.
        socket: PathBuf,
        /// What the kernel said; `None` if the process is in another pid namespace or has ended.
        #[source]
        source: Option<peer::Error>,
    },
    /// Whatever answers is no PM2 daemon that this version knows.
    #[error("what answers at {} does not speak PM2's protocol as known: {reason}", socket.display())]
    Protocol {
        /// The path.
        socket: PathBuf,
        /// What was wrong.
        reason: String,
    },
}

/// A connection, and who is at its other end.
pub(super) struct Reached {
    pub(super) connection: Connection,
    pub(super) daemon: ProcessRef,
    uid: u32,
}

impl Client {
    /// Connects and asks for methods and version, within `deadline` in all. Never starts a daemon.
    ///
    /// # Errors
    /// Nobody answers, the kernel does not say who does, or it is no daemon that this version knows.
    pub async fn connect(socket: &Path, deadline: Duration) -> Result<Self, ConnectError> {
        let reached = reach(socket, deadline).await?;
        Self::introduce(socket, deadline, reached).await
    }

    pub(super) async fn introduce(
        socket: &Path,
        deadline: Duration,
        mut reached: Reached,
    ) -> Result<Self, ConnectError> {
        let answers = reached.connection.exchange(introduction(), deadline).await;
        Self::introduced(socket, deadline, reached, &answers)
    }

    /// Connects anew to the socket of this client and sends `call`. Where the very same process answers, methods and
    /// version are asked for as ever and the call goes with them: what that process takes is known already.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_again(
        &self,
        call: &Call,
        deadline: Duration,
    ) -> Result<(Self, Answer), ConnectError> {
        let mut reached = reach(&self.socket, deadline).await?;
        let known = reached.daemon == self.daemon && self.methods.contains(&call.method());
        if !known {
            let mut client = Self::introduce(&self.socket, deadline, reached).await?;
            let answer = client.call(call, deadline).await;
            return Ok((client, answer));
        }
        let mut bodies = introduction();
        bodies.push(call.body());
        let mut answers = reached.connection.exchange(bodies, deadline).await;
        let answer = answers.pop().unwrap_or(Answer::NotSent(Lost::GivenUp));
        Ok((Self::introduced(&self.socket, deadline, reached, &answers)?, answer))
    }

    pub(super) fn introduced(
        socket: &Path,
        deadline: Duration,
        reached: Reached,
        answers: &[Answer],
    ) -> Result<Self, ConnectError> {
        let protocol = |reason| ConnectError::Protocol { socket: socket.to_owned(), reason };
        let [Answer::Done(methods), Answer::Done(version)] = answers else {
            return Err(handshake_failure(socket, deadline, answers));
        };
        let version = version.read::<String>().map_err(|_| protocol("the version is no text".to_owned()))?;
        let release = Release::of(&version).ok_or_else(|| {
            protocol(format!("PM2 {} is older than 5", palisade_core::text::Shown(&version)))
        })?;
        let (mut methods, unknown) = offered(socket, methods)?;
        // What another release has under this name may take other arguments.
        methods.retain(|method| method.entry().since <= release);
        let Reached { connection, daemon, uid } = reached;
        Ok(Self { socket: socket.to_owned(), connection, daemon, uid, version, methods, unknown })
    }
}

/// The questions that come first on every connection.
pub(super) fn introduction() -> Vec<String> {
    vec![r#"{"type":"methods"}"#.to_owned(), Call::version().body()]
}

pub(super) async fn reach(socket: &Path, deadline: Duration) -> Result<Reached, ConnectError> {
    let silent = || Unreachable::Silent { socket: socket.to_owned(), deadline };
    let stream = tokio::time::timeout(deadline, dial(socket))
        .await
        .map_err(|_| silent())?
        .map_err(|error| unreachable(socket, error))?;
    let unidentified = |source| ConnectError::Unidentified { socket: socket.to_owned(), source };
    let peer = peer::of(&stream).map_err(|error| unidentified(Some(error)))?;
    let daemon = peer.process.ok_or_else(|| {
        let socket = socket.to_owned();
        if has_ended(peer.pid) { Unreachable::NobodyListens { socket }.into() } else { unidentified(None) }
    })?;
    Ok(Reached { connection: Connection::new(stream), daemon, uid: peer.uid })
}

/// How long to wait where so many connect at once that the kernel's queue is full.
const QUEUE_PAUSE: Duration = Duration::from_millis(5);

/// Connects, and waits for its turn where the queue of connections is full: that is a busy daemon and not a dead one.
///
/// # Errors
/// What the kernel says otherwise. There is no deadline: whoever calls has one.
pub async fn dial(socket: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(QUEUE_PAUSE).await,
            dialled => return dialled,
        }
    }
}

/// Whether the process that listened has ended. Its socket takes connections for a moment longer.
fn has_ended(pid: u32) -> bool {
    match process::stat(pid) {
        Ok(stat) => !process::is_alive(stat.process),
        Err(process::Error::Gone { .. }) => !process::is_alive(ProcessRef { pid, start_ticks: 0 }),
        Err(
            process::Error::Unreadable { .. }
            | process::Error::Malformed { .. }
            | process::Error::Unlisted(_),
        ) => false,
    }
}

fn unreachable(socket: &Path, source: io::Error) -> Unreachable {
    let barrier = Barrier::before(socket);
    let socket = socket.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => Unreachable::NoSocket { socket },
        io::ErrorKind::ConnectionRefused => Unreachable::NobodyListens { socket },
        io::ErrorKind::PermissionDenied if let Some(barrier) = barrier => {
            Unreachable::Denied { socket, barrier }
        }
        _ => Unreachable::Other { socket, source },
    }
}

fn handshake_failure(socket: &Path, deadline: Duration, answers: &[Answer]) -> ConnectError {
    let reason = |answer: &Answer| match answer {
        Answer::Done(_) => None,
        Answer::Refused(message) => Some(format!("it refused to introduce itself: {message}")),
        Answer::NoReply(lost) | Answer::NotSent(lost) => Some(lost.to_string()),
    };
    let timed_out = |answer: &Answer| matches!(answer, Answer::NoReply(Lost::Deadline(_)));
    if answers.iter().any(timed_out) {
        return Unreachable::Silent { socket: socket.to_owned(), deadline }.into();
    }
    let reason = answers.iter().find_map(reason).unwrap_or_default();
    ConnectError::Protocol { socket: socket.to_owned(), reason }
}

#[derive(Deserialize)]
struct Named {
    params: Vec<String>,
}

/// The daemon's methods that the table knows, and the names of those that it does not.
///
/// A known method with another number of parameters makes the daemon unknown: calling it could throw there, and
/// an exception makes PM2 restart every app.
fn offered(socket: &Path, methods: &Reply) -> Result<(Vec<Method>, Vec<String>), ConnectError> {
    let strange = |reason: String| ConnectError::Protocol { socket: socket.to_owned(), reason };
    let named: BTreeMap<String, Named> =
        methods.read().map_err(|_| strange("its methods are not as expected".to_owned()))?;
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for (name, Named { params }) in named {
        let Some(method) = Method::named(&name) else {
            unknown.push(name);
            continue;
        };
        if method.entry().named_params.is_some_and(|expected| expected != params.len()) {
            return Err(strange(format!("its {name} has {} parameters", params.len())));
        }
        known.push(method);
    }
    for needed in [Method::GetMonitorData, Method::GetVersion] {
        if !known.contains(&needed) {
            return Err(strange(format!("it has no {}", needed.name())));
        }
    }
    Ok((known, unknown))
}
