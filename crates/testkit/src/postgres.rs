//! Real PostgreSQL servers: 15 from Debian, 18 from npm, each on a copy of a data folder made once.

mod copies;
mod parts;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub use parts::{PASSWORD, VERSIONS};
pub(crate) use parts::{as_server_user, free_port, server_user};

use crate::psql::{Psql, Said, psql};
use crate::{Disk, Scratch, eventually, process};

/// A server of its own with a data folder of its own. Dropping it ends the server and removes the folder.
#[derive(Debug)]
pub struct Postgres {
    version: &'static str,
    /// Before the folder that it is mounted in.
    disk: Option<Disk>,
    scratch: Scratch,
    port: u16,
    settings: Vec<String>,
    child: Child,
}

/// Stands among the settings of a server with a clock of its own.
const OWN_CLOCK: &str = "(its own clock)";
/// Fakes a process's clock by the file that `FAKETIME_TIMESTAMP_FILE` names.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

impl Postgres {
    /// Starts a server of that major version, with the superuser `postgres` and nothing else.
    ///
    /// # Panics
    /// If a part is missing (the message says how to install it) or the server does not come up.
    #[must_use]
    pub fn start(version: &'static str) -> Self {
        Self::start_with(version, &[])
    }

    /// As [`Self::start`], with further settings, such as `log_statement=all`.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn start_with(version: &'static str, settings: &[&str]) -> Self {
        Self::of(version, "", settings)
    }

    /// Starts a server whose data folder is a disk of its own with so many MiB, which [`Self::disk`] fills.
    ///
    /// # Panics
    /// As [`Self::start`], and if no disk can be mounted: that takes root.
    #[must_use]
    pub fn on_a_small_disk(version: &'static str, mib: u32) -> Self {
        let template = parts::template(version, "");
        let scratch = Scratch::new();
        let disk = Disk::mount(scratch.join("data"), mib);
        if let Some((uid, gid)) = parts::server_user() {
            chown(disk.path(), Some(uid), Some(gid)).expect("the files of a test can be written");
        }
        Self::upon(version, &template.join("."), scratch, Some(disk), &[])
    }

    /// The disk of a server that was started [`Self::on_a_small_disk`].
    ///
    /// # Panics
    /// If it was not.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        self.disk.as_ref().expect("it was started on a disk of its own")
    }

    /// Whether its process has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child can be looked at").is_some()
    }

    /// Starts a server of another cluster: its system identifier is not that of the others.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn elsewhere(version: &'static str) -> Self {
        Self::of(version, "-elsewhere", &[])
    }

    /// Starts a server whose clock [`Self::step_clock`] sets.
    ///
    /// # Panics
    /// As [`Self::start`], and if libfaketime is not installed.
    #[must_use]
    pub fn with_a_clock_of_its_own(version: &'static str) -> Self {
        let there = std::path::Path::new(FAKETIME).exists();
        assert!(there, "{FAKETIME} is missing: `./run test` installs it (apt-get install libfaketime)");
        Self::of(version, "", &[OWN_CLOCK])
    }

    /// Steps the clock of the server by so many seconds from the true one.
    ///
    /// # Panics
    /// If the server was not started [`Self::with_a_clock_of_its_own`].
    pub fn step_clock(&self, by_s: i64) {
        assert!(self.settings.iter().any(|setting| setting == OWN_CLOCK), "its clock is the machine's");
        // One write: the server reads the file whenever it asks for the time.
        fs::write(self.scratch.join("clock"), format!("{by_s:+}"))
            .expect("the files of a test can be written");
    }

    /// A copy of the data of the server, which is stopped for it and started again on another port.
    ///
    /// # Panics
    /// If it does not come up again.
    pub fn back_up(&mut self) {
        self.end();
        self.copy("data", "backup");
        (self.port, self.child) = launch(self.version, &self.scratch, &self.settings);
    }

    /// Ends the server, puts the data of [`Self::back_up`] in place of what it has, and starts it on another port.
    ///
    /// # Panics
    /// If there is no backup or the server does not come up.
    pub fn restore(&mut self) {
        self.end();
        fs::remove_dir_all(self.scratch.join("data")).expect("the files of a test can be removed");
        self.copy("backup", "data");
        (self.port, self.child) = launch(self.version, &self.scratch, &self.settings);
    }

    fn copy(&self, from: &str, to: &str) {
        let copied =
            Command::new("cp").arg("-a").arg(self.scratch.join(from)).arg(self.scratch.join(to)).status();
        assert!(copied.expect("cp can be started").success(), "cannot copy {from}");
    }

    fn of(version: &'static str, cluster: &str, settings: &[&str]) -> Self {
        Self::upon(version, &parts::template(version, cluster), Scratch::new(), None, settings)
    }

    fn upon(
        version: &'static str,
        template: &Path,
        scratch: Scratch,
        disk: Option<Disk>,
        settings: &[&str],
    ) -> Self {
        let data = scratch.join("data");
        let copied = Command::new("cp")
            .args(["-a", "--reflink=auto"])
            .arg(template)
            .arg(&data)
            .status()
            .expect("cp can be started");
        assert!(copied.success(), "cannot copy {} to {}", template.display(), data.display());
        if let Some((uid, gid)) = parts::server_user() {
            chown(scratch.path(), Some(uid), Some(gid)).expect("the files of a test can be written");
        }
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        let (port, child) = launch(version, &scratch, &settings);
        Self { version, disk, scratch, port, settings, child }
    }

    /// The folder with the programs of that version, installed if it is not there.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn programs(version: &str) -> PathBuf {
        parts::server(version, "initdb").parent().expect("a program is in a folder").to_owned()
    }

    /// The major version.
    #[must_use]
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Pid of the postmaster.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where a role reaches a database of this server.
    #[must_use]
    pub fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}:{PASSWORD}@127.0.0.1:{}/{database}", self.port)
    }

    /// The superuser on a database of this server.
    #[must_use]
    pub fn admin(&self, database: &str) -> String {
        self.url("postgres", database)
    }

    /// Runs SQL as the superuser and gives what it answered.
    ///
    /// # Panics
    /// If it fails.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        psql(&self.admin(database), sql).succeeds()
    }

    /// Makes a role that may log in with [`PASSWORD`].
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn role(&self, role: &str, options: &str) {
        self.sql("postgres", &format!("CREATE ROLE \"{role}\" LOGIN PASSWORD '{PASSWORD}' {options}"));
    }

    /// Runs SQL as a role and says how it went.
    #[must_use]
    pub fn as_role(&self, role: &str, database: &str, sql: &str) -> Said {
        psql(&self.url(role, database), sql)
    }

    /// An open session of a role.
    #[must_use]
    pub fn session(&self, role: &str, database: &str) -> Psql {
        Psql::open(&self.url(role, database))
    }

    /// The schema of a database as SQL. For 15 only: the packages of 18 have no `pg_dump`.
    ///
    /// # Panics
    /// If it cannot be dumped.
    #[must_use]
    pub fn dump_as(&self, role: &str, database: &str) -> String {
        let mut dump = Command::new(parts::server(self.version, "pg_dump"));
        let ran =
            dump.args(["--schema-only", "--restrict-key=palisade"]).arg(self.url(role, database)).output();
        let ran = ran.expect("pg_dump can be started");
        assert!(ran.status.success(), "pg_dump failed: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).into_owned()
    }

    /// Puts a file into the data folder, readable for the server only.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn install(&self, name: &str, from: &str) {
        let to = self.scratch.join("data").join(name);
        fs::copy(from, &to).unwrap_or_else(|error| panic!("cannot copy {from}: {error}"));
        fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).expect("it was just made");
        if let Some((uid, gid)) = server_user() {
            chown(&to, Some(uid), Some(gid)).expect("it was just made");
        }
    }

    /// A file of the data folder, such as one that the server's own log collector writes; nothing if it is not there.
    #[must_use]
    pub fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_default()
    }

    /// Where a file of the data folder is.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.join("data").join(name)
    }

    /// What the server has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(
            &fs::read(self.scratch.join("log")).expect("the files of a test can be written"),
        )
        .into_owned()
    }

    /// Ends the server in an orderly way and starts it again on the same data and another port.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn restart(&mut self) {
        self.end();
        (self.port, self.child) = launch(self.version, &self.scratch, &self.settings);
    }

    /// Ends the server as a crash would, and starts it again on the same data and another port.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn crash(&mut self) {
        process::quit(self.child.id());
        if crate::within_patience(|| self.child.try_wait().ok().flatten()).is_none() {
            process::kill(self.child.id());
            drop(self.child.wait());
        }
        (self.port, self.child) = launch(self.version, &self.scratch, &self.settings);
    }

    /// Freezes the server with all its processes (SIGSTOP), until the answer is dropped.
    #[must_use]
    pub fn pause(&self) -> Paused {
        // The parent first: it makes no further ones then.
        process::freeze(self.child.id());
        let children = process::children(self.child.id());
        children.iter().copied().for_each(process::freeze);
        Paused(children.into_iter().chain([self.child.id()]).collect())
    }

    fn end(&mut self) {
        // PostgreSQL's fast shutdown: it ends its backends and does not wait for clients.
        process::interrupt(self.child.id());
        if crate::within_patience(|| self.child.try_wait().ok().flatten()).is_none() {
            process::kill(self.child.id());
            drop(self.child.wait());
        }
    }
}

/// A server that stands still. Dropping it lets the server go on.
#[derive(Debug)]
pub struct Paused(Vec<u32>);

impl Drop for Paused {
    fn drop(&mut self) {
        self.0.iter().copied().for_each(process::thaw);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end();
    }
}

/// Tries ports until one is free: between looking and listening somebody else may take it.
fn launch(version: &str, scratch: &Scratch, settings: &[String]) -> (u16, Child) {
    for _ in 0..5 {
        let port = parts::free_port();
        let mut child = spawn(version, scratch, settings, port);
        let status = scratch.join("data/postmaster.pid");
        let up = eventually("PostgreSQL comes up", || {
            if child.try_wait().expect("a child can be looked at").is_some() {
                return Some(false);
            }
            let text = fs::read_to_string(&status).ok()?;
            let state = text.lines().nth(7).map(str::trim);
            matches!(state, Some("ready" | "standby")).then_some(true)
        });
        if up {
            return (port, child);
        }
    }
    let log = fs::read_to_string(scratch.join("log")).unwrap_or_default();
    panic!("PostgreSQL {version} does not come up:\n{log}");
}

fn spawn(version: &str, scratch: &Scratch, settings: &[String], port: u16) -> Child {
    if settings.iter().any(|setting| setting == OWN_CLOCK) && !scratch.join("clock").exists() {
        fs::write(scratch.join("clock"), "+0").expect("the files of a test can be written");
    }
    let log: PathBuf = scratch.join("log");
    let open = || {
        fs::File::options().create(true).append(true).open(&log).expect("the files of a test can be written")
    };
    let program = parts::server(version, "postgres");
    let mut command = if settings.iter().any(|setting| setting == OWN_CLOCK) {
        // Only the server itself is lied to: what became of its user before it would leave a semaphore of root.
        let mut command = parts::as_server_user("env".as_ref());
        command.arg(format!("LD_PRELOAD={FAKETIME}"));
        command.arg(format!("FAKETIME_TIMESTAMP_FILE={}", scratch.join("clock").display()));
        command.args(["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"]).arg(program);
        command
    } else {
        parts::as_server_user(&program)
    };
    command.arg("-D").arg(scratch.join("data")).args(["-p", &port.to_string()]);
    command.arg("-k").arg(scratch.path());
    let quick = ["listen_addresses=127.0.0.1", "fsync=off", "shared_buffers=16MB", "max_connections=60"];
    for setting in quick.into_iter().chain(settings.iter().map(String::as_str)) {
        if setting != OWN_CLOCK {
            command.args(["-c", setting]);
        }
    }
    let spawned = command.stdin(Stdio::null()).stdout(open()).stderr(open()).spawn();
    spawned.unwrap_or_else(|error| panic!("cannot start PostgreSQL {version}: {error}"))
}
