//! What a connection does with its sockets: wait for them, read and write what they take, and no more.

use std::io;

use palisade_pm2::outgoing::Outgoing;
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

pub(crate) fn write(to: &OwnedWriteHalf, waiting: &mut Outgoing) -> Result<(), Over> {
    match to.try_write(waiting.unwritten()) {
        Ok(count) => {
            waiting.wrote(count);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(_) => Err(Over),
    }
}
