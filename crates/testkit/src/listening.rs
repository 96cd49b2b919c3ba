//! Servers of a test that are given a port and have to come up on it.

use std::net::TcpStream;
use std::process::{Child, Command};

use crate::postgres::free_port;
use crate::{process, within_patience};

/// How often another port is tried: between finding a free one and its use, somebody else may take it.
const TRIES: usize = 5;

/// Starts what `command` gives for a free port of 127.0.0.1, and waits until it listens there. `None` if it never does.
///
/// # Panics
/// With `missing`, if the program cannot be started at all.
pub(crate) fn on_a_free_port(missing: &str, command: impl Fn(u16) -> Command) -> Option<(Child, u16)> {
    (0..TRIES).find_map(|_| {
        let port = free_port();
        let mut child = command(port).spawn().unwrap_or_else(|error| panic!("{missing}: {error}"));
        let up = within_patience(|| {
            if child.try_wait().expect("a child can be looked at").is_some() {
                return Some(false);
            }
            TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true)
        });
        if up == Some(true) {
            return Some((child, port));
        }
        process::kill(child.id());
        drop(child.wait());
        None
    })
}
