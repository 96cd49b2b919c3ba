//! What would be done: every target and everything that is spared, by name.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::name::Scope;
use crate::policy::{Owner, Policy};
use crate::process::{DaemonIdentity, Pin, Process, Status};
use crate::request::{Operation, OperationId, Request, Selection};
use crate::snapshot::{Snapshot, SnapshotId};
use crate::time::Timestamp;

/// The format of a plan file; another number is refused.
pub const FORMAT: u32 = 1;

/// Listed targets, drawn from one snapshot. Carried out only as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// The operation that it belongs to.
    pub id: OperationId,
    /// What would be done.
    pub operation: Operation,
    /// In whose name.
    pub scope: Scope,
    /// What was asked for.
    pub selection: Selection,
    /// The daemon, pinned by process and start time.
    pub daemon: DaemonIdentity,
    /// The snapshot that it was drawn from.
    pub snapshot: SnapshotId,
    /// When that snapshot was taken.
    pub drawn_at: Timestamp,
    /// Whether the caller's variables are carried into the targets.
    pub carries_variables: bool,
    /// What would be touched.
    pub targets: Vec<Target>,
    /// What would not.
    pub spared: Vec<Target>,
    /// Names that were asked for and are not on the daemon.
    pub missing: Vec<String>,
}

/// One process with its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// What pins it until the act.
    #[serde(flatten)]
    pub pin: Pin,
    /// Its status when the plan was drawn.
    pub status: Status,
    /// Whose it is.
    pub owner: Owner,
    /// Whether PM2 watches its files: the watch has to end before the process does.
    pub watch: bool,
    /// Values of its variables that name an environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment_names: BTreeMap<String, String>,
}

/// How much of the daemon a plan touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlastRadius {
    /// Processes that would be touched, every instance of a cluster counted.
    pub targets: usize,
    /// Apps among them: distinct names.
    pub apps: usize,
    /// Processes on the daemon, modules left out.
    pub total: usize,
}

impl BlastRadius {
    /// Whether every process would be touched.
    #[must_use]
    pub const fn is_everything(self) -> bool {
        self.total > 0 && self.targets >= self.total
    }

    /// Touched processes per thousand.
    #[must_use]
    pub const fn per_mille(self) -> usize {
        match (self.targets * 1000).checked_div(self.total) {
            Some(share) => share,
            None => 0,
        }
    }
}

impl Plan {
    /// Draws the plan that `request` asks for from the state `before`. Modules are never selected.
    #[must_use]
    pub fn draw(request: &Request, before: &Snapshot, policy: &Policy) -> Self {
        let (targets, spared) = match (&request.selection, &request.source) {
            (Selection::Missing { names, .. }, source) => {
                let gone = source.as_ref().map(|source| source.lost(before, names.as_deref()));
                (gone.unwrap_or_default(), before.countable().collect())
            }
            _ => before.countable().partition(|process| selects(request, process, policy)),
        };
        let with_owner = |processes: Vec<&Process>| -> Vec<Target> {
            processes.into_iter().map(|process| Target::of(process, policy)).collect()
        };
        Self {
            format: FORMAT,
            id: request.id.clone(),
            operation: request.operation,
            scope: request.scope.clone(),
            selection: request.selection.clone(),
            daemon: before.daemon.clone(),
            snapshot: before.id.clone(),
            drawn_at: before.taken_at,
            carries_variables: request.carries.is_some(),
            targets: with_owner(targets),
            spared: with_owner(spared),
            missing: not_found(request, before),
        }
    }

    /// How much of the daemon it touches.
    #[must_use]
    pub fn blast_radius(&self) -> BlastRadius {
        let names: BTreeSet<&str> = self.targets.iter().map(|target| target.pin.name.as_str()).collect();
        BlastRadius {
            targets: self.targets.len(),
            apps: names.len(),
            total: self.targets.len() + self.spared.len(),
        }
    }

    /// SHA-256 of the plan in hex: what an intent refers to.
    #[must_use]
    pub fn digest(&self) -> String {
        canonical::digest(self)
    }

    /// How the state that this plan shows differs from what `fresh`, drawn now for the same request, shows.
    ///
    /// Empty means that it may still be carried out. A target's status may have changed; its identity may not.
    #[must_use]
    pub fn staleness(&self, fresh: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if !self.daemon.is_same_daemon(&fresh.daemon) {
            found.push(format!(
                "the daemon was pid {} and is pid {}: it was restarted",
                self.daemon.process.pid, fresh.daemon.process.pid
            ));
        }
        let pins =
            |targets: &[Target]| targets.iter().map(|target| target.pin.clone()).collect::<BTreeSet<_>>();
        let (then, now) = (pins(&self.targets), pins(&fresh.targets));
        found.extend(then.difference(&now).map(|pin| changed("is no longer as planned", pin)));
        found.extend(now.difference(&then).map(|pin| changed("would be a target now and was not", pin)));
        let (then, now) = (pins(&self.spared), pins(&fresh.spared));
        let names = |pins: &BTreeSet<Pin>| pins.iter().map(Pin::entry).collect::<BTreeSet<_>>();
        if names(&then) != names(&now) {
            found.push("the processes that would be spared are not the same ones".to_owned());
        }
        found
    }
}

fn selects(request: &Request, process: &Process, policy: &Policy) -> bool {
    match &request.selection {
        Selection::Scope => {
            policy.owner_in(&process.pin.name, &process.namespace) == Owner::Scope(request.scope.clone())
        }
        Selection::Names(names) => names.contains(&process.pin.name),
        Selection::All => true,
        Selection::Missing { .. } => false,
    }
}

/// Names that were asked for and are neither on the daemon nor, for a restore, in the snapshot.
fn not_found(request: &Request, before: &Snapshot) -> Vec<String> {
    if request.tolerates_absence {
        return Vec::new();
    }
    let (names, known) = match &request.selection {
        Selection::Names(names) => (names.as_slice(), Some(before)),
        Selection::Missing { names: Some(names), .. } => (names.as_slice(), request.source.as_ref()),
        Selection::Missing { names: None, .. } | Selection::Scope | Selection::All => return Vec::new(),
    };
    let known: BTreeSet<&str> =
        known.into_iter().flat_map(Snapshot::countable).map(|process| process.pin.name.as_str()).collect();
    names.iter().filter(|name| !known.contains(name.as_str())).cloned().collect()
}

fn changed(what: &str, pin: &Pin) -> String {
    let pid = pin.process.map_or_else(|| "none".to_owned(), |process| process.pid.to_string());
    format!("{} (pm_id {}, pid {pid}) {what}", crate::text::escaped(&pin.name), pin.pm_id)
}

impl Target {
    /// `process` with its owner under `policy`.
    #[must_use]
    pub fn of(process: &Process, policy: &Policy) -> Self {
        Self {
            pin: process.pin.clone(),
            status: process.status.clone(),
            owner: policy.owner_in(&process.pin.name, &process.namespace),
            watch: process.watch,
            environment_names: process.environment_names.clone(),
        }
    }
}
