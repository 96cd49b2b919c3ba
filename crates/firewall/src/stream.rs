//! What a connection does with its sockets: wait for them, read and write what they take, and no more.

use std::io;

use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Bytes for one side beyond which the other side is not read.
pub(crate) const MOST_OUTGOING: usize = 64 * 1024;
/// Bytes that are read at once.
const READ: usize = 64 * 1024;

/// The connection is over, and why does not matter to anybody but the peer, who knows.
pub(crate) struct Over;

/// What can be done with the daemon.
pub(crate) enum Ready {
    Read,
    Write,
}

pub(crate) async fn daemon_ready(
    daemon: Option<&(OwnedReadHalf, OwnedWriteHalf)>,
    reads: bool,
    written: bool,
) -> io::Result<Ready> {
    let Some((from, to)) = daemon else { return std::future::pending().await };
    tokio::select! {
        ready = from.readable(), if reads => ready.map(|()| Ready::Read),
        ready = to.writable(), if !written => ready.map(|()| Ready::Write),
        else => std::future::pending().await,
    }
}

/// Waits until the firewall ends.
pub(crate) async fn draining(drain: &mut watch::Receiver<bool>) {
    // That nobody can say so any more means the same.
    drop(drain.wait_for(|draining| *draining).await);
}

pub(crate) async fn time(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// What came of reading.
pub(crate) enum Read {
    Some,
    End,
    Broken,
}

pub(crate) fn read(from: &OwnedReadHalf, mut take: impl FnMut(&[u8])) -> Read {
    let mut buffer = [0; READ];
    match from.try_read(&mut buffer) {
        Ok(0) => Read::End,
        Ok(count) => {
            take(&buffer[..count]);
            Read::Some
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::Some,
        Err(_) => Read::Broken,
    }
}

/// Frames that wait to be written. What was written of them is dropped at the end and not after each part: a list of
/// a megabyte goes out in many.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
    /// Frames that wait for the end of the one that is under way.
    later: Vec<u8>,
    is_within: bool,
}

impl Outgoing {
    /// Puts a frame behind those that wait; the first one is taken as it is.
    pub(crate) fn push(&mut self, frame: Vec<u8>) {
        if self.is_within {
            self.later.extend(frame);
        } else {
            self.put(frame);
        }
    }

    /// As [`Self::push`], of the frame that is under way: with its end, unless it `goes_on`.
    pub(crate) fn push_part(&mut self, part: Vec<u8>, goes_on: bool) {
        self.put(part);
        self.is_within = goes_on;
        if !goes_on && !self.later.is_empty() {
            let later = std::mem::take(&mut self.later);
            self.put(later);
        }
    }

    fn put(&mut self, frame: Vec<u8>) {
        if self.is_empty() {
            (self.bytes, self.written) = (frame, 0);
            return;
        }
        if self.written > self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        self.bytes.extend(frame);
    }

    /// Bytes that are not written yet.
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len() - self.written + self.later.len()
    }

    /// Whether there is nothing that could be written now.
    pub(crate) const fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    /// Bytes in memory.
    pub(crate) const fn held(&self) -> usize {
        self.bytes.len() + self.later.len()
    }
}

pub(crate) fn write(to: &OwnedWriteHalf, waiting: &mut Outgoing) -> Result<(), Over> {
    match to.try_write(&waiting.bytes[waiting.written..]) {
        Ok(count) => {
            waiting.written += count;
            if waiting.is_empty() {
                (waiting.bytes, waiting.written) = (Vec::new(), 0);
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(_) => Err(Over),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_dropped_and_nothing_else() {
        let mut waiting = Outgoing::default();
        waiting.push(vec![1, 2, 3, 4]);
        waiting.written = 1;
        waiting.push(vec![5]);
        assert_eq!((waiting.len(), waiting.held()), (4, 5));
        waiting.written = 4;
        waiting.push(vec![6, 7]);
        assert_eq!((&waiting.bytes[waiting.written..], waiting.held()), (&[5, 6, 7][..], 3));
    }

    #[test]
    fn nothing_comes_into_the_middle_of_a_frame() {
        let mut waiting = Outgoing::default();
        waiting.push_part(vec![1], true);
        waiting.push(vec![9]);
        waiting.push_part(vec![2], true);
        assert_eq!((waiting.bytes.as_slice(), waiting.len()), (&[1, 2][..], 3));
        waiting.push_part(vec![3], false);
        waiting.push(vec![8]);
        assert_eq!(waiting.bytes, [1, 2, 3, 9, 8]);
    }
}
