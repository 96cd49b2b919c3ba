//! What to do with one call, from the facts: the core's rules for the caller's app, and the firewall's own. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use palisade_core::ablation::{self, Check};
use palisade_core::plan::{self, Target};
use palisade_core::policy::{Mode, Owner};
use palisade_core::process::{DaemonIdentity, Pin, Status};
use palisade_core::record::Ruling;
use palisade_core::request::OperationId;
use palisade_core::snapshot::SnapshotId;
use palisade_core::text::Shown;
use palisade_core::{
    Actor, Code, Finding, Ledger, Operation, Plan, Policy, Process, Request, Scope, Selection, Timestamp,
};

use crate::evidence::Standing;
use palisade_pm2::asked::Kind;
use palisade_pm2::command_line::CommandLine;
use palisade_pm2::deed::{Act, Aim, Deed};

/// Everything that a ruling rests on.
#[derive(Debug)]
pub struct Case<'a> {
    /// The policy in force.
    pub policy: &'a Policy,
    /// The daemon.
    pub daemon: &'a DaemonIdentity,
    /// Its list, not older than a few milliseconds.
    pub processes: &'a [Process],
    /// What was lately taken down.
    pub ledger: &'a Ledger,
    /// Who asks; its tree is what budgets run over.
    pub actor: &'a Actor,
    /// Whom the caller was taken for.
    pub standing: &'a Standing,
    /// The ground against the caller's CI job, if its workflow is older than this host requires.
    pub stale: Option<Finding>,
    /// What was refused to this tree within the window, if anything was.
    pub refused_before: Option<&'a str>,
    /// What the caller's command line says, where it is a `pm2` that says anything of the kind.
    pub line: Option<&'a CommandLine>,
    /// What is asked for.
    pub kind: &'a Kind,
    /// The call's id.
    pub id: OperationId,
    /// Now.
    pub now: Timestamp,
}

/// What is done with a call, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What is done.
    pub ruling: Ruling,
    /// Whether the targets are in enforce.
    pub mode: Mode,
    /// The grounds against it.
    pub findings: Vec<Finding>,
    /// Names that it is about.
    pub targets: Vec<String>,
    /// Whether processes may be down afterwards.
    pub takes_down: bool,
}

impl Case<'_> {
    /// Judges.
    #[must_use]
    pub fn judge(&self) -> Judgement {
        let is_checked = !matches!(self.kind, Kind::Read) && !ablation::is_off(Check::StaleCall);
        let stale = self.stale.iter().filter(|_| is_checked).cloned();
        let (mode, mut findings, targets, takes_down) = match self.kind {
            Kind::Read => (Mode::Observe, Vec::new(), Vec::new(), false),
            Kind::Lifecycle => {
                let finding = (!ablation::is_off(Check::LifecycleCall)).then(|| self.lifecycle());
                (self.strictest(), finding.into_iter().collect(), self.every_name(), true)
            }
            Kind::Act(act) => self.act(act),
        };
        findings.splice(0..0, stale);
        // Before each deletion PM2's command line ends the watch of its target.
        let is_barred = !ablation::is_off(Check::TreeWindow)
            && (takes_down || matches!(self.kind, Kind::Act(act) if act.deed == Deed::Touch));
        if let Some(before) = self.refused_before.filter(|_| is_barred && findings.is_empty()) {
            findings.push(self.refused(before));
        }
        let ruling = match (findings.is_empty(), mode) {
            (true, _) => Ruling::Passed,
            (false, Mode::Observe) => Ruling::Observed,
            (false, Mode::Enforce) => Ruling::Refused,
        };
        Judgement { ruling, mode, findings, targets, takes_down }
    }

    fn act(&self, act: &Act) -> (Mode, Vec<Finding>, Vec<String>, bool) {
        let (mut findings, mut names, mut modes) = (Vec::new(), BTreeSet::new(), Vec::new());
        let (evicted, aims): (Vec<&Aim>, Vec<&Aim>) =
            act.aims.iter().partition(|aim| matches!(aim, Aim::Slot(_)));
        let evicted = if ablation::is_off(Check::TakenSlot) { Vec::new() } else { evicted };
        let evicted = self.targets(&evicted, &BTreeSet::new());
        let takes_down = act.deed.takes_down() || !evicted.is_empty();
        let nothing = BTreeMap::new();
        let carries = if ablation::is_off(Check::InjectedEnvironment) { &nothing } else { &act.carries };
        let judged =
            [(act.deed, self.targets(&aims, &act.namespaces), carries), (Deed::Delete, evicted, &nothing)];
        for (deed, targets, carries) in judged {
            // Every instance of a name is taken where one is: what counts is how many targets there are.
            names.extend(targets.iter().map(|target| target.pin.name.clone()));
            modes.extend(targets.iter().map(|target| self.mode_of(&target.owner)));
            findings.extend(self.rules(deed, targets, carries));
        }
        findings.extend(self.crossing(act).filter(|_| !ablation::is_off(Check::CrossedNamespace)));
        if let Some(finding) = self.unidentified().filter(|_| !ablation::is_off(Check::Unidentified)) {
            findings.insert(0, finding);
        }
        let mode = match (modes.is_empty(), modes.contains(&Mode::Enforce)) {
            (true, _) => {
                self.standing.scope().map_or_else(|| self.strictest(), |scope| self.mode_of_scope(scope))
            }
            (false, true) => Mode::Enforce,
            (false, false) => Mode::Observe,
        };
        if findings.is_empty()
            && let Some((whole_mode, found)) = self.whole()
            && (whole_mode == Mode::Enforce || mode == Mode::Observe)
        {
            return (whole_mode, found, names.into_iter().collect(), takes_down);
        }
        (mode, findings, names.into_iter().collect(), takes_down)
    }

    /// The grounds against everything that the caller's command line would do, and the mode of what they are about.
    fn whole(&self) -> Option<(Mode, Vec<Finding>)> {
        let line = self.line.filter(|_| !ablation::is_off(Check::WholeLine))?;
        let scope = self.standing.scope()?;
        let expanded = line.expand(self.processes);
        // A name in a file that is nobody's may be anything; a start of it is judged when it comes.
        let counts = |aim: &&Aim| match aim {
            Aim::NewName(name) => {
                !self.policy.claims(scope, name) && self.policy.owner_of(name) != Owner::Unclaimed
            }
            Aim::Id(_) | Aim::Name(_) | Aim::Address(_) | Aim::All | Aim::Slot(_) => true,
        };
        let aims: Vec<&Aim> = expanded.aims.iter().filter(counts).collect();
        let targets = self.targets(&aims, &BTreeSet::new());
        let of_owner = [Code::ForeignTarget, Code::Unclaimed, Code::Suffix, Code::Protected];
        let of_many = [Code::AllProcesses, Code::Share];
        let mut findings = self.rules(line.deed(), targets.clone(), &BTreeMap::new());
        findings.retain(|finding| {
            of_owner.contains(&finding.code) || (expanded.is_broad && of_many.contains(&finding.code))
        });
        let about = |target: &&Target| {
            let names = |finding: &Finding| {
                finding.subjects.is_empty() || finding.subjects.contains(&target.pin.name)
            };
            findings.iter().any(names)
        };
        let enforced =
            targets.iter().filter(about).any(|target| self.mode_of(&target.owner) == Mode::Enforce);
        for finding in &mut findings {
            finding.message.push_str(", and the command line was judged whole before its first act");
        }
        let mode = if enforced { Mode::Enforce } else { Mode::Observe };
        (!findings.is_empty()).then_some((mode, findings))
    }

    /// The ground against a process of a scope outside the namespace that the scope is bound to, or inside another's.
    fn crossing(&self, act: &Act) -> Option<Finding> {
        let scope = self.standing.scope()?;
        let own = self.policy.apps.iter().find(|app| app.scope == *scope)?.namespace.as_ref();
        let foreign_name = |aim: &&Aim| match aim {
            Aim::NewName(name) => {
                let owner = self.policy.owner_of(name);
                owner != Owner::Unclaimed && !self.policy.claims(scope, name)
            }
            Aim::Id(_) | Aim::Name(_) | Aim::Address(_) | Aim::All | Aim::Slot(_) => false,
        };
        let own_name = own.map(palisade_core::deployer::Namespace::as_str);
        let out =
            act.namespaces.iter().find(|namespace| own_name.is_some_and(|own| own != namespace.as_str()));
        if let (Some(namespace), Some(own)) = (out, own_name) {
            return Some(finding(
                Code::CrossesNamespace,
                format!(
                    "{scope} is bound to the namespace {own}, and this would run in {}",
                    Shown(namespace)
                ),
                &format!(
                    "start it with `--namespace {own}`, or write `namespace: \"{own}\"` into its ecosystem file"
                ),
            ));
        }
        let into_own = act.namespaces.iter().any(|namespace| own_name == Some(namespace.as_str()));
        let Some(Aim::NewName(name)) = act.aims.iter().find(foreign_name).filter(|_| into_own) else {
            return None;
        };
        Some(finding(
            Code::CrossesNamespace,
            format!(
                "{} belongs by its name to {}, and this namespace to {scope}",
                Shown(name),
                self.policy.owner_of(name)
            ),
            "start it in the namespace of the app that it belongs to, or under another name",
        ))
    }

    /// The core's rules, in the name of the caller's app.
    fn rules(&self, deed: Deed, targets: Vec<Target>, carries: &BTreeMap<String, String>) -> Vec<Finding> {
        let Some(scope) = self.standing.scope() else { return Vec::new() };
        if targets.is_empty() {
            return Vec::new();
        }
        let request = self.request(deed.operation(), scope, &targets, carries);
        let plan = self.plan(&request, targets);
        let verdict = self.policy.judge(Mode::Enforce, &request, plan, self.ledger, self.now);
        let mut findings = verdict.findings;
        if deed.creates() {
            // To be protected is not to be taken down; a start takes nothing down.
            findings.retain(|finding| finding.code != Code::Protected);
        }
        findings
    }

    fn request(
        &self,
        operation: Operation,
        scope: &Scope,
        targets: &[Target],
        carries: &BTreeMap<String, String>,
    ) -> Request {
        Request {
            id: self.id.clone(),
            operation,
            scope: scope.clone(),
            selection: Selection::Names(targets.iter().map(|target| target.pin.name.clone()).collect()),
            carries: (!carries.is_empty()).then(|| carries.clone()),
            source: None,
            tolerates_absence: true,
            confirmed: None,
            actor: self.actor.clone(),
        }
    }

    fn plan(&self, request: &Request, targets: Vec<Target>) -> Plan {
        let is_target =
            |process: &Process| targets.iter().any(|target| target.pin.unique_id == process.pin.unique_id);
        let spared = self.processes.iter().filter(|process| !process.module && !is_target(process));
        let spared = spared.map(|process| Target::of(process, self.policy)).collect();
        Plan {
            format: plan::FORMAT,
            id: request.id.clone(),
            operation: request.operation,
            scope: request.scope.clone(),
            selection: request.selection.clone(),
            daemon: self.daemon.clone(),
            snapshot: SnapshotId::new(self.now, request.id.as_str()),
            drawn_at: self.now,
            carries_variables: request.carries.is_some(),
            targets,
            spared,
            missing: Vec::new(),
        }
    }

    /// The processes that are meant; those that would come to be are in one of `namespaces`, where any is given.
    fn targets(&self, aims: &[&Aim], namespaces: &BTreeSet<String>) -> Vec<Target> {
        let mut targets: Vec<Target> = Vec::new();
        for aim in aims {
            if let Aim::NewName(name) = aim
                && !targets.iter().any(|target| target.pin.name == *name)
            {
                targets.push(self.newcomer(name, namespaces));
            }
            // PM2 lets a name be used once in each namespace, so one in another scope's is not taken by a start.
            let stands_apart = |process: &Process| {
                matches!(aim, Aim::NewName(_))
                    && !namespaces.is_empty()
                    && !namespaces.contains(&process.namespace)
                    && self.policy.bound_to(&process.namespace).is_some()
            };
            let hit = self.processes.iter().filter(|process| hits(aim, process) && !stands_apart(process));
            for process in hit {
                if !targets.iter().any(|target| target.pin.unique_id == process.pin.unique_id) {
                    targets.push(Target::of(process, self.policy));
                }
            }
        }
        targets
    }

    /// A process that does not run yet.
    fn newcomer(&self, name: &str, namespaces: &BTreeSet<String>) -> Target {
        let bound = namespaces.iter().find(|namespace| self.policy.bound_to(namespace).is_some());
        let namespace = bound.or_else(|| namespaces.first()).map_or("default", String::as_str);
        let pin = Pin { pm_id: 0, name: name.to_owned(), unique_id: format!("new {name}"), process: None };
        Target {
            pin,
            status: Status::Launching,
            owner: self.policy.owner_in(name, namespace),
            watch: false,
            environment_names: BTreeMap::new(),
        }
    }

    /// The mode of a target. What nobody claims is guarded as soon as anything is.
    fn mode_of(&self, owner: &Owner) -> Mode {
        match owner {
            Owner::Scope(scope) => self.mode_of_scope(scope),
            Owner::Unclaimed => self.strictest(),
        }
    }

    fn mode_of_scope(&self, scope: &Scope) -> Mode {
        mode_of(self.policy, scope)
    }

    fn strictest(&self) -> Mode {
        strictest(self.policy)
    }

    fn every_name(&self) -> Vec<String> {
        let names: BTreeSet<String> = self.processes.iter().map(|process| process.pin.name.clone()).collect();
        names.into_iter().collect()
    }

    /// The ground against a caller that belongs to no app, with the line that would identify it.
    fn unidentified(&self) -> Option<Finding> {
        let told = |grounds: &[String]| grounds.join("; ");
        let (code, message, line) = match self.standing {
            Standing::Of { .. } => return None,
            Standing::Contradicting { grounds } => (
                Code::ContradictingEvidence,
                format!("the caller cannot belong to two apps: {}", told(grounds)),
                None,
            ),
            Standing::NoDeployer { grounds, line } => (
                Code::NoDeployer,
                format!(
                    "the policy names who deploys that app, and the caller is none of them: {}",
                    told(grounds)
                ),
                line.as_ref(),
            ),
            Standing::Unknown { grounds, line } if grounds.is_empty() => (
                Code::UnidentifiedCaller,
                "nothing tells which app the caller belongs to, so it may read and change nothing".to_owned(),
                line.as_ref(),
            ),
            Standing::Unknown { grounds, line } => (
                Code::UnidentifiedCaller,
                format!(
                    "the caller could belong to several apps, so it may change nothing: {}",
                    told(grounds)
                ),
                line.as_ref(),
            ),
        };
        let mut fix =
            "call from the app's own folder, or through `palisade deploy --app A --environment E -- CMD`"
                .to_owned();
        if let Some(line) = line {
            fix.push_str(&format!(
                "; or an administrator adds to the app's entry of the host's policy: {line}"
            ));
        }
        Some(finding(code, message, &fix))
    }

    fn lifecycle(&self) -> Finding {
        finding(
            Code::LifecycleCall,
            format!("this would end or mark the daemon of all {} processes", self.processes.len()),
            "for an administrator there are `palisade pm2 kill` and `palisade pm2 update`, with a snapshot before and a \
             look at every app afterwards; if PM2's own command says that applications were stopped, they were not",
        )
    }

    fn refused(&self, before: &str) -> Finding {
        let window = self.policy.limits.window.as_secs();
        finding(
            Code::RefusedBefore,
            format!("{} was refused to this caller within the last {window} s", Shown(before)),
            "look at that refusal; a new session, or `palisade deploy --app A --environment E -- CMD`, counts for \
             itself",
        )
    }
}

fn mode_of(policy: &Policy, scope: &Scope) -> Mode {
    let app = policy.apps.iter().find(|app| app.scope == *scope).and_then(|app| app.mode);
    let environment = || policy.environments.get(&scope.environment).map(|settings| settings.mode);
    app.or_else(environment).unwrap_or_default()
}

/// Enforce as soon as any app is: the mode of what belongs to no app, and of a firewall whose judge is away.
#[must_use]
pub fn strictest(policy: &Policy) -> Mode {
    let enforced = policy.apps.iter().any(|app| mode_of(policy, &app.scope) == Mode::Enforce);
    if enforced { Mode::Enforce } else { Mode::Observe }
}

fn finding(code: Code, message: String, fix: &str) -> Finding {
    Finding { code, message, fix: fix.to_owned(), subjects: Vec::new() }
}

fn hits(aim: &Aim, process: &Process) -> bool {
    match aim {
        Aim::Id(id) | Aim::Slot(id) => process.pin.pm_id == *id,
        Aim::Name(name) => process.pin.name == *name,
        Aim::Address(address) => {
            let script = process.script.as_deref().and_then(|path| Path::new(path).file_name());
            address == "all"
                || process.pin.name == *address
                || process.namespace == *address
                || script.is_some_and(|script| script.to_string_lossy() == *address)
        }
        Aim::All => true,
        Aim::NewName(_) => false,
    }
}
