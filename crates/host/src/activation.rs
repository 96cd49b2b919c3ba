//! What a supervisor hands over by systemd's conventions (`LISTEN_FDS`), and what it is told (`NOTIFY_SOCKET`).

use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::Environment;
use crate::clock;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// The number of the first descriptor that is handed over.
const FIRST: i32 = 3;
/// Most that are looked at.
const MOST: i32 = 16;

/// What was handed over cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// A socket has no name that is known, or one is missing.
    #[error(
        "a supervisor handed over {found:?}; name the sockets rpc and pub, and control where there is one (FileDescriptorName=)"
    )]
    Names {
        /// The names that were given.
        found: String,
    },
    /// The kernel does not give it to us.
    #[error(
        "cannot take the socket {name} from the supervisor; a filter of system calls has to allow pidfd_getfd"
    )]
    Taking {
        /// Its name.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The sockets that a supervisor handed to this process, with their names. None where there is none.
///
/// Their numbers are all that is known of them, so this process asks the kernel for its own descriptors: copies that
/// are closed on exec. The ones of those numbers stay as they are, until the process ends.
pub fn given(environment: &Environment) -> Result<Vec<(String, OwnedFd)>, ActivationError> {
    let number = |name| environment.text(name).and_then(|text| text.parse::<i32>().ok());
    let is_ours = number("LISTEN_PID") == Some(getpid().as_raw_nonzero().get());
    let count = number("LISTEN_FDS").filter(|count| is_ours && (1..=MOST).contains(count));
    let Some(count) = count else { return Ok(Vec::new()) };
    let names = environment.text("LISTEN_FDNAMES").unwrap_or_default();
    let all: Vec<&str> = names.split(':').collect();
    if i32::try_from(all.len()) != Ok(count) {
        return Err(ActivationError::Names { found: names });
    }
    let take = |(descriptor, name): (i32, &&str)| {
        let taking = |errno: rustix::io::Errno| ActivationError::Taking {
            name: (*name).to_owned(),
            source: errno.into(),
        };
        let own = pidfd_open(getpid(), PidfdFlags::empty()).map_err(taking)?;
        let socket = pidfd_getfd(own, descriptor, PidfdGetfdFlags::empty()).map_err(taking)?;
        Ok(((*name).to_owned(), socket))
    };
    (FIRST..).zip(&all).map(take).collect()
}

/// Tells the supervisor, if there is one that listens, how this process is.
pub fn notify(environment: &Environment, state: &str) {
    // Who started us without a supervisor has nobody to be told.
    tell(environment, state).unwrap_or_default();
}

/// Tells it that this process runs anew, which it may take a moment to do.
pub fn notify_reload(environment: &Environment) {
    notify(environment, &format!("RELOADING=1\nMONOTONIC_USEC={}", clock::monotonic_us()));
}

fn tell(environment: &Environment, state: &str) -> io::Result<()> {
    let Some(path) = environment.get("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(|_sent| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_to_another_process_is_not_ours() {
        let of = |variables: &[(&str, &str)]| given(&variables.iter().copied().collect());
        assert!(of(&[]).unwrap().is_empty());
        let other = [("LISTEN_PID", "1"), ("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "rpc:pub")];
        assert!(of(&other).unwrap().is_empty());
        let own = std::process::id().to_string();
        let nameless = [("LISTEN_PID", own.as_str()), ("LISTEN_FDS", "2")];
        assert!(matches!(of(&nameless), Err(ActivationError::Names { .. })));
    }

    #[test]
    fn a_supervisor_is_told_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let heard = UnixDatagram::bind(&path).unwrap();
        let told = |value: &str| {
            let environment: Environment = [("NOTIFY_SOCKET", value)].into_iter().collect();
            tell(&environment, "READY=1").unwrap();
        };
        let mut buffer = [0; 64];
        told(path.to_str().unwrap());
        assert_eq!(heard.recv(&mut buffer).map(|count| buffer[..count].to_vec()).unwrap(), b"READY=1");
        let name = format!("palisade-{}", std::process::id());
        let heard = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        told(&format!("@{name}"));
        assert_eq!(heard.recv(&mut buffer).map(|count| buffer[..count].to_vec()).unwrap(), b"READY=1");
    }
}
