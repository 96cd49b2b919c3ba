//! Which app a caller belongs to, from what can be observed of it. Pure.
//!
//! Evidence only picks one of the apps that the caller's user may touch anyway; it never adds a right. There are
//! three kinds: the lease of a deployment around the caller, the working folders of the caller and its parents,
//! and the scripts of its parents. Within a kind the nearest process decides, because a folder inherited from
//! afar says less than one that was gone to. Two kinds that name two apps contradict each other, and then the
//! caller is nobody's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use palisade_core::Scope;
use palisade_core::actor::{ProcessRef, Tree};
use palisade_core::text::Shown;

/// One process of the caller's chain, the caller first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Number and start time.
    pub process: ProcessRef,
    /// Working folder, where it may be read and means the same here.
    pub cwd: Option<PathBuf>,
    /// The script that a parent runs.
    pub script: Option<PathBuf>,
}

/// A lease and the process that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// Of which app and environment.
    pub scope: Scope,
    /// Under which term.
    pub term: u64,
    /// By which process.
    pub holder: ProcessRef,
}

/// Folders of apps, as seen so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folders {
    by_path: BTreeMap<PathBuf, BTreeSet<Scope>>,
    nobodys: BTreeSet<PathBuf>,
}

/// Most folders that are remembered.
const MOST_FOLDERS: usize = 4096;

impl Folders {
    /// No folders yet. `homes` are folders of users, which say nothing about an app.
    #[must_use]
    pub fn new(homes: impl IntoIterator<Item = PathBuf>) -> Self {
        let nobodys = homes.into_iter().chain([PathBuf::from("/")]).collect();
        Self { by_path: BTreeMap::new(), nobodys }
    }

    /// Notes that an app of `scope` runs in `folder`.
    pub fn add(&mut self, folder: PathBuf, scope: Scope) {
        if self.by_path.len() < MOST_FOLDERS || self.by_path.contains_key(&folder) {
            self.by_path.entry(folder).or_default().insert(scope);
        }
    }

    /// Whose folder `path` lies in: the longest one decides, and one that two apps share is nobody's.
    fn owner(&self, path: &Path) -> Option<(&Path, &Scope)> {
        let known = path.ancestors().find_map(|folder| self.by_path.get_key_value(folder));
        let (folder, scopes) = known.filter(|(folder, _)| !self.nobodys.contains(*folder))?;
        let mut scopes = scopes.iter();
        match (scopes.next(), scopes.next()) {
            (Some(scope), None) => Some((folder, scope)),
            (Some(_), Some(_)) | (None, _) => None,
        }
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

/// What the evidence comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The caller belongs to one app.
    Of {
        /// Which.
        scope: Scope,
        /// The deployment that its budget runs over, where there is one.
        deployment: Option<Tree>,
        /// What that rests on.
        grounds: Vec<String>,
    },
    /// Two apps claim it.
    Contradicting {
        /// What each rests on.
        grounds: Vec<String>,
    },
    /// Nothing names an app.
    Unknown,
}

impl Standing {
    /// The app, if there is one.
    #[must_use]
    pub const fn scope(&self) -> Option<&Scope> {
        match self {
            Self::Of { scope, .. } => Some(scope),
            Self::Contradicting { .. } | Self::Unknown => None,
        }
    }

    /// What it rests on.
    #[must_use]
    pub fn grounds(&self) -> &[String] {
        match self {
            Self::Of { grounds, .. } | Self::Contradicting { grounds } => grounds,
            Self::Unknown => &[],
        }
    }
}

/// Weighs what is known of a caller. The chain ends before `daemon`: its folder is that of whoever started it.
#[must_use]
pub fn weigh(chain: &[Link], daemon: ProcessRef, leases: &[Leased], folders: &Folders) -> Standing {
    let chain: Vec<&Link> = chain.iter().take_while(|link| link.process != daemon).collect();
    let (mut scopes, mut grounds, mut deployment) = (BTreeSet::new(), Vec::new(), None);
    let around = chain.iter().find_map(|link| leases.iter().find(|lease| lease.holder == link.process));
    if let Some(Leased { scope, term, holder }) = around {
        scopes.insert(scope.clone());
        grounds.push(format!("pid {} holds the lease of {scope}, term {term}", holder.pid));
        deployment = Some(Tree::deployment(scope, *term));
    }
    let mut nearest = |what: &str, path: fn(&Link) -> Option<&PathBuf>, links: &[&Link]| {
        let owned = |link: &&Link| {
            let path = path(link)?;
            folders.owner(path).map(|(folder, scope)| (link.process.pid, path.clone(), folder, scope.clone()))
        };
        if let Some((pid, path, folder, scope)) = links.iter().find_map(owned) {
            let (path, folder) = (path.to_string_lossy(), folder.to_string_lossy());
            grounds.push(format!(
                "the {what} of pid {pid}, {}, lies in {} of {scope}",
                Shown(&path),
                Shown(&folder)
            ));
            scopes.insert(scope);
        }
    };
    nearest("working folder", |link| link.cwd.as_ref(), &chain);
    nearest("script", |link| link.script.as_ref(), chain.get(1..).unwrap_or_default());
    let mut scopes = scopes.into_iter();
    match (scopes.next(), scopes.next()) {
        (None, _) => Standing::Unknown,
        (Some(scope), None) => Standing::Of { scope, deployment, grounds },
        (Some(_), Some(_)) => Standing::Contradicting { grounds },
    }
}
