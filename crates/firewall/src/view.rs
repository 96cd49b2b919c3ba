//! The guard's own look at the daemon: its list, over a connection of its own, and the folders of its apps.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_core::policy::{App, Owner};
use palisade_core::process::{DaemonIdentity, Process};
use palisade_core::{Policy, Scope};
use palisade_host::clock::Stopwatch;
use palisade_host::random;
use palisade_pm2::locate::Location;
use palisade_pm2::look::{LookError, Looker};

use crate::folders::{Folders, app_folder};

/// How old a list may be that a call is judged by.
const FRESH_FOR: Duration = Duration::from_millis(50);

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
    /// It cannot be reached, or gives no list that is known here.
    #[error(transparent)]
    Look(#[from] LookError),
    /// What else a ruling needs is not there.
    #[error("{0}")]
    Lacking(&'static str),
    /// The kernel gives no random numbers.
    #[error("no number could be made for the call")]
    Random(#[from] random::Error),
}

/// Looks at one daemon.
#[derive(Debug)]
pub(crate) struct View {
    looker: Looker,
    seen: Option<Seen>,
    folders: Folders,
}

impl View {
    /// A view of the daemon at `location`; nothing is asked yet.
    pub(crate) fn new(location: Location, homes: Vec<PathBuf>) -> Self {
        Self { looker: Looker::new(location), seen: None, folders: Folders::new(homes) }
    }

    /// The daemon's home.
    pub(crate) fn home(&self) -> std::path::Display<'_> {
        self.location().home.display()
    }

    /// Where the daemon is.
    pub(crate) const fn location(&self) -> &Location {
        self.looker.location()
    }

    /// The daemon's list, at most [`FRESH_FOR`] old, and the folders of all apps seen so far.
    pub(crate) async fn look(&mut self, policy: &Policy) -> Result<(&Seen, &Folders), ViewError> {
        if self.seen.as_ref().is_none_or(|seen| seen.at.elapsed() > FRESH_FOR) {
            let at = Stopwatch::start();
            let (daemon, processes) = self.looker.look().await?;
            self.folders.name(named_folders(policy));
            self.note_folders(&processes, policy);
            self.seen = Some(Seen { daemon, processes, at });
        }
        let seen = self.seen.as_ref().ok_or(ViewError::Lacking("the daemon's list is gone"))?;
        Ok((seen, &self.folders))
    }

    /// How long the daemon and its list were waited for, since this was last asked.
    pub(crate) fn take_waited(&mut self) -> Duration {
        self.looker.take_waited()
    }

    /// Makes the next look a new one: what is about to be sent may change who has which number.
    pub(crate) fn forget(&mut self) {
        self.seen = None;
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
