//! The guard's own look at the daemon: its list, over a connection of its own, and the folders of its apps.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_core::policy::{App, Owner};
use palisade_core::process::{DaemonIdentity, Process};
use palisade_core::{Policy, Scope};
use palisade_host::clock::{self, Stopwatch};
use palisade_host::{files, random};
use palisade_pm2::client::{Answer, Client, ConnectError};
use palisade_pm2::glance::Glance;
use palisade_pm2::locate::Location;
use palisade_pm2::methods::Call;

use crate::folders::{Folders, app_folder};

/// How old a list may be that a call is judged by.
const FRESH_FOR: Duration = Duration::from_millis(50);
/// How long the daemon may take to take a connection, and to give its list.
const CONNECT_DEADLINE: Duration = Duration::from_secs(2);
const LIST_DEADLINE: Duration = Duration::from_secs(5);

/// The daemon as last seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) daemon: DaemonIdentity,
    pub(crate) processes: Vec<Process>,
    at: Stopwatch,
}

impl Seen {
    /// The names of what there is.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.processes.iter().map(|process| process.pin.name.clone()).collect()
    }
}

/// The daemon, or its list, cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ViewError {
    /// Nobody answers on its socket.
    #[error(transparent)]
    Away(#[from] ConnectError),
    /// It answered with an error.
    #[error("the daemon gave no list: {0}")]
    Refused(String),
    /// The connection ended, or it took too long.
    #[error("the daemon gave no list: {0}")]
    Lost(String),
    /// Its list is not one that this version reads.
    #[error("the daemon's list cannot be read: it is not as this version knows it")]
    Unreadable,
    /// What else a ruling needs is not there.
    #[error("{0}")]
    Lacking(&'static str),
    /// This boot cannot be told from another one.
    #[error("this boot has no id")]
    Boot(#[from] files::Error),
    /// The kernel gives no random numbers.
    #[error("no number could be made for the call")]
    Random(#[from] random::Error),
}

/// Looks at one daemon.
#[derive(Debug)]
pub(crate) struct View {
    location: Location,
    client: Option<Client>,
    seen: Option<Seen>,
    folders: Folders,
    /// How long the daemon was waited for since that was last asked.
    waited: Duration,
}

impl View {
    /// A view of the daemon at `location`; nothing is asked yet.
    pub(crate) fn new(location: Location, homes: Vec<PathBuf>) -> Self {
        Self { location, client: None, seen: None, folders: Folders::new(homes), waited: Duration::ZERO }
    }

    /// The daemon's home.
    pub(crate) fn home(&self) -> std::path::Display<'_> {
        self.location.home.display()
    }

    /// Where the daemon is.
    pub(crate) const fn location(&self) -> &Location {
        &self.location
    }

    /// The daemon's list, at most [`FRESH_FOR`] old, and the folders of all apps seen so far.
    pub(crate) async fn look(&mut self, policy: &Policy) -> Result<(&Seen, &Folders), ViewError> {
        if self.seen.as_ref().is_none_or(|seen| seen.at.elapsed() > FRESH_FOR) {
            let at = Stopwatch::start();
            let listed = self.list().await;
            self.waited += at.elapsed();
            let processes = listed?;
            let daemon = self.identity()?;
            self.folders.name(named_folders(policy));
            self.note_folders(&processes, policy);
            self.seen = Some(Seen { daemon, processes, at });
        }
        let seen = self.seen.as_ref().ok_or(ViewError::Lacking("the daemon's list is gone"))?;
        Ok((seen, &self.folders))
    }

    /// How long the daemon and its list were waited for, since this was last asked.
    pub(crate) fn take_waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }

    /// Makes the next look a new one: what is about to be sent may change who has which number.
    pub(crate) fn forget(&mut self) {
        self.seen = None;
    }

    async fn list(&mut self) -> Result<Vec<Process>, ViewError> {
        // A daemon that was restarted closes the connection that was there before: one more try.
        let had_connection = self.client.is_some();
        match self.ask().await {
            Err(_) if had_connection => self.ask().await,
            answered => answered,
        }
    }

    async fn ask(&mut self) -> Result<Vec<Process>, ViewError> {
        match self.connect().await?.call_list::<Glance>(&Call::list(), LIST_DEADLINE, &mut |_| {}).await {
            Ok(Some(list)) => Ok(list.into_iter().filter_map(Glance::process).collect()),
            Ok(None) | Err(Answer::Done(_)) => Err(ViewError::Unreadable),
            Err(Answer::Refused(message)) => Err(ViewError::Refused(message)),
            Err(Answer::NoReply(lost) | Answer::NotSent(lost)) => {
                self.client = None;
                Err(ViewError::Lost(lost.to_string()))
            }
        }
    }

    async fn connect(&mut self) -> Result<&mut Client, ViewError> {
        if self.client.is_none() {
            let client = Client::connect(&self.location.socket, CONNECT_DEADLINE).await;
            self.client = Some(client?);
        }
        self.client.as_mut().ok_or(ViewError::Lacking("the daemon is gone"))
    }

    fn identity(&self) -> Result<DaemonIdentity, ViewError> {
        let client = self.client.as_ref().ok_or(ViewError::Lacking("the daemon is gone"))?;
        Ok(DaemonIdentity {
            process: client.daemon(),
            uid: client.uid(),
            boot_id: clock::boot_id()?,
            version: client.version().to_owned(),
            home: self.location.home.display().to_string(),
            socket: self.location.socket.display().to_string(),
        })
    }

    /// Each folder is looked up once, however many processes run in it.
    fn note_folders(&mut self, processes: &[Process], policy: &Policy) {
        let mut found = BTreeSet::new();
        for process in processes.iter().filter(|process| !process.module) {
            if let (Owner::Scope(scope), Some(cwd)) =
                (policy.owner_in(&process.pin.name, &process.namespace), &process.cwd)
            {
                found.insert((app_folder(Path::new(cwd)), scope));
            }
        }
        found.into_iter().for_each(|(folder, scope)| self.folders.add(resolved(folder), scope));
    }
}

/// The folders that the policy names.
fn named_folders(policy: &Policy) -> impl Iterator<Item = (PathBuf, Scope)> {
    let of = |app: &App| {
        let scope = app.scope.clone();
        let folders: Vec<_> = app.folders.iter().map(|folder| resolved(folder.as_path())).collect();
        folders.into_iter().map(move |folder| (folder, scope.clone()))
    };
    policy.apps.iter().flat_map(of)
}

/// The kernel shows the folder of a process without symbolic links.
fn resolved(folder: &Path) -> PathBuf {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
}
