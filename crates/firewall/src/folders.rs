//! Which folders are whose. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use palisade_core::Scope;

/// Folders of apps: those that the policy names, and those that processes were seen in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folders {
    named: BTreeMap<PathBuf, Scope>,
    seen: BTreeMap<PathBuf, BTreeSet<Scope>>,
    nobodys: BTreeSet<PathBuf>,
}

/// Most folders that are remembered.
const MOST_FOLDERS: usize = 4096;
/// Folders that every user writes in.
const EVERYBODYS: [&str; 4] = ["/", "/tmp", "/var/tmp", "/dev/shm"];

impl Folders {
    /// No folders yet. `homes` are folders of users, which say nothing about an app.
    #[must_use]
    pub fn new(homes: impl IntoIterator<Item = PathBuf>) -> Self {
        let nobodys = homes.into_iter().chain(EVERYBODYS.map(PathBuf::from)).collect();
        Self { named: BTreeMap::new(), seen: BTreeMap::new(), nobodys }
    }

    /// Notes that an app of `scope` runs in `folder`.
    pub fn add(&mut self, folder: PathBuf, scope: Scope) {
        if self.seen.len() < MOST_FOLDERS || self.seen.contains_key(&folder) {
            self.seen.entry(folder).or_default().insert(scope);
        }
    }

    /// Puts what the policy names in the place of what it named before.
    pub fn name(&mut self, named: impl IntoIterator<Item = (PathBuf, Scope)>) {
        self.named = named.into_iter().collect();
    }

    /// Whose folder `path` lies in: the longest one decides. What the policy names is that scope's alone, and one
    /// that processes of two scopes run in is nobody's.
    pub(crate) fn owner(&self, path: &Path) -> Option<(&Path, &Scope)> {
        let known = |folder: &&Path| self.named.contains_key(*folder) || self.seen.contains_key(*folder);
        let folder = path.ancestors().find(known).filter(|folder| !self.nobodys.contains(*folder))?;
        if let Some((folder, scope)) = self.named.get_key_value(folder) {
            return Some((folder, scope));
        }
        let (folder, scopes) = self.seen.get_key_value(folder)?;
        let mut scopes = scopes.iter();
        match (scopes.next(), scopes.next()) {
            (Some(scope), None) => Some((folder, scope)),
            (Some(_), Some(_)) | (None, _) => None,
        }
    }

    /// Whether an app could call `path` its own: nobody does yet, and it is not everybody's.
    pub(crate) fn is_free(&self, path: &Path) -> bool {
        !self.nobodys.contains(path) && !self.named.contains_key(path) && !self.seen.contains_key(path)
    }
}

/// An app's folder from its working folder: without a trailing `current`, `source` or `releases/NAME`.
#[must_use]
pub fn app_folder(cwd: &Path) -> &Path {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let parent = cwd.parent().unwrap_or(cwd);
    match name(cwd).as_deref() {
        Some("current" | "source") => parent,
        Some(_) if name(parent).as_deref() == Some("releases") => parent.parent().unwrap_or(parent),
        Some(_) | None => cwd,
    }
}
