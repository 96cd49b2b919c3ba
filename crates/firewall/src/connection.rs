//! One client's connection: moves bytes, runs the session, and waits for the guard.
//!
//! Requests of one connection are judged one after another, in their order; connections do not wait for each
//! other. What a client or the daemon does not take is held up to a bound, and then the other side is not read.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use palisade_host::peer::{self, Peer};
use palisade_pm2::methods::Method;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use crate::asked::Kind;
use crate::caller::Caller;
use crate::guard::{Answer, Question, bad_call_text, unreachable};
use crate::meter::Meter;
use crate::session::{Asking, Session, Step, refusal};
use crate::stream::{OUTGOING, Over, Read, Ready, daemon_ready, draining, read, time, write};

/// Calls of one connection that wait for the daemon; more are not read.
const IN_FLIGHT: usize = 64;
/// How long a frame may take from its first byte to its last, and a client that has hung up to be served.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the daemon may take to take a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// What every connection needs.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) private_rpc: Arc<PathBuf>,
    pub(crate) guard: mpsc::Sender<Question>,
    pub(crate) offered: watch::Receiver<Arc<[Method]>>,
    pub(crate) total: Arc<AtomicUsize>,
    /// Turns true when the firewall ends.
    pub(crate) drain: watch::Receiver<bool>,
}

/// A request that the guard looks at.
struct Held {
    asking: Asking,
    answer: oneshot::Receiver<Answer>,
}

struct Connection {
    shared: Shared,
    peer: Peer,
    caller: Option<Arc<Caller>>,
    session: Session,
    meter: Meter,
    daemon: Option<(OwnedReadHalf, OwnedWriteHalf)>,
    to_client: Vec<u8>,
    to_daemon: Vec<u8>,
    held: Option<Held>,
    /// The client sends nothing more, or is not read any more.
    ended: bool,
    /// By when a frame has to be whole, or a client that has ended to be served.
    deadline: Option<Instant>,
}

/// Serves one client until either side ends.
pub(crate) async fn serve(client: UnixStream, peer: Peer, shared: Shared) {
    let meter = Meter::new(Arc::clone(&shared.total));
    let mut connection = Connection {
        shared,
        peer,
        caller: None,
        session: Session::new(),
        meter,
        daemon: None,
        to_client: Vec::new(),
        to_daemon: Vec::new(),
        held: None,
        ended: false,
        deadline: None,
    };
    let (from_client, to_client) = client.into_split();
    while connection.turn(&from_client, &to_client).await.is_ok() {}
}

impl Connection {
    /// Waits until anything can be done, and does it.
    async fn turn(&mut self, from_client: &OwnedReadHalf, to_client: &OwnedWriteHalf) -> Result<(), Over> {
        self.work().await?;
        self.look_at_time_and_memory()?;
        let mut drain = self.shared.drain.clone();
        let deadline = self.deadline;
        tokio::select! {
            ready = from_client.readable(), if self.reads_client() => {
                ready.map_err(|_| Over)?;
                self.read_client(from_client)
            }
            ready = to_client.writable(), if !self.to_client.is_empty() => {
                ready.map_err(|_| Over)?;
                write(to_client, &mut self.to_client)
            }
            ready = daemon_ready(self.daemon.as_ref(), self.to_client.len(), self.to_daemon.is_empty()) => {
                self.use_daemon(ready);
                Ok(())
            }
            answer = answered(self.held.as_mut()) => self.take_answer(answer).await,
            () = time(deadline), if deadline.is_some() => Err(Over),
            () = draining(&mut drain), if !self.ended => {
                self.ended = true;
                Ok(())
            }
        }
    }

    fn reads_client(&self) -> bool {
        let room = self.to_client.len() < OUTGOING && self.to_daemon.len() < OUTGOING;
        !self.ended && room && self.held.is_none() && self.session.waiting() < IN_FLIGHT
    }

    /// Takes requests that are whole, as far as there is room, one at a time.
    async fn work(&mut self) -> Result<(), Over> {
        while self.held.is_none() && self.session.waiting() < IN_FLIGHT && self.to_daemon.len() < OUTGOING {
            let offered = Arc::clone(&self.shared.offered.borrow());
            // A client that sends no frames gets no answer that it could read, but it gets an end.
            match self.session.next_request(&offered) {
                Ok(Some(Step::Judge(asking))) => self.take(asking).await?,
                Ok(Some(Step::Reject { id, why })) => {
                    self.to_client.extend(refusal(&id, &bad_call_text(&why)));
                    let caller = self.caller();
                    self.ask(Question::Bad { caller, why }).await?;
                }
                Ok(None) => break,
                Err(error) => {
                    self.to_client.extend(refusal("", &format!("Palisade: PAL-405 {error}")));
                    self.session = Session::new();
                    self.daemon = None;
                    self.to_daemon.clear();
                    self.ended = true;
                }
            }
        }
        Ok(())
    }

    async fn take(&mut self, asking: Asking) -> Result<(), Over> {
        match asking.asked.kind() {
            Kind::Read => self.pass(asking).await,
            Kind::Act(_) | Kind::Lifecycle => {
                let (sender, answer) = oneshot::channel();
                let (caller, method) = (self.caller(), asking.asked.name());
                let kind = asking.asked.kind().clone();
                self.held = Some(Held { asking, answer });
                self.ask(Question::Call { caller, method, kind, answer: sender }).await
            }
        }
    }

    async fn ask(&self, question: Question) -> Result<(), Over> {
        self.shared.guard.send(question).await.map_err(|_| Over)
    }

    async fn take_answer(&mut self, answer: Result<Answer, oneshot::error::RecvError>) -> Result<(), Over> {
        let Some(held) = self.held.take() else { return Ok(()) };
        match answer {
            Ok(Answer::Pass) => self.pass(held.asking).await,
            Ok(Answer::Refuse(text)) => {
                self.to_client.extend(refusal(&held.asking.id, &text));
                Ok(())
            }
            Err(_) => {
                let text = unreachable(held.asking.asked.name(), "the guard has ended");
                self.to_client.extend(refusal(&held.asking.id, &text));
                Ok(())
            }
        }
    }

    /// Writes a request anew for the daemon, connecting first if need be.
    async fn pass(&mut self, asking: Asking) -> Result<(), Over> {
        let (id, method) = (asking.id.clone(), asking.asked.name());
        if let Err(error) = self.connect().await {
            self.to_client.extend(refusal(&id, &unreachable(method, &error.to_string())));
            return self.ask(Question::Offers).await;
        }
        match self.session.pass(asking) {
            Ok(frame) => self.to_daemon.extend(frame),
            Err(error) => self.to_client.extend(refusal(&id, &unreachable(method, &error.to_string()))),
        }
        Ok(())
    }

    async fn connect(&mut self) -> io::Result<()> {
        if self.daemon.is_none() {
            let connecting = UnixStream::connect(self.shared.private_rpc.as_path());
            let stream = timeout(CONNECT_DEADLINE, connecting).await.map_err(io::Error::from)??;
            // Whose the daemon is, is the only thing that tells who may have its values.
            let daemon = peer::of(&stream).map_err(io::Error::other)?;
            self.session.set_redacting(is_another_users(&self.peer, &daemon));
            self.daemon = Some(stream.into_split());
        }
        Ok(())
    }

    fn caller(&mut self) -> Arc<Caller> {
        match &self.caller {
            Some(caller) if caller.is_current() => Arc::clone(caller),
            Some(_) | None => Arc::clone(self.caller.insert(Arc::new(Caller::of(&self.peer)))),
        }
    }

    fn read_client(&mut self, from: &OwnedReadHalf) -> Result<(), Over> {
        match read(from, |bytes| self.session.client_sent(bytes)) {
            Read::Some => Ok(()),
            Read::End => {
                self.ended = true;
                Ok(())
            }
            Read::Broken => Err(Over),
        }
    }

    fn use_daemon(&mut self, ready: io::Result<Ready>) {
        let Some((from, to)) = &self.daemon else { return };
        let fine = match ready {
            Ok(Ready::Write) => write(to, &mut self.to_daemon).is_ok(),
            Ok(Ready::Read) => match read(from, |bytes| self.session.daemon_sent(bytes)) {
                Read::Some => self.take_replies(),
                Read::End | Read::Broken => false,
            },
            Err(_) => false,
        };
        if !fine {
            self.lose_daemon();
        }
    }

    fn take_replies(&mut self) -> bool {
        loop {
            match self.session.next_reply() {
                Ok(Some(frame)) => self.to_client.extend(frame),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// The daemon ended, was restarted, or answered what nobody asked. What waited may or may not have happened.
    fn lose_daemon(&mut self) {
        self.daemon = None;
        self.to_daemon.clear();
        let text = unreachable("the call", "the PM2 daemon closed the connection before it answered");
        self.to_client.extend(self.session.abandon(&text));
        // Where the guard is busy it will find out by itself.
        drop(self.shared.guard.try_send(Question::Offers));
    }

    /// Ends what takes too long or too much.
    fn look_at_time_and_memory(&mut self) -> Result<(), Over> {
        let is_served = self.held.is_none() && self.session.waiting() == 0 && self.to_client.is_empty();
        if self.ended && is_served && self.to_daemon.is_empty() {
            return Err(Over);
        }
        let is_pressed = self.ended || (self.session.is_half_asked() && self.held.is_none());
        match (is_pressed, self.deadline) {
            (true, None) => self.deadline = Some(Instant::now() + PATIENCE),
            (false, Some(_)) => self.deadline = None,
            (true, Some(_)) | (false, None) => {}
        }
        let bytes = self.session.held() + self.to_client.len() + self.to_daemon.len();
        if self.meter.set(bytes) { Ok(()) } else { Err(Over) }
    }
}

/// Whether the client runs as another user than the daemon, and not as root: then it cannot write the daemon's dump,
/// and is shown no value.
pub(crate) const fn is_another_users(client: &Peer, daemon: &Peer) -> bool {
    client.uid != daemon.uid && client.uid != 0
}

async fn answered(held: Option<&mut Held>) -> Result<Answer, oneshot::error::RecvError> {
    match held {
        Some(held) => (&mut held.answer).await,
        None => std::future::pending().await,
    }
}
