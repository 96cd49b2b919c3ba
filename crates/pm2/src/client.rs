//! A client of the daemon's command socket that never starts a daemon.
//!
//! PM2's own command line starts a new, empty daemon whenever the first connect fails, which makes "no processes"
//! look like an answer. Here a daemon that cannot be reached is [`Unreachable`], with what to do about it.
//!
//! Calls are sent side by side, at most [`IN_FLIGHT`] at once, and replies are matched by id in whatever order
//! they come. A connection on which anything unexpected arrives, or a deadline passes, is given up: a late reply
//! could otherwise be taken for another call's.

mod answer;
mod connect;
mod exchange;
mod growing;

pub use answer::{Answer, Lost, ProtocolError, Reply};
pub use connect::{Barrier, ConnectError, Unreachable, dial};
pub use exchange::IN_FLIGHT;
pub use growing::Entry;

use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_core::actor::ProcessRef;

use crate::acquainted::Acquainted;
use crate::methods::{Call, Method};
use exchange::{Arrived, Connection};
use growing::Growing;

/// What is done by this thread while the daemon, which it is told, thinks about a list: once, as soon as the question is
/// on its way, and not at all where it never gets that far. A list of 200 processes takes the daemon 12 ms and more, and
/// a thread beside this one would compete with the daemon for a processor.
pub type Meanwhile<'a> = &'a mut (dyn FnMut(ProcessRef) + Send);

/// A connection to one daemon, which has said its version and its methods.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    connection: Connection,
    daemon: ProcessRef,
    uid: u32,
    version: String,
    methods: Vec<Method>,
    unknown: Vec<String>,
}

impl Client {
    /// The daemon's process, from the socket's peer credentials.
    #[must_use]
    pub const fn daemon(&self) -> ProcessRef {
        self.daemon
    }

    /// Effective user id of the daemon.
    #[must_use]
    pub const fn uid(&self) -> u32 {
        self.uid
    }

    /// The version that the daemon gave.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The socket that was connected to.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The methods that the daemon named and the table knows.
    #[must_use]
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// The methods that the daemon named and the table does not know: a newer PM2.
    #[must_use]
    pub fn unknown_methods(&self) -> &[String] {
        &self.unknown
    }

    /// Sends one call and waits for its answer, for at most `deadline`.
    pub async fn call(&mut self, call: &Call, deadline: Duration) -> Answer {
        let mut answers = self.batch(std::slice::from_ref(call), deadline).await;
        answers.pop().unwrap_or(Answer::NotSent(Lost::GivenUp))
    }

    /// Sends a call whose result is a list of objects, does `meanwhile` while the daemon thinks, and reads the entries
    /// while they arrive. `None` stands for a result that is no such list.
    ///
    /// # Errors
    /// Any answer but [`Answer::Done`].
    pub async fn call_list<T: Entry>(
        &mut self,
        call: &Call,
        deadline: Duration,
        meanwhile: Meanwhile<'_>,
    ) -> Result<Option<Vec<T>>, Answer> {
        if !self.methods.contains(&call.method()) {
            return Err(Answer::NotSent(Lost::NotOffered(call.method())));
        }
        let daemon = self.daemon;
        let mut thinks = || meanwhile(daemon);
        let (answer, read) = listed(&mut self.connection, call, deadline, &mut thinks).await;
        list_of(answer, read)
    }

    /// Connects, asks for a list as [`Client::call_list`] does, and says who answers. A daemon that `acquainted` knows is
    /// asked for nothing else: that very process has introduced itself before.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_and_list<T: Entry>(
        socket: &Path,
        call: &Call,
        deadline: Duration,
        acquainted: Option<&Acquainted>,
        meanwhile: Meanwhile<'_>,
    ) -> Result<(ProcessRef, Result<Option<Vec<T>>, Answer>), ConnectError> {
        let mut reached = connect::reach(socket, deadline).await?;
        if !acquainted.is_some_and(|acquainted| acquainted.with(reached.daemon)) {
            let mut client = Self::introduce(socket, deadline, reached).await?;
            acquainted.inspect(|acquainted| acquainted.note(client.daemon));
            let list = client.call_list(call, deadline, meanwhile).await;
            return Ok((client.daemon, list));
        }
        let mut thinks = || meanwhile(reached.daemon);
        let (answer, read) = listed(&mut reached.connection, call, deadline, &mut thinks).await;
        if let Answer::NoReply(Lost::Deadline(_)) = answer {
            return Err(Unreachable::Silent { socket: socket.to_owned(), deadline }.into());
        }
        Ok((reached.daemon, list_of(answer, read)))
    }

    /// Sends calls side by side and waits for all answers, for at most `deadline` in all: one answer for each
    /// call, in the order of the calls. A call whose method the daemon did not name is not sent.
    pub async fn batch(&mut self, calls: &[Call], deadline: Duration) -> Vec<Answer> {
        let offered = |call: &&Call| self.methods.contains(&call.method());
        let bodies = calls.iter().filter(offered).map(Call::body).collect();
        let known: Vec<bool> = calls.iter().map(|call| self.methods.contains(&call.method())).collect();
        let mut answers = self.connection.exchange(bodies, deadline).await.into_iter();
        let mut next = || answers.next().unwrap_or(Answer::NotSent(Lost::GivenUp));
        let answer = |(call, known): (&Call, bool)| {
            if known { next() } else { Answer::NotSent(Lost::NotOffered(call.method())) }
        };
        calls.iter().zip(known).map(answer).collect()
    }
}

/// Sends a call that is answered by a list, says when the daemon `thinks`, and reads the entries while they arrive.
async fn listed<T: Entry>(
    connection: &mut Connection,
    call: &Call,
    deadline: Duration,
    thinks: &mut (dyn FnMut() + Send),
) -> (Answer, Option<Vec<T>>) {
    let mut growing = Growing::<T>::new();
    let mut read = false;
    let mut reader = |arrived: Arrived<'_>| match arrived {
        Arrived::NotYet => {
            thinks();
            0
        }
        Arrived::Partly(json) => growing.look(json),
        Arrived::Whole(json) => {
            read = growing.finish(json);
            if read { json.len() } else { 0 }
        }
    };
    let answer = connection.exchange_read(call.body(), deadline, &mut reader).await;
    (answer, read.then(|| growing.into_entries()))
}

/// The list that was read while it arrived, or else is in the answer.
fn list_of<T: Entry>(answer: Answer, read: Option<Vec<T>>) -> Result<Option<Vec<T>>, Answer> {
    match (answer, read) {
        (Answer::Done(_), Some(entries)) => Ok(Some(entries)),
        (Answer::Done(reply), None) => Ok(reply.read().ok()),
        (other, _) => Err(other),
    }
}
