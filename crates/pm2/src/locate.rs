//! Where the daemon is: its home, its socket, and whether two daemons claim that home.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use palisade_core::actor::ProcessRef;
use palisade_host::Environment;
use palisade_host::process::{self, Found};

/// How a daemon's title begins, and its short name too.
pub const TITLE: &str = "PM2 v";

/// Most bytes of `pm2.pid` that are looked at.
const MAX_PID_FILE_BYTES: u64 = 64;

/// Where a daemon is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Its `PM2_HOME`.
    pub home: PathBuf,
    /// The socket that takes commands.
    pub socket: PathBuf,
    /// What said so.
    pub origin: Origin,
}

/// What named the home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// An option or setting of ours, which wins over variables.
    Explicit,
    /// The variable `PM2_HOME`.
    Variable,
    /// The user's home folder.
    Default,
}

/// The daemon cannot be looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// Neither an option, nor `PM2_HOME`, nor `HOME`.
    #[error("no PM2_HOME: neither an option, nor PM2_HOME, nor HOME is set to an absolute path")]
    NoHome,
    /// A path would depend on the working folder.
    #[error("{name} is {}, which is not an absolute path", value.display())]
    Relative {
        /// Which variable or option.
        name: &'static str,
        /// Its value.
        value: PathBuf,
    },
}

impl Location {
    /// Finds the home as PM2 does, except that `explicit` wins: then no variable is looked at, so that a left-over
    /// `PM2_DAEMON_RPC_PORT` cannot lead to another daemon than the one that was named.
    ///
    /// # Errors
    /// No home is named, or a path is relative.
    pub fn find(explicit: Option<&Path>, environment: &Environment) -> Result<Self, LocateError> {
        if let Some(home) = explicit {
            let home = absolute("--pm2-home", home.as_os_str())?;
            return Ok(Self { socket: home.join("rpc.sock"), home, origin: Origin::Explicit });
        }
        let (home, origin) = match set(environment, "PM2_HOME") {
            Some(home) => (absolute("PM2_HOME", home)?, Origin::Variable),
            None => {
                let user = environment.absolute_path("HOME").ok_or(LocateError::NoHome)?;
                (user.join(".pm2"), Origin::Default)
            }
        };
        let socket = match set(environment, "PM2_DAEMON_RPC_PORT") {
            Some(socket) => absolute("PM2_DAEMON_RPC_PORT", socket)?,
            None => home.join("rpc.sock"),
        };
        Ok(Self { home, socket, origin })
    }

    /// Every daemon of this home, by the titles of all processes and by `pm2.pid`. Reads the whole process table.
    ///
    /// # Errors
    /// `/proc` cannot be listed.
    pub fn daemons(&self) -> Result<Vec<ProcessRef>, TwoDaemonsError> {
        self.daemons_but(&[])
    }

    /// As [`Location::daemons`], where `reached` is known to be one: its children, which may be hundreds, are not looked
    /// at, for a child of a daemon counts for none.
    ///
    /// # Errors
    /// As [`Location::daemons`].
    pub fn daemons_beside(&self, reached: ProcessRef) -> Result<Vec<ProcessRef>, TwoDaemonsError> {
        let is_daemon = process::stat(reached.pid)
            .is_ok_and(|stat| stat.process == reached && stat.command.starts_with(TITLE));
        self.daemons_but(&if is_daemon { process::children(reached.pid) } else { Vec::new() })
    }

    fn daemons_but(&self, but: &[u32]) -> Result<Vec<ProcessRef>, TwoDaemonsError> {
        let mut found: Vec<ProcessRef> =
            self.titled_but(but)?.into_iter().map(|found| found.process).collect();
        found.extend(self.named_by_pid_file());
        Ok(found)
    }

    /// Compares the daemons of this home, as [`Location::daemons`] found them, with the one that was `reached`.
    ///
    /// # Errors
    /// [`TwoDaemonsError::Two`] if there is another one.
    pub fn check_only_daemon(
        &self,
        reached: ProcessRef,
        mut others: Vec<ProcessRef>,
    ) -> Result<(), TwoDaemonsError> {
        others.retain(|other| *other != reached);
        others.sort_unstable();
        others.dedup();
        if others.is_empty() {
            return Ok(());
        }
        Err(TwoDaemonsError::Two { home: self.home.clone(), reached, others })
    }

    fn titled_but(&self, but: &[u32]) -> Result<Vec<Found>, TwoDaemonsError> {
        let home = self.home.to_string_lossy();
        let canonical = self.home.canonicalize().unwrap_or_else(|_| self.home.clone());
        let canonical = canonical.to_string_lossy();
        let fits = |title: &str| {
            home_of_title(title)
                .is_some_and(|of| of.trim_end_matches('/') == home.trim_end_matches('/') || of == canonical)
        };
        let mut found = process::find_all_but(but, TITLE, fits).map_err(TwoDaemonsError::Processes)?;
        // A daemon that starts a worker is two for a moment: the child bears its title until it is node. The parent
        // of a daemon of its own is process 1, or whatever adopts orphans.
        let titled: Vec<u32> = found.iter().map(|found| found.process.pid).collect();
        found.retain(|found| !titled.contains(&found.parent));
        Ok(found)
    }

    /// The process that `pm2.pid` names, if it looks like a daemon. A left-over file names a process that is gone,
    /// or one that got the number later.
    fn named_by_pid_file(&self) -> Option<ProcessRef> {
        let bytes =
            palisade_host::files::read_bounded(&self.home.join("pm2.pid"), MAX_PID_FILE_BYTES).ok()?;
        let pid = std::str::from_utf8(&bytes).ok()?.trim().parse().ok()?;
        let stat = process::stat(pid).ok()?;
        let is_daemon = stat.command.starts_with(TITLE);
        (is_daemon && process::is_alive(stat.process)).then_some(stat.process)
    }
}

/// The home in a daemon's title: `PM2 v7.0.4: God Daemon (HOME)`.
#[must_use]
pub fn home_of_title(title: &str) -> Option<&str> {
    title.strip_prefix(TITLE)?.split_once(": God Daemon (")?.1.strip_suffix(')')
}

fn set<'a>(environment: &'a Environment, name: &str) -> Option<&'a OsStr> {
    environment.get(name).filter(|value| !value.is_empty())
}

fn absolute(name: &'static str, value: &OsStr) -> Result<PathBuf, LocateError> {
    let path = PathBuf::from(value);
    if path.is_absolute() { Ok(path) } else { Err(LocateError::Relative { name, value: path }) }
}

/// More than one daemon serves a home, so the list of one of them is not the whole truth.
#[derive(Debug, thiserror::Error)]
pub enum TwoDaemonsError {
    /// There is another one.
    #[error("two PM2 daemons on {}: pid {} answers, and {} runs too", home.display(), reached.pid, pids(others))]
    Two {
        /// The home.
        home: PathBuf,
        /// The daemon that answers on the socket.
        reached: ProcessRef,
        /// The others.
        others: Vec<ProcessRef>,
    },
    /// `/proc` cannot be listed, so there is no telling.
    #[error("cannot look for other PM2 daemons")]
    Processes(#[source] process::Error),
}

fn pids(processes: &[ProcessRef]) -> String {
    let pids: Vec<String> = processes.iter().map(|process| format!("pid {}", process.pid)).collect();
    pids.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().copied().collect()
    }

    #[test]
    fn the_home_is_found_as_pm2_finds_it_and_an_option_wins_over_every_variable() {
        let all = [("HOME", "/home/u"), ("PM2_HOME", "/srv/pm2"), ("PM2_DAEMON_RPC_PORT", "/run/real.sock")];
        let find = |explicit: Option<&str>, variables: &[(&str, &str)]| {
            let found = Location::find(explicit.map(Path::new), &environment(variables)).unwrap();
            (found.home.display().to_string(), found.socket.display().to_string(), found.origin)
        };
        let expect = |home: &str, socket: &str, origin| (home.to_owned(), socket.to_owned(), origin);
        assert_eq!(find(None, &all), expect("/srv/pm2", "/run/real.sock", Origin::Variable));
        assert_eq!(find(None, &all[..2]), expect("/srv/pm2", "/srv/pm2/rpc.sock", Origin::Variable));
        assert_eq!(find(None, &all[..1]), expect("/home/u/.pm2", "/home/u/.pm2/rpc.sock", Origin::Default));
        assert_eq!(find(Some("/opt/a"), &all), expect("/opt/a", "/opt/a/rpc.sock", Origin::Explicit));
        let empty = [("HOME", "/home/u"), ("PM2_HOME", "")];
        assert_eq!(find(None, &empty), expect("/home/u/.pm2", "/home/u/.pm2/rpc.sock", Origin::Default));
    }

    #[test]
    fn a_relative_path_is_refused_and_not_taken_for_another_daemon() {
        for (name, value) in [("PM2_HOME", "pm2"), ("PM2_DAEMON_RPC_PORT", "6666")] {
            let found = Location::find(None, &environment(&[("HOME", "/home/u"), (name, value)]));
            assert_eq!(found, Err(LocateError::Relative { name, value: value.into() }));
        }
        assert_eq!(Location::find(None, &environment(&[])), Err(LocateError::NoHome));
        assert!(Location::find(Some(Path::new("here")), &environment(&[])).is_err());
    }

    #[test]
    fn a_daemons_title_names_its_home() {
        assert_eq!(home_of_title("PM2 v7.0.4: God Daemon (/srv/.pm2)"), Some("/srv/.pm2"));
        assert_eq!(home_of_title("PM2 v5.4.3: God Daemon (/srv/a (b))"), Some("/srv/a (b)"));
        assert_eq!(home_of_title("node /srv/app.js"), None);
    }
}
