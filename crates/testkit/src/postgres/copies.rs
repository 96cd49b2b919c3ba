//! Copies of a running server, as people make them: a base backup, a standby, a dump.

use std::fs;
use std::process::Command;

use super::{Postgres, launch, parts};
use crate::psql::Psql;
use crate::{Scratch, eventually};

impl Postgres {
    /// A physical copy of this server, started on its own: what a restored snapshot or base backup is.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn physical_copy(&self) -> Self {
        self.copied(|_| {})
    }

    /// A standby that follows this server.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn standby(&self) -> Self {
        let primary = format!(
            "primary_conninfo = 'host=127.0.0.1 port={} user=postgres password={}'\n",
            self.port,
            super::PASSWORD
        );
        let standby = self.copied(|scratch| {
            own(scratch, "data/standby.signal", "");
            let settings = scratch.join("data/postgresql.auto.conf");
            let before = fs::read_to_string(&settings).unwrap_or_default();
            own(scratch, "data/postgresql.auto.conf", &format!("{before}{primary}"));
        });
        assert_eq!(standby.sql("postgres", "SELECT pg_is_in_recovery()"), "t");
        standby
    }

    /// Makes a primary of a standby.
    ///
    /// # Panics
    /// If it does not become one.
    pub fn promote(&self) {
        self.sql("postgres", "SELECT pg_promote()");
        eventually("the standby is promoted", || {
            (self.sql("postgres", "SELECT pg_is_in_recovery()") == "f").then_some(())
        });
    }

    /// Dumps a database, rows and all, into an empty one of another server. For 15 only, as [`Self::dump_as`].
    ///
    /// # Panics
    /// If the dump or its restore fails.
    pub fn dump_into(&self, database: &str, other: &Self, into: &str) {
        let scratch = Scratch::new();
        let file = scratch.join("dump");
        let mut dump = Command::new(parts::server(self.version, "pg_dump"));
        let dump = dump.args(["-Fc", "-f"]).arg(&file).arg(self.admin(database)).output();
        let dump = dump.expect("pg_dump can be started");
        assert!(dump.status.success(), "pg_dump failed: {}", String::from_utf8_lossy(&dump.stderr));
        let mut restore = Command::new(parts::server(self.version, "pg_restore"));
        let restore = restore.args(["--exit-on-error", "-d", &other.admin(into)]).arg(&file).output();
        let restore = restore.expect("pg_restore can be started");
        assert!(restore.status.success(), "pg_restore failed: {}", String::from_utf8_lossy(&restore.stderr));
    }

    /// Copies the data folder while the server says that it is being copied, and starts the copy.
    fn copied(&self, change: impl FnOnce(&Scratch)) -> Self {
        let scratch = Scratch::new();
        let mut session = Psql::open(&self.admin("postgres"));
        assert_eq!(session.ask("SELECT pg_backup_start('copy', true)").1, "00000");
        let copied = Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .arg(self.scratch.join("data"))
            .arg(scratch.join("data"))
            .status()
            .expect("cp can be started");
        assert!(copied.success(), "cannot copy the data folder");
        let (label, sqlstate) = session.ask("SELECT labelfile FROM pg_backup_stop(false)");
        assert_eq!(sqlstate, "00000");
        // The log up to the end of the backup is needed too.
        let wal = Command::new("cp")
            .arg("-a")
            .arg(self.scratch.join("data/pg_wal/."))
            .arg(scratch.join("data/pg_wal"))
            .status()
            .expect("cp can be started");
        assert!(wal.success(), "cannot copy the log");
        drop(fs::remove_file(scratch.join("data/postmaster.pid")));
        if let Some((uid, gid)) = parts::server_user() {
            std::os::unix::fs::chown(scratch.path(), Some(uid), Some(gid))
                .expect("the files of a test can be written");
        }
        own(&scratch, "data/backup_label", &format!("{label}\n"));
        change(&scratch);
        let (port, child) = launch(self.version, &scratch, &self.settings);
        Self { version: self.version, disk: None, scratch, port, settings: self.settings.clone(), child }
    }
}

/// Writes a file that belongs to the server.
fn own(scratch: &Scratch, name: &str, text: &str) {
    let path = scratch.write(name, text);
    if let Some((uid, gid)) = parts::server_user() {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("it was just made");
    }
}
