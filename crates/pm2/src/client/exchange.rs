//! Requests out, replies in, matched by id.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{ReadHalf, WriteHalf};

use super::answer::{Answer, Lost, ProtocolError, read};
use crate::wire::{Arg, Decoder, encode};

/// Most calls that wait for their reply at once.
pub const IN_FLIGHT: usize = 16;

/// Bytes that are read at once: more would cost more in fresh pages than it saves in calls to the kernel.
const READ_BYTES: usize = 64 * 1024;

/// Is told when all that was asked is on its way, is shown the JSON of the last reply while it arrives, and once more
/// when it is whole. Then it says whether it has read all of it, so that nobody else has to.
pub(super) type Reader<'a> = &'a mut (dyn FnMut(Arrived<'_>) -> bool + Send);

/// A reply's JSON.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arrived<'a> {
    /// Nothing: the last request has just been handed to the kernel, and the daemon will think about it.
    NotYet,
    /// Its beginning.
    Partly(&'a [u8]),
    /// All of it.
    Whole(&'a [u8]),
}

/// One connection. `None` once it was given up.
pub(super) struct Connection {
    stream: Option<UnixStream>,
    decoder: Decoder,
    next_id: u64,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.stream.is_some() { "Connection(open)" } else { "Connection(given up)" })
    }
}

/// One exchange: what still has to be written, what waits for its reply, and the answers so far.
struct Batch {
    requests: VecDeque<Request>,
    /// Bytes to be written, and how many of them were.
    outgoing: Vec<u8>,
    written: usize,
    /// By id: the call's place, and where its request ends in `outgoing`.
    waiting: BTreeMap<String, (usize, usize)>,
    answers: Vec<Option<Answer>>,
}

struct Request {
    place: usize,
    id: String,
    bytes: Vec<u8>,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream: Some(stream), decoder: Decoder::new(), next_id: 0 }
    }

    /// Sends `bodies` and collects one answer for each. Anything but an orderly exchange closes the connection.
    pub(super) async fn exchange(&mut self, bodies: Vec<String>, deadline: Duration) -> Vec<Answer> {
        self.exchange_watched(bodies, deadline, &mut |_| false).await
    }

    /// As [`Connection::exchange`], with `reader` to read the last call's reply while it arrives. It is shown no byte
    /// before all others have been answered, for only then it is clear which reply that is.
    pub(super) async fn exchange_watched(
        &mut self,
        bodies: Vec<String>,
        deadline: Duration,
        reader: Reader<'_>,
    ) -> Vec<Answer> {
        let mut batch = self.batch(&bodies);
        let Some(mut stream) = self.stream.take() else { return batch.end(&Lost::GivenUp) };
        let run = batch.run(&mut stream, &mut self.decoder, reader);
        let exchanged = tokio::time::timeout(deadline, run).await;
        let lost = match exchanged {
            Ok(Ok(())) => {
                self.stream = Some(stream);
                Lost::GivenUp
            }
            Ok(Err(lost)) => lost,
            Err(_) => Lost::Deadline(deadline),
        };
        batch.end(&lost)
    }

    fn batch(&mut self, bodies: &[String]) -> Batch {
        let mut batch = Batch {
            requests: VecDeque::new(),
            outgoing: Vec::new(),
            written: 0,
            waiting: BTreeMap::new(),
            answers: bodies.iter().map(|_| None).collect(),
        };
        for (place, body) in bodies.iter().enumerate() {
            let id = format!("{}:{}", std::process::id(), self.next_id);
            self.next_id += 1;
            match encode(&[Arg::Json(body), Arg::Text(&id)]) {
                Ok(bytes) => batch.requests.push_back(Request { place, id, bytes }),
                Err(error) => batch.answers[place] = Some(Answer::NotSent(Lost::TooLarge(error))),
            }
        }
        batch
    }
}

impl Batch {
    async fn run(
        &mut self,
        stream: &mut UnixStream,
        decoder: &mut Decoder,
        reader: Reader<'_>,
    ) -> Result<(), Lost> {
        let (mut from, mut to) = stream.split();
        let mut buffer = vec![0; READ_BYTES];
        self.fill();
        let mut asked = false;
        while !self.waiting.is_empty() {
            if !asked && self.requests.is_empty() && self.written == self.outgoing.len() {
                asked = true;
                reader(Arrived::NotYet);
            }
            // Reading goes on while writing waits, so that two full buffers cannot block each other.
            tokio::select! {
                written = write(&mut to, &self.outgoing[self.written..]), if self.written < self.outgoing.len() => {
                    self.written += written?;
                }
                count = receive(&mut from, &mut buffer) => {
                    decoder.push(&buffer[..count?]);
                    self.take_replies(decoder, reader)?;
                    self.fill();
                }
            }
        }
        if decoder.pending() > 0 {
            return Err(Lost::Protocol(ProtocolError::Unmatched));
        }
        Ok(())
    }

    /// Puts requests into the outgoing bytes as long as fewer than [`IN_FLIGHT`] wait.
    fn fill(&mut self) {
        if self.written == self.outgoing.len() {
            self.outgoing.clear();
            self.written = 0;
            self.waiting.values_mut().for_each(|(_, end)| *end = 0);
        }
        while self.waiting.len() < IN_FLIGHT
            && let Some(request) = self.requests.pop_front()
        {
            self.outgoing.extend_from_slice(&request.bytes);
            self.waiting.insert(request.id, (request.place, self.outgoing.len()));
        }
    }

    fn take_replies(&mut self, decoder: &mut Decoder, reader: Reader<'_>) -> Result<(), Lost> {
        let protocol = |error: ProtocolError| Lost::Protocol(error);
        while let Some(frame) = decoder.next_frame().map_err(|error| protocol(error.into()))? {
            let last = self.only_last_waits();
            let mut seen = |json: &[u8]| last && reader(Arrived::Whole(json));
            let (id, answer) = read(frame, &mut seen).map_err(protocol)?;
            let (place, _) = self.waiting.remove(&id).ok_or(Lost::Protocol(ProtocolError::Unmatched))?;
            self.answers[place] = Some(answer);
        }
        if self.only_last_waits()
            && let Some(json) = decoder.first_argument().strip_prefix(b"j:")
        {
            reader(Arrived::Partly(json));
        }
        Ok(())
    }

    fn only_last_waits(&self) -> bool {
        let last = self.answers.len().checked_sub(1);
        self.waiting.len() == 1 && self.waiting.values().next().map(|(place, _)| *place) == last
    }

    /// The answers; calls without one were lost. A request of which even one byte was not handed to the kernel
    /// cannot be carried out, for the connection is closed and the frame never complete.
    fn end(mut self, lost: &Lost) -> Vec<Answer> {
        for (place, end) in std::mem::take(&mut self.waiting).into_values() {
            let sent = end <= self.written;
            let answer = if sent { Answer::NoReply(lost.clone()) } else { Answer::NotSent(lost.clone()) };
            self.answers[place] = Some(answer);
        }
        self.answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(|| Answer::NotSent(lost.clone())))
            .collect()
    }
}

async fn write(to: &mut WriteHalf<'_>, bytes: &[u8]) -> Result<usize, Lost> {
    match to.write(bytes).await {
        Ok(0) => Err(Lost::Closed),
        Ok(count) => Ok(count),
        Err(error) => Err(Lost::Broken(error.kind())),
    }
}

async fn receive(from: &mut ReadHalf<'_>, buffer: &mut [u8]) -> Result<usize, Lost> {
    match from.read(buffer).await {
        Ok(0) => Err(Lost::Closed),
        Ok(count) => Ok(count),
        Err(error) => Err(Lost::Broken(error.kind())),
    }
}
