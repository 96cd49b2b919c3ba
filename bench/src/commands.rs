//! Whole processes, from before they are made until they have ended and their output has been read.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use palisade_host::Environment;
use palisade_testkit::Scratch;

use crate::Outcome;
use crate::rounds::timed;

/// Palisade's binary and PM2's command line, on one daemon, with state in a folder of their own.
pub(crate) struct Commands {
    palisade: PathBuf,
    pm2: PathBuf,
    home: PathBuf,
    path: OsString,
    state: Scratch,
    run: Cell<u64>,
}

impl Commands {
    pub(crate) fn new(home: &Path) -> Outcome<Self> {
        let folder = palisade_testkit::installed("7.0.4")?;
        let bench = std::env::current_exe()?;
        let palisade = bench.with_file_name("palisade");
        if !palisade.is_file() {
            return Err("no palisade beside this program: start it with `./run bench`".into());
        }
        let environment = Environment::of_this_process();
        let path = environment.get("PATH").ok_or("PATH is not set")?.to_owned();
        let pm2 = folder.join("node_modules/pm2/bin/pm2");
        Ok(Self { palisade, pm2, home: home.to_owned(), path, state: Scratch::new(), run: Cell::new(1) })
    }

    /// PM2's command line, for `node`.
    pub(crate) fn pm2_path(&self) -> &Path {
        &self.pm2
    }

    /// Where Palisade keeps its journal.
    pub(crate) fn journal(&self) -> PathBuf {
        self.state.join("state/palisade/journal")
    }

    /// The folder for this daemon's state and other files.
    pub(crate) fn folder(&self) -> &Path {
        self.state.path()
    }

    /// Milliseconds of `palisade WORDS` as a CI run of its own, for budgets run over a CI run. It has to succeed.
    pub(crate) fn palisade(&self, words: &[&str]) -> Outcome<f64> {
        self.run.set(self.run.get() + 1);
        let mut command = self.command(&self.palisade);
        command.args(words).env("GITHUB_ACTIONS", "true").env("GITHUB_RUN_ID", self.run.get().to_string());
        command.env("GITHUB_REPOSITORY", "octo/flyer-crawler").env("GITHUB_JOB", "deploy");
        finish(command)
    }

    /// Milliseconds of the least of all clients: a process that does nothing but the bare exchange.
    pub(crate) fn least_client(&self, socket: &Path) -> Outcome<f64> {
        let mut command = self.command(&std::env::current_exe()?.with_file_name("least-client"));
        command.arg(socket);
        finish(command)
    }

    /// Milliseconds of `pm2 WORDS`.
    pub(crate) fn pm2(&self, words: &[&str]) -> Outcome<f64> {
        self.node([self.pm2.as_os_str()].into_iter().chain(words.iter().map(OsStr::new)))
    }

    /// Milliseconds of `node WORDS`.
    pub(crate) fn node<'a>(&self, words: impl Iterator<Item = &'a OsStr>) -> Outcome<f64> {
        let mut command = self.command(Path::new("node"));
        command.args(words);
        finish(command)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", &self.path).env("HOME", self.state.path());
        command.env("PM2_HOME", &self.home).env("NO_COLOR", "1");
        command.env("XDG_CONFIG_HOME", self.state.join("config"));
        command.env("XDG_STATE_HOME", self.state.join("state"));
        command.current_dir(self.state.path()).stdin(Stdio::null());
        command
    }
}

fn finish(mut command: Command) -> Outcome<f64> {
    let (took, output): (f64, Output) = timed(|| Ok(command.output()?))?;
    if output.status.success() {
        return Ok(took);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let more = String::from_utf8_lossy(&output.stdout).into_owned();
    Err(format!("{command:?} ended with {}: {said}{more}", output.status).into())
}
