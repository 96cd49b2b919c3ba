//! Real Redis servers, each with a folder of its own.

use std::process::{Child, Command, Stdio};

use crate::listening::on_a_free_port;
use crate::postgres::PASSWORD;
use crate::{Scratch, process};

/// A server that asks for [`PASSWORD`] and keeps nothing. Dropping it ends it.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    child: Child,
    _scratch: Scratch,
}

impl Redis {
    /// Starts one.
    ///
    /// # Panics
    /// If Redis is not installed or does not come up.
    #[must_use]
    pub fn start() -> Self {
        let scratch = Scratch::new();
        let up = on_a_free_port("setpriv cannot be started", |port| {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--", "redis-server", "--bind", "127.0.0.1"]);
            command.args(["--port", &port.to_string(), "--requirepass", PASSWORD, "--save", ""]);
            command.arg("--dir").arg(scratch.path()).stdin(Stdio::null()).stdout(Stdio::null());
            command
        });
        if let Some((child, port)) = up {
            return Self { port, child, _scratch: scratch };
        }
        panic!("Redis does not come up: is redis-server installed? `./run test` installs it");
    }

    /// Where it is reached.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}/0", self.port)
    }

    /// The same with a password that is wrong.
    #[must_use]
    pub fn wrong_url(&self) -> String {
        format!("redis://:hunter2@127.0.0.1:{}/0", self.port)
    }

    /// Pid of the server.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        process::kill(self.child.id());
        drop(self.child.wait());
    }
}
