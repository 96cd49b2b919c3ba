//! One client's connection: moves bytes, runs the session, and waits for the judge's answers.
//!
//! Changes of one connection are judged one after another, in their order; reads pass them, and connections do not
//! wait for each other. What a client or the daemon does not take is held up to a bound, and then the other side is not read.
//!
//! While nobody judges and no app is in enforce, bytes pass as they come, both ways.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use palisade_host::peer::{self, Peer};
use palisade_pm2::client::dial;
use palisade_pm2::methods::{Method, TABLE};
use palisade_pm2::outgoing::Outgoing;
use palisade_pm2::passage::Passage;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};

use crate::daemon::Offered;
use crate::holder::ToHolder;
use crate::message::{Answer, Question};
use crate::meter::{Memory, Meter};
use crate::said::{bad_call_text, unreachable};
use crate::session::{Asking, Session, Step, refusal};
use crate::stream::{MOST_OUTGOING, Over, Read, Ready, daemon_ready, draining, read, time, write};
use palisade_pm2::asked::Kind;

/// Calls of one connection that wait for the daemon; more are not read.
const IN_FLIGHT: usize = 64;
/// How long a frame may take from its first byte to its last, and a client that has hung up to be served.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a client may say nothing while others wait for a place.
const IDLE: Duration = Duration::from_secs(2);
/// How long a client may take to take a large reply, for which others wait.
const LARGE_WITHIN: Duration = Duration::from_secs(10);
/// How long the daemon may take to take a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);

/// What every connection needs.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) private_rpc: Arc<PathBuf>,
    pub(crate) holder: mpsc::Sender<ToHolder>,
    pub(crate) offered: watch::Receiver<Offered>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) unread: Unread,
    /// Told while more clients wait than there is room for.
    pub(crate) pressed: Arc<Notify>,
    /// Turns true when the firewall ends.
    pub(crate) drain: watch::Receiver<bool>,
}

/// Whether bytes pass unread, which the holder says, and how many requests did.
#[derive(Debug, Clone)]
pub(crate) struct Unread {
    pub(crate) is_on: watch::Receiver<bool>,
    pub(crate) requests: Arc<AtomicU64>,
}

/// A question that is not answered yet.
struct Held {
    /// The request, unless it was refused already and is only for the record.
    asking: Option<Asking>,
    answer: oneshot::Receiver<Answer>,
}

/// What waits while an earlier change of this connection is judged.
enum Next {
    /// A change to be judged.
    Change(Asking),
    /// For the record: it was refused already.
    Bad(String),
}

impl Next {
    /// Bytes that are held for it.
    const fn size(&self) -> usize {
        match self {
            Self::Change(asking) => asking.size,
            Self::Bad(why) => why.len(),
        }
    }
}

struct Connection {
    shared: Shared,
    number: u64,
    peer: Peer,
    /// The socket that it came through.
    socket: String,
    has_asked: bool,
    session: Session,
    /// While bytes pass unread.
    passage: Option<Passage>,
    meter: Meter,
    daemon: Option<(OwnedReadHalf, OwnedWriteHalf)>,
    to_client: Outgoing,
    to_daemon: Outgoing,
    held: Option<Held>,
    next: VecDeque<Next>,
    /// The client sends nothing more, or is not read any more.
    ended: bool,
    /// Others wait for its place; it may have it while it is in use.
    is_unwanted: bool,
    /// By when a frame has to be whole, or a client that has ended to be served.
    deadline: Option<Instant>,
}

/// Serves one client until either side ends.
pub(crate) async fn serve(client: UnixStream, number: u64, peer: Peer, socket: String, shared: Shared) {
    let meter = Meter::new(Arc::clone(&shared.memory));
    let mut connection = Connection {
        shared,
        number,
        peer,
        socket,
        has_asked: false,
        session: Session::new(),
        passage: None,
        meter,
        daemon: None,
        to_client: Outgoing::default(),
        to_daemon: Outgoing::default(),
        held: None,
        next: VecDeque::new(),
        ended: false,
        is_unwanted: false,
        deadline: None,
    };
    let (from_client, to_client) = client.into_split();
    while connection.turn(&from_client, &to_client).await.is_ok() {}
    if connection.has_asked {
        // A judge that is never told forgets its oldest callers.
        drop(connection.shared.holder.try_send(ToHolder::Gone { connection: number }));
    }
}

impl Connection {
    /// Waits until anything can be done, and does it.
    async fn turn(&mut self, from_client: &OwnedReadHalf, to_client: &OwnedWriteHalf) -> Result<(), Over> {
        self.work().await?;
        self.look_at_time_and_memory()?;
        let mut drain = self.shared.drain.clone();
        let (deadline, pressed) = (self.deadline, Arc::clone(&self.shared.pressed));
        let reads_daemon = self.to_client.len() < MOST_OUTGOING && !self.meter.waits();
        tokio::select! {
            ready = from_client.readable(), if self.reads_client() => {
                ready.map_err(|_| Over)?;
                self.read_client(from_client)
            }
            ready = to_client.writable(), if !self.to_client.is_empty() => {
                ready.map_err(|_| Over)?;
                write(to_client, &mut self.to_client)
            }
            ready = daemon_ready(self.daemon.as_ref(), reads_daemon, self.to_daemon.is_empty()) => {
                self.use_daemon(ready);
                Ok(())
            }
            () = self.meter.turn() => Ok(()),
            answer = answered(self.held.as_mut()) => self.take_answer(answer).await,
            () = time(deadline), if deadline.is_some() => Err(Over),
            () = pressed.notified() => {
                self.is_unwanted = true;
                Ok(())
            }
            () = draining(&mut drain), if !self.ended => {
                self.ended = true;
                Ok(())
            }
        }
    }

    fn reads_client(&self) -> bool {
        let room = self.to_client.len() < MOST_OUTGOING && self.to_daemon.len() < MOST_OUTGOING;
        let is_held_back = self.passage.is_some() && self.session.is_half_asked();
        !self.ended && !is_held_back && room && self.under_way() < IN_FLIGHT
    }

    /// Requests that wait for the daemon, or to be judged.
    fn under_way(&self) -> usize {
        self.session.waiting() + self.next.len()
    }

    /// Takes requests that are whole, as far as there is room, one at a time.
    async fn work(&mut self) -> Result<(), Over> {
        if self.passes_unread().await {
            return Ok(());
        }
        while self.under_way() < IN_FLIGHT && self.to_daemon.len() < MOST_OUTGOING {
            let offered = self.offered();
            // A client that sends no frames gets no answer that it could read, but it gets an end.
            match self.session.next_request(&offered) {
                Ok(Some(Step::Judge(asking))) => self.take(asking).await,
                Ok(Some(Step::Reject { id, why })) => {
                    let why = why.to_string();
                    self.to_client.push(refusal(&id, &bad_call_text(&why)));
                    self.next.push_back(Next::Bad(why));
                }
                Ok(None) => break,
                Err(error) => {
                    self.to_client.push(refusal("", &format!("Palisade: PAL-405 {error}")));
                    self.session = Session::new();
                    self.daemon = None;
                    self.to_daemon = Outgoing::default();
                    self.next.clear();
                    self.ended = true;
                }
            }
        }
        self.ask_next().await
    }

    /// Passes on what came, unread, where that is how it is: from when nothing of this connection is under way, to the
    /// end of a frame. Whoever is shown no values is read all the same.
    async fn passes_unread(&mut self) -> bool {
        let is_on = *self.shared.unread.is_on.borrow();
        let is_at_rest = self.held.is_none() && self.under_way() == 0 && self.session.is_half_asked();
        if is_on && is_at_rest && self.passage.is_none() && self.reach().await.is_ok() {
            self.passage = (!self.session.is_redacting()).then(Passage::default);
        }
        let Some(passage) = &mut self.passage else { return false };
        let (mut bytes, before) = (self.session.take_requests(), passage.begun());
        let rest = bytes.split_off(passage.requests(&bytes, is_on));
        self.session.client_sent(&rest);
        self.shared.unread.requests.fetch_add(passage.begun() - before, Ordering::Relaxed);
        if !is_on && passage.is_at_rest() {
            self.passage = None;
        }
        self.to_daemon.push(bytes);
        self.passage.is_some()
    }

    /// A read passes at once, also while a change before it is judged: nobody's list waits behind a slow disk.
    async fn take(&mut self, asking: Asking) {
        match asking.asked.kind() {
            Kind::Read => self.pass(asking).await,
            Kind::Act(_) | Kind::Lifecycle => self.next.push_back(Next::Change(asking)),
        }
    }

    /// Puts the next change to the judge, where none is under way.
    async fn ask_next(&mut self) -> Result<(), Over> {
        if self.held.is_some() {
            return Ok(());
        }
        match self.next.pop_front() {
            None => Ok(()),
            Some(Next::Bad(why)) => self.ask(None, Question::Bad { why }).await,
            Some(Next::Change(asking)) => {
                let (method, kind) = (asking.asked.name().to_owned(), asking.asked.kind().clone());
                let socket = Some(self.socket.clone());
                self.ask(Some(asking), Question::Call { method, kind, socket }).await
            }
        }
    }

    async fn ask(&mut self, asking: Option<Asking>, question: Question) -> Result<(), Over> {
        let (sender, answer) = oneshot::channel();
        self.held = Some(Held { asking, answer });
        self.has_asked = true;
        let (connection, client) = (self.number, self.peer);
        let ask = ToHolder::Ask { connection, client, question, steps: None, answer: sender };
        self.shared.holder.send(ask).await.map_err(|_| Over)
    }

    async fn take_answer(&mut self, answer: Result<Answer, oneshot::error::RecvError>) -> Result<(), Over> {
        let Some(Held { asking: Some(asking), .. }) = self.held.take() else { return Ok(()) };
        match answer {
            Ok(Answer::Pass) => self.pass(asking).await,
            Ok(Answer::Refuse(text)) => self.to_client.push(refusal(&asking.id, &text)),
            Ok(Answer::Told(_)) | Err(_) => {
                let text = unreachable(asking.asked.name(), "the firewall ends");
                self.to_client.push(refusal(&asking.id, &text));
            }
        }
        Ok(())
    }

    /// Writes a request anew for the daemon, connecting first if need be.
    async fn pass(&mut self, asking: Asking) {
        let (id, method) = (asking.id.clone(), asking.asked.name());
        if let Err(error) = self.connect().await {
            self.to_client.push(refusal(&id, &unreachable(method, &error.to_string())));
            return;
        }
        // It may have come back as another version since the request was read.
        if !asking.asked.is_offered(&self.offered()) {
            self.to_client.push(refusal(&id, &unreachable(method, "this daemon does not offer it")));
            return;
        }
        match self.session.pass(asking) {
            Ok(frame) => self.to_daemon.push(frame),
            Err(error) => self.to_client.push(refusal(&id, &unreachable(method, &error.to_string()))),
        }
    }

    /// Connects to the daemon, whatever it is.
    async fn reach(&mut self) -> io::Result<()> {
        if self.daemon.is_none() {
            let connecting = dial(&self.shared.private_rpc);
            let stream = timeout(CONNECT_DEADLINE, connecting).await.map_err(io::Error::from)??;
            // Whose the daemon is, is the only thing that tells who may have its values.
            let daemon = peer::uid_of(&stream).map_err(io::Error::other)?;
            self.session.set_redacting(is_another_users(self.peer.uid, daemon));
            self.daemon = Some(stream.into_split());
        }
        Ok(())
    }

    /// Connects to a daemon that is known here.
    async fn connect(&mut self) -> io::Result<()> {
        self.reach().await?;
        let is_known = timeout(CONNECT_DEADLINE, self.shared.offered.wait_for(Option::is_some)).await;
        if matches!(is_known, Ok(Ok(_))) {
            return Ok(());
        }
        Err(io::Error::other("the daemon does not introduce itself as one that is known here"))
    }

    /// What may be asked for: while no daemon is there to say it, anything that is known.
    fn offered(&self) -> Arc<[Method]> {
        let offered = self.shared.offered.borrow().clone();
        offered.unwrap_or_else(|| TABLE.iter().map(|entry| entry.method).collect())
    }

    fn read_client(&mut self, from: &OwnedReadHalf) -> Result<(), Over> {
        if self.is_unwanted {
            (self.is_unwanted, self.deadline) = (false, None);
        }
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
                Read::Some if self.passage.is_some() => self.take_unread(),
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
                Ok(Some(frame)) => self.to_client.push_part(frame, self.session.is_within_a_reply()),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn take_unread(&mut self) -> bool {
        let bytes = self.session.take_replies();
        self.passage.iter_mut().for_each(|passage| passage.replies(&bytes));
        self.to_client.push(bytes);
        true
    }

    /// The daemon ended, was restarted, or answered what nobody asked. What waited may or may not have happened.
    fn lose_daemon(&mut self) {
        self.daemon = None;
        self.to_daemon = Outgoing::default();
        // In the middle of a frame nothing can be said: the connection ends.
        let is_mute = self.passage.take().is_some() || self.session.is_within_a_reply();
        let text = unreachable("the call", "the PM2 daemon closed the connection before it answered");
        let answers = self.session.abandon(&text);
        if is_mute {
            self.ended = true;
        } else {
            self.to_client.push(answers);
        }
    }

    /// Ends what takes too long or too much.
    fn look_at_time_and_memory(&mut self) -> Result<(), Over> {
        let is_quiet = self.passage.as_ref().is_none_or(Passage::is_at_rest);
        let is_served = is_quiet && self.held.is_none() && self.under_way() == 0 && self.to_client.is_empty();
        if self.ended && is_served && self.to_daemon.is_empty() {
            return Err(Over);
        }
        let is_read_again = self.passage.is_some() && !*self.shared.unread.is_on.borrow();
        let is_pressed = self.ended || is_read_again || (self.session.is_half_asked() && self.held.is_none());
        self.meter.hold_reply(self.session.held() + self.to_client.held());
        let limit = match (self.meter.has_turn(), is_pressed, self.is_unwanted && is_served) {
            (true, ..) => Some(LARGE_WITHIN),
            (false, true, _) => Some(PATIENCE),
            (false, false, true) => Some(IDLE),
            (false, false, false) => None,
        };
        match (limit, self.deadline) {
            (Some(limit), None) => self.deadline = Some(Instant::now() + limit),
            (None, Some(_)) => self.deadline = None,
            (Some(_), Some(_)) | (None, None) => {}
        }
        let held = self.held.as_ref().and_then(|held| held.asking.as_ref());
        let asking = held.map_or(0, |asking| asking.size);
        let next: usize = self.next.iter().map(Next::size).sum();
        let bytes = self.session.held() + asking + next + self.to_client.held() + self.to_daemon.held();
        if self.meter.set(bytes) { Ok(()) } else { Err(Over) }
    }
}

/// Whether the client runs as another user than the daemon, by their user ids, and not as root: then it cannot write
/// the daemon's dump, and is shown no value.
pub(crate) const fn is_another_users(client: u32, daemon: u32) -> bool {
    client != daemon && client != 0
}

async fn answered(held: Option<&mut Held>) -> Result<Answer, oneshot::error::RecvError> {
    match held {
        Some(held) => (&mut held.answer).await,
        None => std::future::pending().await,
    }
}
