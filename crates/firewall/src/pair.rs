//! The pair of sockets between holder and judge: whole messages, and descriptors beside the first one.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::message::{Handed, Handover, PROTOCOL};

/// Largest message, in bytes. A question holds names that a request of at most 1 MiB gave, escaped.
const CAP: usize = 8 * 1024 * 1024;
/// Most descriptors that are handed over.
const MOST_HANDED: usize = 64;
/// Bytes that are read at once.
const READ: usize = 16 * 1024;

/// The other side is gone, or what it says is not understood.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// It closed its end.
    #[error("the other side is gone")]
    Gone,
    /// The kernel refused.
    #[error("the pair of holder and judge broke")]
    Io(#[from] io::Error),
    /// A message is larger than any can be, or not one of ours.
    #[error("a message between holder and judge is not as expected")]
    Message,
    /// The other side speaks a version that this one does not know.
    #[error("the holder speaks version {0} of the messages, and this judge {PROTOCOL}; restart the firewall")]
    Version(u32),
}

/// A descriptor, and what it is.
pub(crate) type Shared = (Handed, OwnedFd);

/// One end. Nothing is lost when a wait for a message is given up.
#[derive(Debug)]
pub(crate) struct Pair {
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Pair {
    /// An end of which `incoming` was read already.
    pub(crate) fn new(stream: StdStream, incoming: Vec<u8>) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream: UnixStream::from_std(stream)?, incoming, outgoing: Vec::new() })
    }

    /// Puts a message behind those that wait to be written.
    pub(crate) fn send<M: Serialize>(&mut self, message: &M) {
        self.outgoing.extend(frame(message));
        // What cannot be written now is written while the next message is waited for.
        drop(self.write());
    }

    /// Whether the other side reads what it is told, as far as one can see: less than two of the largest messages wait.
    pub(crate) fn has_room(&self) -> bool {
        self.outgoing.len() < 2 * CAP
    }

    /// Writes what waits and gives the next message.
    pub(crate) async fn next<M: DeserializeOwned>(&mut self) -> Result<M, PairError> {
        loop {
            if let Some(message) = take(&mut self.incoming)? {
                return Ok(message);
            }
            let both = Interest::READABLE | Interest::WRITABLE;
            let interest = if self.outgoing.is_empty() { Interest::READABLE } else { both };
            let ready = self.stream.ready(interest).await?;
            self.write()?;
            if ready.is_readable() {
                self.read()?;
            }
        }
    }

    /// Waits until everything is written.
    pub(crate) async fn flush(&mut self) -> Result<(), PairError> {
        while !self.outgoing.is_empty() {
            self.stream.writable().await?;
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), PairError> {
        while !self.outgoing.is_empty() {
            match self.stream.try_write(&self.outgoing) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.outgoing.shrink_to(READ);
        Ok(())
    }

    fn read(&mut self) -> Result<(), PairError> {
        let mut buffer = [0; READ];
        match self.stream.try_read(&mut buffer) {
            Ok(0) => Err(PairError::Gone),
            Ok(count) => {
                self.incoming.extend_from_slice(&buffer[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A message with its length before it.
fn frame<M: Serialize>(message: &M) -> Vec<u8> {
    // Our own types have string keys only, which is all that writing JSON can fail by.
    let body = serde_json::to_vec(message).unwrap_or_default();
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), &body[..]].concat()
}

/// Takes the first message, if it is whole.
fn take<M: DeserializeOwned>(bytes: &mut Vec<u8>) -> Result<Option<M>, PairError> {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| PairError::Message)?;
    if length > CAP {
        return Err(PairError::Message);
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let message = serde_json::from_slice(body).map_err(|_| PairError::Message)?;
    bytes.drain(..4 + length);
    bytes.shrink_to(READ);
    Ok(Some(message))
}

/// Sends what is to be handed over as the first message. What is written before the other side starts waits in the
/// kernel, so a pair can be filled first and given to a program then.
pub(crate) fn hand_over(stream: &StdStream, handed: &[(Handed, BorrowedFd<'_>)]) -> io::Result<()> {
    let sockets = handed.iter().map(|(what, _)| *what).collect();
    let bytes = frame(&Handover { protocol: PROTOCOL, sockets });
    let descriptors: Vec<BorrowedFd<'_>> = handed.iter().map(|(_, descriptor)| *descriptor).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_HANDED))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let sent = sendmsg(stream, &[IoSlice::new(&bytes)], &mut control, SendFlags::empty())?;
    if sent == bytes.len() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::WriteZero)) }
}

/// Takes what was handed over, and the bytes that came after it.
pub(crate) fn taken(stream: impl AsFd) -> Result<(Vec<Shared>, Vec<u8>), PairError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_HANDED))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = [0; READ];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got =
        recvmsg(stream, &mut [IoSliceMut::new(&mut buffer)], &mut control, flags).map_err(io::Error::from)?;
    let mut bytes = buffer[..got.bytes].to_vec();
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors: Vec<OwnedFd> = rights.flatten().collect();
    let handover: Handover = take(&mut bytes)?.ok_or(PairError::Message)?;
    if handover.protocol != PROTOCOL {
        return Err(PairError::Version(handover.protocol));
    }
    if handover.sockets.len() != descriptors.len() {
        return Err(PairError::Message);
    }
    Ok((handover.sockets.into_iter().zip(descriptors).collect(), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{FromJudge, ToJudge};

    #[test]
    fn descriptors_come_with_their_names_and_messages_behind_them_are_kept() {
        let (ours, theirs) = StdStream::pair().unwrap();
        let (one, other) = StdStream::pair().unwrap();
        hand_over(&ours, &[(Handed::Rpc, one.as_fd()), (Handed::Lock, other.as_fd())]).unwrap();
        std::io::Write::write_all(&mut &ours, &frame(&ToJudge::Beat)).unwrap();
        let (handed, mut rest) = taken(&theirs).unwrap();
        assert_eq!(handed.iter().map(|(what, _)| *what).collect::<Vec<_>>(), [Handed::Rpc, Handed::Lock]);
        if rest.is_empty() {
            let mut buffer = [0; 64];
            let count = std::io::Read::read(&mut &theirs, &mut buffer).unwrap();
            rest.extend(&buffer[..count]);
        }
        assert_eq!(take(&mut rest).unwrap(), Some(ToJudge::Beat));
    }

    #[test]
    fn a_message_is_taken_when_it_is_whole_wherever_it_was_cut() {
        let bytes = frame(&FromJudge::Failed { exit: 1, text: "no".to_owned() });
        for cut in 0..bytes.len() {
            let mut some = bytes[..cut].to_vec();
            assert!(take::<FromJudge>(&mut some).unwrap().is_none(), "cut at {cut}");
            some.extend(&bytes[cut..]);
            assert!(take::<FromJudge>(&mut some).unwrap().is_some() && some.is_empty());
        }
        assert!(take::<FromJudge>(&mut vec![0xff; 8]).is_err());
    }

    #[test]
    fn another_version_is_told_and_not_guessed_at() {
        let (ours, theirs) = StdStream::pair().unwrap();
        let bytes = frame(&Handover { protocol: PROTOCOL + 1, sockets: Vec::new() });
        std::io::Write::write_all(&mut &ours, &bytes).unwrap();
        assert!(matches!(taken(&theirs), Err(PairError::Version(_))));
    }
}
