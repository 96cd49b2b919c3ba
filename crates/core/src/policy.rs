//! The resource's policy, checked: who owns what, and how far one operation may reach.
//!
//! Where a policy comes from, and that project files may only narrow it, is the business of the config crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::deployer::{Deployer, Folder, Namespace};
use crate::name::{AppName, EnvironmentName, Scope};
use crate::notice::Receivers;
use crate::pattern::Pattern;
use crate::request::Operation;

/// Policy of one host, as checked types.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Grows with every change; a lower one than the last recorded is refused.
    pub revision: u64,
    /// The environments, by name.
    pub environments: BTreeMap<EnvironmentName, Environment>,
    /// One entry per app and environment.
    pub apps: Vec<App>,
    /// Names that no operation may take down, whoever asks.
    pub protected: Vec<Pattern>,
    /// How far one operation, and one caller in a window, may reach.
    pub limits: Limits,
    /// Who is told.
    #[serde(default, skip_serializing_if = "Receivers::is_default")]
    pub notify: Receivers,
}

/// One environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// What every process name of this environment ends with, such as `-test`.
    pub suffix: Option<String>,
    /// How guards treat findings; Palisade's own commands always enforce.
    pub mode: Mode,
}

/// One app in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Whose entry this is.
    pub scope: Scope,
    /// The process names that it owns.
    pub processes: Vec<Pattern>,
    /// Operations for which a person has to type `--confirm=APP`.
    pub confirm: BTreeSet<Operation>,
    /// Overrides the environment's mode.
    pub mode: Option<Mode>,
    /// Folders that are its own besides those that its processes run in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<Folder>,
    /// The PM2 namespace that is its own; calls do not cross it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Who deploys it; empty for whoever may connect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deployers: Vec<Deployer>,
}

impl App {
    /// An entry with what every entry has.
    #[must_use]
    pub const fn new(scope: Scope, processes: Vec<Pattern>) -> Self {
        Self {
            scope,
            processes,
            confirm: BTreeSet::new(),
            mode: None,
            folders: Vec::new(),
            namespace: None,
            deployers: Vec::new(),
        }
    }
}

/// What a guard does with findings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Let through, and record what would have been refused.
    #[default]
    Observe,
    /// Refuse.
    Enforce,
}

/// Limits of the blast radius.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// With more processes than this on the daemon, an operation may not take all of them. ADR-061's number: 3.
    pub all_above: u32,
    /// With more than `all_above` processes, an operation may take at most this share, per thousand.
    pub share_per_mille: u16,
    /// Distinct processes that one caller may take down within `window`; `None`: as many as the largest scope has.
    pub budget: Option<u32>,
    /// Jobs that one caller may change by hand within `window`; `None`: [`Limits::JOBS`], beyond which a person types the sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_budget: Option<u32>,
    /// Width of the sliding window of both budgets.
    pub window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            all_above: 3,
            share_per_mille: 800,
            budget: None,
            job_budget: None,
            window: Duration::from_secs(600),
        }
    }
}

impl Limits {
    /// Jobs that one caller may change by hand within the window, where the policy has no number.
    pub const JOBS: u32 = 1_000;
}

/// Revision and content of the policy that a decision was made under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRef {
    /// The policy's revision.
    pub revision: u64,
    /// SHA-256 of its canonical form, in hex.
    pub digest: String,
}

/// Whose a process is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// It belongs to this scope.
    Scope(Scope),
    /// No entry of the policy names it.
    Unclaimed,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scope(scope) => scope.fmt(f),
            Self::Unclaimed => f.pad("unclaimed"),
        }
    }
}

/// Whether the policy knows a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known<'a> {
    /// It does.
    App(&'a App),
    /// No environment has this name.
    NoSuchEnvironment,
    /// No app has this name in any environment.
    NoSuchApp,
    /// The app exists, in other environments.
    NotInEnvironment(Vec<&'a EnvironmentName>),
}

impl Policy {
    /// Revision and digest, as records name them.
    #[must_use]
    pub fn reference(&self) -> PolicyRef {
        PolicyRef { revision: self.revision, digest: canonical::digest(self) }
    }

    /// Whose the process called `name` is.
    ///
    /// An exact name beats a glob. A glob never owns a name that ends with another environment's suffix:
    /// `flyer-crawler-*` of production leaves `flyer-crawler-api-test` to test.
    #[must_use]
    pub fn owner_of(&self, name: &str) -> Owner {
        let exact =
            |app: &&App| app.processes.iter().any(|pattern| pattern.is_exact() && pattern.matches(name));
        if let Some(app) = self.apps.iter().find(exact) {
            return Owner::Scope(app.scope.clone());
        }
        let by_suffix = self.environment_by_suffix(name);
        let fits = |app: &&App| match by_suffix {
            Some(environment) => app.scope.environment == *environment,
            None => self.suffix_of(&app.scope.environment).is_none(),
        };
        let globs = |app: &&App| app.processes.iter().any(|pattern| pattern.matches(name));
        match self.apps.iter().filter(fits).find(globs) {
            Some(app) => Owner::Scope(app.scope.clone()),
            None => Owner::Unclaimed,
        }
    }

    /// Whose a process of that name in that PM2 namespace is: a namespace that is bound to a scope decides, for PM2
    /// lets two of them hold one name. Elsewhere a name that two bound scopes share is nobody's.
    #[must_use]
    pub fn owner_in(&self, name: &str, namespace: &str) -> Owner {
        if let Some(scope) = self.bound_to(namespace) {
            return Owner::Scope(scope.clone());
        }
        let exact =
            |app: &&App| app.namespace.is_some() && app.processes.iter().any(|own| own.as_str() == name);
        if self.apps.iter().filter(exact).count() > 1 { Owner::Unclaimed } else { self.owner_of(name) }
    }

    /// Whether an entry of `scope` names `name`, whoever else does.
    #[must_use]
    pub fn claims(&self, scope: &Scope, name: &str) -> bool {
        let mut its = self.apps.iter().filter(|app| app.scope == *scope).flat_map(|app| &app.processes);
        its.any(|pattern| pattern.matches(name))
    }

    /// The environment whose suffix `name` ends with; the longest suffix wins.
    #[must_use]
    pub fn environment_by_suffix(&self, name: &str) -> Option<&EnvironmentName> {
        self.environments
            .iter()
            .filter_map(|(environment, settings)| Some((environment, settings.suffix.as_deref()?)))
            .filter(|(_, suffix)| name.ends_with(suffix))
            .max_by_key(|(_, suffix)| suffix.len())
            .map(|(environment, _)| environment)
    }

    /// The suffix of an environment, if it has one.
    #[must_use]
    pub fn suffix_of(&self, environment: &EnvironmentName) -> Option<&str> {
        self.environments.get(environment)?.suffix.as_deref()
    }

    /// Looks a scope up, and says what is wrong when it is not there.
    #[must_use]
    pub fn known(&self, scope: &Scope) -> Known<'_> {
        if let Some(app) = self.apps.iter().find(|app| app.scope == *scope) {
            return Known::App(app);
        }
        if !self.environments.contains_key(&scope.environment) {
            return Known::NoSuchEnvironment;
        }
        let elsewhere = self.environments_of(&scope.app);
        if elsewhere.is_empty() { Known::NoSuchApp } else { Known::NotInEnvironment(elsewhere) }
    }

    /// The scope that a PM2 namespace is bound to.
    #[must_use]
    pub fn bound_to(&self, namespace: &str) -> Option<&Scope> {
        let is_its = |app: &&App| app.namespace.as_ref().is_some_and(|own| own.as_str() == namespace);
        self.apps.iter().find(is_its).map(|app| &app.scope)
    }

    /// The environments in which `app` has an entry.
    pub fn environments_of(&self, app: &AppName) -> Vec<&EnvironmentName> {
        let entries = self.apps.iter().filter(|entry| entry.scope.app == *app);
        entries.map(|entry| &entry.scope.environment).collect()
    }

    /// Whether no operation may take `name` down.
    #[must_use]
    pub fn is_protected(&self, name: &str) -> bool {
        self.protected.iter().any(|pattern| pattern.matches(name))
    }

    /// Processes that one caller may take down within the window: as configured, else as many as the largest
    /// scope has. `instances` gives each name its number of instances, on the daemon or lately taken down.
    #[must_use]
    pub fn budget(&self, instances: &BTreeMap<String, usize>) -> usize {
        if let Some(budget) = self.limits.budget {
            return budget as usize;
        }
        let mut sizes = BTreeMap::<Scope, usize>::new();
        for (name, count) in instances {
            if let Owner::Scope(scope) = self.owner_of(name) {
                *sizes.entry(scope).or_default() += count;
            }
        }
        sizes.into_values().max().unwrap_or(0)
    }
}
