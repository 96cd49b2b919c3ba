//! Which app a caller belongs to, from what can be observed of it. Pure.
//!
//! The policy's `deployers` are the boundary: an app that names some is open to those alone. Evidence then picks one
//! of the apps that are open to the caller; it never adds one. There are five kinds: the lease of a deployment
//! around the caller, a registration of its tree, the working folders of the caller and its parents, the scripts of
//! its parents, and what the policy's deployers name (repository, workflow, branch, folder, unit). Within a kind the
//! nearest process decides, because a folder inherited from afar says less than one that was gone to. Kinds that
//! have no app in common contradict each other, and then the caller is nobody's. Where no kind says anything, a user,
//! group or socket that the policy names for one app only is enough.

use std::collections::BTreeSet;
use std::path::PathBuf;

use palisade_core::ablation::{self, Check};
use palisade_core::actor::{ProcessRef, Tree};
use palisade_core::deployer::{CallerFacts, Deployer, Folder};
use palisade_core::policy::App;
use palisade_core::text::Shown;
use palisade_core::{Actor, Policy, Scope};

use crate::folders::Folders;

/// One process of the caller's chain, the caller first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Number and start time.
    pub process: ProcessRef,
    /// Working folder, where it may be read, means the same here and was not just inherited by a server.
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

/// A process whose tree was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Whose the tree is.
    pub scope: Scope,
    /// The process.
    pub process: ProcessRef,
    /// What the tree's budgets run over.
    pub tree: Tree,
    /// Whether it is for one CI attempt that the caller's own variables have to name. Where they may not be read, it
    /// is not, unless runs of several apps were registered for that process.
    pub is_one_run: bool,
}

/// What is known of a caller and its host.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The caller and its parents.
    pub chain: &'a [Link],
    /// Facts and claims of the caller.
    pub actor: &'a Actor,
    /// The public socket that it came through.
    pub socket: Option<&'a str>,
    /// The daemon. The chain ends before it: its folder is that of whoever started it.
    pub daemon: ProcessRef,
    /// Leases that are held.
    pub leases: &'a [Leased],
    /// Registrations that count.
    pub registrations: &'a [Registered],
    /// Folders of apps.
    pub folders: &'a Folders,
    /// The policy in force.
    pub policy: &'a Policy,
}

/// What the evidence comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The caller belongs to one app.
    Of {
        /// Which.
        scope: Scope,
        /// The deployment or registration that its budget runs over, where there is one.
        tree: Option<Tree>,
        /// What that rests on.
        grounds: Vec<String>,
    },
    /// Two apps claim it.
    Contradicting {
        /// What each rests on.
        grounds: Vec<String>,
    },
    /// It seems to be of apps whose deployers it is none of.
    NoDeployer {
        /// What each rests on.
        grounds: Vec<String>,
        /// A line for the policy that would let it in.
        line: Option<String>,
    },
    /// Nothing names an app, or several are left.
    Unknown {
        /// What is left of several.
        grounds: Vec<String>,
        /// A line for the policy that would identify it.
        line: Option<String>,
    },
}

impl Standing {
    /// Of a caller about which nothing is known.
    pub const NOBODY: Self = Self::Unknown { grounds: Vec::new(), line: None };

    /// The app, if there is one.
    #[must_use]
    pub const fn scope(&self) -> Option<&Scope> {
        match self {
            Self::Of { scope, .. } => Some(scope),
            Self::Contradicting { .. } | Self::NoDeployer { .. } | Self::Unknown { .. } => None,
        }
    }

    /// What it rests on.
    #[must_use]
    pub fn grounds(&self) -> &[String] {
        match self {
            Self::Of { grounds, .. }
            | Self::Contradicting { grounds }
            | Self::NoDeployer { grounds, .. }
            | Self::Unknown { grounds, .. } => grounds,
        }
    }
}

/// What one kind of evidence says.
struct Kind {
    scopes: BTreeSet<Scope>,
    ground: String,
    tree: Option<Tree>,
}

/// Weighs what is known of a caller.
#[must_use]
pub fn weigh(around: Surroundings<'_>) -> Standing {
    let end = around.chain.iter().position(|link| link.process == around.daemon);
    let chain = &around.chain[..end.unwrap_or(around.chain.len())];
    let around = Surroundings { chain, ..around };
    let places = around.places();
    let facts = around.facts(&places);
    let open: BTreeSet<&Scope> =
        around.policy.apps.iter().filter(|app| around.is_open(app, facts)).map(|app| &app.scope).collect();
    let (mut counted, mut closed) = (Vec::new(), Vec::new());
    let kinds =
        [around.lease(), around.registration(), around.folder(), around.script(), around.listed(facts)];
    for mut kind in kinds.into_iter().flatten() {
        let all = kind.scopes.len();
        kind.scopes.retain(|scope| open.contains(scope) || ablation::is_off(Check::EvidenceBoundary));
        match (kind.scopes.is_empty(), all) {
            (true, 0) => {}
            (true, _) => closed.push(kind.ground),
            (false, _) => counted.push(kind),
        }
    }
    let by_fact = around.by_fact(facts);
    if counted.is_empty() {
        return around.without_evidence(&by_fact, closed);
    }
    settled(&around, counted, &by_fact)
}

fn settled(around: &Surroundings<'_>, counted: Vec<Kind>, by_fact: &BTreeSet<Scope>) -> Standing {
    let mut common: Option<BTreeSet<Scope>> = None;
    for kind in &counted {
        common = Some(match common {
            Some(common) => common.intersection(&kind.scopes).cloned().collect(),
            None => kind.scopes.clone(),
        });
    }
    let mut common = common.unwrap_or_default();
    if common.len() > 1 {
        let narrowed: BTreeSet<Scope> = common.intersection(by_fact).cloned().collect();
        if narrowed.len() == 1 {
            common = narrowed;
        }
    }
    let tree = counted.iter().find_map(|kind| kind.tree.clone());
    let grounds = counted.into_iter().map(|kind| kind.ground).collect();
    let mut scopes = common.into_iter();
    match (scopes.next(), scopes.next()) {
        (None, _) => Standing::Contradicting { grounds },
        (Some(scope), None) => Standing::Of { scope, tree, grounds },
        (Some(_), Some(_)) => Standing::Unknown { grounds, line: around.line() },
    }
}

impl Surroundings<'_> {
    /// Where the caller works, and where the script lies that called it.
    fn places(&self) -> Vec<PathBuf> {
        let own = self.chain.first().and_then(|link| link.cwd.clone());
        let script = self.chain.iter().skip(1).find_map(|link| link.script.clone());
        own.into_iter().chain(script).collect()
    }

    fn facts<'a>(&'a self, places: &'a [PathBuf]) -> CallerFacts<'a> {
        let observed = &self.actor.observed;
        CallerFacts {
            uid: observed.uid,
            gid: observed.gid,
            cgroup: observed.cgroup.as_deref(),
            socket: self.socket,
            claimed: &self.actor.claimed,
            places,
        }
    }

    /// Whether the caller may touch an app at all. A socket that apps name serves those apps only.
    fn is_open(&self, app: &App, facts: CallerFacts<'_>) -> bool {
        let names_socket =
            |entry: &Deployer| entry.socket.is_some() && entry.socket.as_deref() == self.socket;
        let is_an_apps = self.policy.apps.iter().flat_map(|app| &app.deployers).any(names_socket);
        let lets_in = |entry: &Deployer| entry.fits(facts) && (!is_an_apps || names_socket(entry));
        (app.deployers.is_empty() && !is_an_apps) || app.deployers.iter().any(lets_in)
    }

    fn lease(&self) -> Option<Kind> {
        let around = |link: &Link| self.leases.iter().find(|lease| lease.holder == link.process);
        let Leased { scope, term, holder } = self.chain.iter().find_map(around)?;
        Some(Kind {
            scopes: [scope.clone()].into(),
            ground: format!("pid {} holds the lease of {scope}, term {term}", holder.pid),
            tree: Some(Tree::deployment(scope, *term)),
        })
    }

    fn registration(&self) -> Option<Kind> {
        let counts = |entry: &&Registered| !entry.is_one_run || entry.tree == self.actor.tree;
        let of = |link: &Link| {
            self.registrations.iter().filter(counts).find(|entry| entry.process == link.process)
        };
        let Registered { scope, process, tree, .. } = self.chain.iter().find_map(of)?;
        Some(Kind {
            scopes: [scope.clone()].into(),
            ground: format!("the tree of pid {} is registered for {scope}", process.pid),
            tree: Some(tree.clone()),
        })
    }

    fn folder(&self) -> Option<Kind> {
        self.nearest("working folder", |link| link.cwd.as_ref(), self.chain)
    }

    fn script(&self) -> Option<Kind> {
        self.nearest("script", |link| link.script.as_ref(), self.chain.get(1..).unwrap_or_default())
    }

    fn nearest(&self, what: &str, path: fn(&Link) -> Option<&PathBuf>, links: &[Link]) -> Option<Kind> {
        let owned = |link: &Link| {
            let path = path(link)?;
            self.folders.owner(path).map(|(folder, scope)| (link.process.pid, path.clone(), folder, scope))
        };
        let (pid, path, folder, scope) = links.iter().find_map(owned)?;
        let (path, folder) = (path.to_string_lossy(), folder.to_string_lossy());
        let ground =
            format!("the {what} of pid {pid}, {}, lies in {} of {scope}", Shown(&path), Shown(&folder));
        Some(Kind { scopes: [scope.clone()].into(), ground, tree: None })
    }

    /// The apps whose deployers name what the caller's surroundings say.
    fn listed(&self, facts: CallerFacts<'_>) -> Option<Kind> {
        let fits = |entry: &&Deployer| entry.names_evidence() && entry.fits(facts);
        let listed: Vec<(&Scope, &Deployer)> = self
            .policy
            .apps
            .iter()
            .filter_map(|app| Some((&app.scope, app.deployers.iter().find(fits)?)))
            .collect();
        let told: Vec<String> = listed
            .iter()
            .map(|(scope, entry)| format!("the deployer {} of {scope}", Shown(&entry.to_string())))
            .collect();
        (!listed.is_empty()).then(|| Kind {
            scopes: listed.iter().map(|(scope, _)| (*scope).clone()).collect(),
            ground: format!("it is {}", told.join(", and ")),
            tree: None,
        })
    }

    /// The apps that name the caller by facts alone.
    fn by_fact(&self, facts: CallerFacts<'_>) -> BTreeSet<Scope> {
        let fits = |entry: &Deployer| !entry.names_evidence() && entry.fits(facts);
        let named = self.policy.apps.iter().filter(|app| app.deployers.iter().any(fits));
        named.filter(|app| self.is_open(app, facts)).map(|app| app.scope.clone()).collect()
    }

    fn without_evidence(&self, by_fact: &BTreeSet<Scope>, closed: Vec<String>) -> Standing {
        let (uid, gid) = (self.actor.observed.uid, self.actor.observed.gid);
        let who = self.socket.map_or_else(
            || format!("uid {uid}, gid {gid}"),
            |socket| format!("uid {uid}, gid {gid} at {}", Shown(socket)),
        );
        let ground = |scope: &Scope| format!("the policy names {who} as a deployer of {scope}");
        let grounds: Vec<String> = by_fact.iter().map(ground).collect();
        let mut scopes = by_fact.iter();
        match (scopes.next(), scopes.next()) {
            (Some(scope), None) => Standing::Of { scope: scope.clone(), tree: None, grounds },
            (Some(_), Some(_)) => Standing::Unknown { grounds, line: self.line() },
            (None, _) if closed.is_empty() => Standing::Unknown { grounds, line: self.line() },
            (None, _) => Standing::NoDeployer { grounds: closed, line: Some(self.deployer_line()) },
        }
    }

    /// A line for an app's entry that would identify the caller.
    fn line(&self) -> Option<String> {
        let cwd = self.chain.first().and_then(|link| link.cwd.as_ref());
        let free =
            cwd.filter(|cwd| self.folders.is_free(cwd)).and_then(|cwd| Folder::new(cwd.to_str()?).ok());
        match free {
            Some(folder) => Some(format!("folder = \"{}\"", Shown(folder.as_str()))),
            None if self.chain.is_empty() => None,
            None => Some(self.deployer_line()),
        }
    }

    /// The entry of `deployers` that fits this caller: its run, or else its user.
    fn deployer_line(&self) -> String {
        let claimed = &self.actor.claimed;
        let entry = match &claimed.repository {
            Some(repository) => Deployer {
                repository: Some(repository.clone()),
                workflow: claimed.workflow.clone(),
                branch: claimed.branch.clone(),
                ..Deployer::default()
            },
            None => Deployer { uid: Some(self.actor.observed.uid), ..Deployer::default() },
        };
        format!("deployers = [{}]", Shown(&entry.to_string()))
    }
}
