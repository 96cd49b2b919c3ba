//! A real PgBouncer in transaction mode.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::listening::on_a_free_port;
use crate::postgres::{PASSWORD, Postgres, as_server_user, server_user};
use crate::{Scratch, process};

/// A pooler in front of a server, with one server connection per role and database, so that clients really share
/// it. Dropping it ends it.
#[derive(Debug)]
pub struct PgBouncer {
    port: u16,
    child: Child,
    _scratch: Scratch,
}

impl PgBouncer {
    /// Starts one before `server` for these roles.
    ///
    /// # Panics
    /// If PgBouncer is not installed or does not come up.
    #[must_use]
    pub fn before(server: &Postgres, roles: &[&str]) -> Self {
        let program = Path::new("/usr/sbin/pgbouncer");
        assert!(
            program.exists(),
            "PgBouncer is missing: `./run test` installs it (apt-get install pgbouncer)"
        );
        let scratch = Scratch::new();
        if let Some((uid, gid)) = server_user() {
            chown(scratch.path(), Some(uid), Some(gid)).expect("the files of a test can be written");
        }
        let users: String = roles.iter().map(|role| format!("\"{role}\" \"{PASSWORD}\"\n")).collect();
        let users = scratch.write("users", &users);
        let up = on_a_free_port("PgBouncer cannot be started", |port| {
            let settings = scratch.write("pgbouncer.ini", &settings(server.port(), port, &users));
            let log = fs::File::create(scratch.join("log")).expect("the files of a test can be written");
            let mut command = as_server_user(program);
            command.arg(&settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            command
        });
        if let Some((child, port)) = up {
            return Self { port, child, _scratch: scratch };
        }
        panic!("PgBouncer does not come up: {}", fs::read_to_string(scratch.join("log")).unwrap_or_default());
    }

    /// Where a role reaches a database through it.
    #[must_use]
    pub fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        process::kill(self.child.id());
        drop(self.child.wait());
    }
}

fn settings(server: u16, port: u16, users: &Path) -> String {
    format!(
        "[databases]\n* = host=127.0.0.1 port={server}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
         default_pool_size = 1\nmax_client_conn = 100\nlogfile =\npidfile =\n",
        users.display()
    )
}
