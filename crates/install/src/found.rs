//! What is there: who listens on the sockets of one home, and which processes of ours run for it.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use palisade_core::actor::ProcessRef;
use palisade_host::{peer, process};
use palisade_pm2::locate::{Location, Origin, TwoDaemonsError};
use palisade_pm2::{Guarded, Isolation};

use crate::places::Places;
use crate::separate::guard_folder;

/// The short name of the firewall, as far as the kernel keeps it.
const FIREWALL: &str = "palisade-firewa";

/// What is at the path of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing.
    Nothing,
    /// Something that is no socket.
    NoSocket,
    /// A socket on which nobody listens.
    Stale,
    /// The daemon.
    Daemon,
    /// Our firewall, or the supervisor that keeps its socket open.
    Firewall,
    /// Somebody else, or somebody whom this user may not ask.
    Other,
}

/// One home, as it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The paths.
    pub places: Places,
    /// Owner of the home.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// What is at the public command socket.
    pub rpc: End,
    /// What is at the public bus.
    pub bus: End,
    /// What is at the daemon's own command socket.
    pub private_rpc: End,
    /// What is at its own bus.
    pub private_bus: End,
    /// The daemons of this home.
    pub daemons: Vec<ProcessRef>,
    /// Whether the daemon was started on the private sockets: then a restart of it stays behind the guard.
    pub started_private: bool,
    /// What the firewall's file says, where there is one.
    pub guarded: Option<Guarded>,
    /// The users of a guard with users of its own.
    pub apart: Option<Apart>,
    /// The firewall's process that holds the sockets.
    pub holder: Option<ProcessRef>,
    /// Its process that judges.
    pub judge: Option<ProcessRef>,
}

/// Whose the two folders of sockets are, where a guard has users of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Apart {
    /// The user of the daemon and its apps.
    pub daemon: u32,
    /// The user of the guard.
    pub guard: u32,
    /// The group of those who may connect.
    pub deployers: u32,
}

/// The home cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// There is no such folder, or it may not be entered.
    #[error("cannot look at the home {}", home.display())]
    Home {
        /// The folder.
        home: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The processes cannot be listed.
    #[error("cannot look for the processes of this home")]
    Processes(#[from] process::Error),
    /// The daemons cannot be listed.
    #[error(transparent)]
    Daemons(#[from] TwoDaemonsError),
}

impl Found {
    /// Looks. Connects to each socket once and says nothing, as PM2's own clients do first.
    ///
    /// # Errors
    /// The home or the process table cannot be read.
    pub fn at(home: &Path) -> Result<Self, FindError> {
        let home_fault = |source| FindError::Home { home: home.to_owned(), source };
        let owner = home.metadata().map_err(home_fault)?;
        let guarded = Guarded::read(home);
        let places = Places::of(home, guarded.as_ref());
        let location =
            Location { home: home.to_owned(), socket: places.rpc.clone(), origin: Origin::Explicit };
        let mut daemons = location.daemons()?;
        daemons.sort_unstable();
        daemons.dedup();
        let (holder, judge) = firewalls(home)?;
        let end = |path: &Path| end(path, &daemons, holder);
        Ok(Self {
            uid: owner.uid(),
            gid: owner.gid(),
            rpc: end(&places.rpc),
            bus: end(&places.bus),
            private_rpc: end(&places.private_rpc),
            private_bus: end(&places.private_bus),
            started_private: daemons.iter().any(|daemon| is_started_at(*daemon, &places.private_rpc)),
            daemons,
            apart: guarded.as_ref().and_then(|said| apart(said, &places)),
            guarded,
            holder,
            judge,
            places,
        })
    }

    /// Whether a firewall stands at both places where PM2's clients look.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.rpc == End::Firewall && self.bus == End::Firewall
    }
}

fn apart(said: &Guarded, places: &Places) -> Option<Apart> {
    let folder = (said.isolation == Isolation::SeparateUid).then(|| guard_folder(&places.home))?;
    let (daemons, guards) = (places.private.metadata().ok()?, folder.metadata().ok()?);
    Some(Apart { daemon: daemons.uid(), guard: guards.uid(), deployers: guards.gid() })
}

/// The homes of all firewalls and daemons that this user can see, and of those that this one names.
///
/// # Errors
/// The process table cannot be read.
pub fn homes(named: Option<&Path>) -> Result<BTreeSet<PathBuf>, process::Error> {
    let mut homes: BTreeSet<PathBuf> = named.map(Path::to_owned).into_iter().collect();
    for found in process::find_all(FIREWALL, |title| home_of(title).is_some())? {
        homes.extend(home_of(&found.title).map(PathBuf::from));
    }
    let daemon = |title: &str| palisade_pm2::home_of_title(title).is_some();
    for found in process::find_all(palisade_pm2::locate::TITLE, daemon)? {
        let home = palisade_pm2::home_of_title(&found.title).map(PathBuf::from);
        homes.extend(home.filter(|home| Guarded::path(home).exists()));
    }
    Ok(homes)
}

/// The home in the title of a firewall.
fn home_of(title: &str) -> Option<&str> {
    let (_, rest) = title.split_once("--pm2-home ")?;
    Some(rest.split(" --").next().unwrap_or(rest))
}

/// The holder of this home, and its judge: a firewall's process whose parent is another one of it.
fn firewalls(home: &Path) -> Result<(Option<ProcessRef>, Option<ProcessRef>), process::Error> {
    let home = home.to_string_lossy();
    let found = process::find_all(FIREWALL, |title| home_of(title) == Some(&home))?;
    let is_judge = |title: &str| title.contains(" --judge");
    let holder = found.iter().find(|found| !is_judge(&found.title)).map(|found| found.process);
    let child = |found: &&process::Found| {
        is_judge(&found.title) && holder.is_some_and(|holder| holder.pid == found.parent)
    };
    Ok((holder, found.iter().find(child).map(|found| found.process)))
}

fn end(path: &Path, daemons: &[ProcessRef], holder: Option<ProcessRef>) -> End {
    // A guard with a user of its own has its sockets in a folder of its own, and links lead to them.
    match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return End::Nothing,
        Ok(found) if !found.file_type().is_socket() => return End::NoSocket,
        Ok(_) | Err(_) => {}
    }
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return End::Stale,
        Err(_) => return End::Other,
    };
    let Ok(peer) = peer::of(&stream) else { return End::Other };
    // A socket that was handed on names whoever began to listen: a supervisor, or a process that is gone.
    let handed_on = peer.pid == 1 || peer.process.is_none();
    match (daemons.iter().any(|daemon| daemon.pid == peer.pid), holder) {
        (true, _) => End::Daemon,
        (false, Some(holder)) if holder.pid == peer.pid || handed_on => End::Firewall,
        (false, _) if peer.pid == 1 => End::Firewall,
        (false, _) => End::Other,
    }
}

fn is_started_at(daemon: ProcessRef, socket: &Path) -> bool {
    let named = process::environment(daemon.pid).absolute_path("PM2_DAEMON_RPC_PORT");
    named.as_deref() == Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firewalls_title_names_its_home() {
        let title = "/usr/bin/palisade-firewall --pm2-home /srv/my pm2 --take-over --detached";
        assert_eq!(home_of(title), Some("/srv/my pm2"));
        assert_eq!(home_of("palisade-firewall --judge --pm2-home /srv/pm2"), Some("/srv/pm2"));
        assert_eq!(home_of("palisade-firewall --version"), None);
    }
}
