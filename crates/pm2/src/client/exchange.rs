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

/// Is told when what was asked is on its way, and is shown the JSON of the reply while it arrives. It says how many bytes
/// of that it has read: they are not shown again, nor kept.
pub(super) type Reader<'a> = &'a mut (dyn FnMut(Arrived<'_>) -> usize + Send);

/// A reply's JSON, without what the reader has read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Arrived<'a> {
    /// Nothing: the request has just been handed to the kernel, and the daemon will think about it.
    NotYet,
    /// What has arrived.
    Partly(&'a [u8]),
    /// All that was left.
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
        self.run(bodies, deadline, None).await
    }

    /// As [`Connection::exchange`] for one call, with `reader` to read its reply while it arrives.
    pub(super) async fn exchange_read(
        &mut self,
        body: String,
        deadline: Duration,
        reader: Reader<'_>,
    ) -> Answer {
        let mut answers = self.run(vec![body], deadline, Some(reader)).await;
        answers.pop().unwrap_or(Answer::NotSent(Lost::GivenUp))
    }

    async fn run(
        &mut self,
        bodies: Vec<String>,
        deadline: Duration,
        reader: Option<Reader<'_>>,
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
        mut reader: Option<Reader<'_>>,
    ) -> Result<(), Lost> {
        let (mut from, mut to) = stream.split();
        self.fill();
        let mut asked = false;
        while !self.waiting.is_empty() {
            if !asked && self.requests.is_empty() && self.written == self.outgoing.len() {
                asked = true;
                if let Some(reader) = &mut reader {
                    reader(Arrived::NotYet);
                }
            }
            // Reading goes on while writing waits, so that two full buffers cannot block each other.
            tokio::select! {
                written = write(&mut to, &self.outgoing[self.written..]), if self.written < self.outgoing.len() => {
                    self.written += written?;
                }
                received = receive(&mut from, decoder) => {
                    received?;
                    self.take_replies(decoder, reader.as_deref_mut())?;
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

    fn take_replies(
        &mut self,
        decoder: &mut Decoder,
        mut reader: Option<&mut (dyn FnMut(Arrived<'_>) -> usize + Send + '_)>,
    ) -> Result<(), Lost> {
        let protocol = |error: ProtocolError| Lost::Protocol(error);
        loop {
            let begun = decoder.is_within_a_frame();
            let Some(frame) = decoder.next_frame().map_err(|error| protocol(error.into()))? else { break };
            let mut rest = |json: &[u8]| reader.as_mut().map_or(0, |reader| reader(Arrived::Whole(json)));
            let (id, answer) = read(frame, begun, &mut rest).map_err(protocol)?;
            let (place, _) = self.waiting.remove(&id).ok_or(Lost::Protocol(ProtocolError::Unmatched))?;
            self.answers[place] = Some(answer);
        }
        if let Some(reader) = reader
            && let Some(json) = decoder.json_so_far()
        {
            let read = reader(Arrived::Partly(json));
            decoder.forget(read);
        }
        Ok(())
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

async fn receive(from: &mut ReadHalf<'_>, decoder: &mut Decoder) -> Result<(), Lost> {
    match from.read_buf(decoder.room()).await {
        Ok(0) => Err(Lost::Closed),
        Ok(_) => Ok(()),
        Err(error) => Err(Lost::Broken(error.kind())),
    }
}
