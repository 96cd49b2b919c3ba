//! Becoming a holder without giving up the sockets: the same process runs the program anew, and finds them handed
//! over on its standard input. So a judge takes the place of its holder, and a holder that of its older version.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::holder::OWN_IMAGE;
use crate::message::Handed;
use crate::pair::hand_over;

/// Sockets on their way to another program.
#[derive(Debug)]
pub struct Sockets(pub(crate) Vec<(Handed, OwnedFd)>);

/// Runs the program at `path`, or this process's own image where that cannot be run, as the holder of `sockets`.
/// Returns only if neither can be run.
pub fn become_holder(path: &Path, args: &[OsString], sockets: &Sockets) -> io::Error {
    let given = |path: &Path| match prepared(path, args, sockets) {
        Ok(mut command) => command.exec(),
        Err(error) => error,
    };
    drop(given(path));
    given(Path::new(OWN_IMAGE))
}

fn prepared(path: &Path, args: &[OsString], sockets: &Sockets) -> io::Result<Command> {
    let (ours, theirs) = UnixStream::pair()?;
    let sockets: Vec<_> = sockets.0.iter().map(|(what, socket)| (*what, socket.as_fd())).collect();
    hand_over(&ours, &sockets)?;
    let mut command = Command::new(path);
    command.arg0("palisade-firewall").arg("--handed").args(args).stdin(Stdio::from(OwnedFd::from(theirs)));
    Ok(command)
}
