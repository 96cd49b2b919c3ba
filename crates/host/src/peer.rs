//! Who is at the other end of a Unix socket, from the kernel and not from the peer.

use std::io;
use std::os::fd::AsFd;

use palisade_core::actor::ProcessRef;
use rustix::net::UCred;
use serde::{Deserialize, Serialize};

use crate::process;

/// The process that connected, as the kernel noted it at that moment.
///
/// It names who *connected*: a socket may be passed on, and a process may change its user afterwards. So `uid` is
/// what to authorise by; the process is for the record and for refusing. Peer and reader must share a pid namespace:
/// a number of another one names nobody here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Process id at the time of connecting.
    pub pid: u32,
    /// Effective user id at the time of connecting.
    pub uid: u32,
    /// Effective group id at the time of connecting.
    pub gid: u32,
    /// That process with its start time, if one with that number and user is still there.
    pub process: Option<ProcessRef>,
}

/// The kernel did not tell who is at the other end.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the credentials of the socket's peer")]
pub struct Error(#[source] io::Error);

/// Reads the credentials of the peer of a connected Unix socket, and looks at its process.
///
/// # Errors
/// If `socket` is not a connected Unix socket.
pub fn of(socket: impl AsFd) -> Result<Peer, Error> {
    let credentials = credentials(socket)?;
    let pid = credentials.pid.as_raw_nonzero().get().unsigned_abs();
    let (uid, gid) = (credentials.uid.as_raw(), credentials.gid.as_raw());
    Ok(Peer { pid, uid, gid, process: named(pid, uid) })
}

/// The effective user id of the peer of a connected Unix socket, at the time of connecting. Its process is not looked at,
/// which takes three files of `/proc`.
///
/// # Errors
/// As [`of`].
pub fn uid_of(socket: impl AsFd) -> Result<u32, Error> {
    Ok(credentials(socket)?.uid.as_raw())
}

fn credentials(socket: impl AsFd) -> Result<UCred, Error> {
    rustix::net::sockopt::socket_peercred(socket).map_err(|errno| Error(errno.into()))
}

/// The process now called `pid`, unless it runs as another user: then the number was probably given away again.
fn named(pid: u32, uid: u32) -> Option<ProcessRef> {
    let process = process::stat(pid).ok()?.process;
    let same_user = process::credentials(pid).ok()?.uid == uid;
    (same_user && process::is_alive(process)).then_some(process)
}
