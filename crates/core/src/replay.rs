//! What a guard in observe has seen, read as the question whether it may enforce. Pure: records in, an answer out.
//!
//! A guard refuses by the mode of the *target*. So for each app this looks at every call that would have been refused
//! because it touches that app's processes, and tells whose call it was: the app's own, which is a good deployment that
//! would break; one of a caller whom nothing identified, which may be one; or another app's, which is what a guard is
//! for.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::actor::Actor;
use crate::code::Code;
use crate::name::Scope;
use crate::policy::{Owner, Policy};
use crate::record::{Called, Event, Record, Ruling};
use crate::request::OperationId;
use crate::time::Timestamp;

/// Whose call it was, seen from the app that it touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Whose {
    /// The app's own: a good deployment that would be refused.
    Own,
    /// Nobody's that is known: maybe its own.
    Unknown,
    /// Another app's.
    Foreign,
}

/// Equal objections.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Objection {
    /// Whose calls.
    pub whose: Whose,
    /// The first ground.
    pub code: Code,
    /// What it says.
    pub message: String,
    /// The method.
    pub method: String,
    /// How many calls.
    pub count: u64,
    /// The number of the newest record.
    pub sequence: u64,
    /// Who called in that one.
    pub actor: Actor,
    /// What in the policy, or in the deployment, would let it pass; `None` where nothing should.
    pub allow: Option<String>,
}

/// Whether an app may be enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    /// Its deployments were seen, and none would have been refused.
    Safe,
    /// Some of its own, or of unknown callers, would have been.
    WouldRefuse,
    /// No deployment of it was seen, so nothing is known.
    NothingSeen,
}

/// One app.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AppReport {
    /// Which.
    pub scope: Scope,
    /// Whether it may be enforced.
    pub readiness: Readiness,
    /// Recorded calls of its own that met no objection.
    pub passed: u64,
    /// The rest, own ones first.
    pub objections: Vec<Objection>,
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replay {
    /// The first call, if any was recorded.
    pub from: Option<Timestamp>,
    /// The last one.
    pub to: Option<Timestamp>,
    /// How many calls.
    pub calls: u64,
    /// How long the firewall took to decide, where records say it.
    pub decisions: Option<Decisions>,
    /// Every app of the policy.
    pub apps: Vec<AppReport>,
}

/// How long recorded decisions took, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Decisions {
    /// How many records say it.
    pub count: usize,
    /// Half took at most this long.
    pub p50_us: u64,
    /// And 99 of 100 this long.
    pub p99_us: u64,
    /// The longest.
    pub longest_us: u64,
}

impl Decisions {
    /// Of these times, in whatever order; `None` of none.
    #[must_use]
    pub fn of(mut times_us: Vec<u64>) -> Option<Self> {
        times_us.sort_unstable();
        let at = |percent: usize| times_us.get((times_us.len() * percent).div_ceil(100).max(1) - 1).copied();
        Some(Self { count: times_us.len(), p50_us: at(50)?, p99_us: at(99)?, longest_us: at(100)? })
    }
}

#[derive(Default)]
struct Tally {
    passed: u64,
    objections: BTreeMap<(Whose, Code, String), Objection>,
}

/// Reads `records`, oldest first with their numbers, under the policy in force now.
pub fn replay<'a>(policy: &Policy, records: impl IntoIterator<Item = (u64, &'a Record)>) -> Replay {
    let (mut from, mut to, mut calls, mut times) = (None, None, 0, Vec::new());
    let mut tallies = BTreeMap::<Scope, Tally>::new();
    let mut written = BTreeMap::<OperationId, Vec<(Scope, (Whose, Code, String))>>::new();
    for (sequence, record) in records {
        match &record.event {
            Event::Called(called) => {
                from = from.or(Some(record.at));
                to = Some(record.at);
                calls += 1;
                times.extend(called.decided_us);
                let keys = note(policy, &mut tallies, sequence, record, called);
                written.insert(record.op.clone(), keys);
            }
            Event::Repeated(repeated) => {
                for (scope, key) in written.get(&repeated.first).into_iter().flatten() {
                    let tally = tallies.entry(scope.clone()).or_default();
                    if let Some(objection) = tally.objections.get_mut(key) {
                        objection.count += repeated.count;
                        calls += repeated.count;
                    }
                }
            }
            _ => {}
        }
    }
    let apps = policy.apps.iter().map(|app| report(&app.scope, tallies.remove(&app.scope)));
    Replay { from, to, calls, decisions: Decisions::of(times), apps: apps.collect() }
}

fn note(
    policy: &Policy,
    tallies: &mut BTreeMap<Scope, Tally>,
    sequence: u64,
    record: &Record,
    called: &Called,
) -> Vec<(Scope, (Whose, Code, String))> {
    let Some(finding) = called.findings.first() else {
        if let (Some(scope), Ruling::Passed) = (&called.scope, called.ruling) {
            tallies.entry(scope.clone()).or_default().passed += 1;
        }
        return Vec::new();
    };
    let touched: BTreeSet<Scope> = called
        .targets
        .iter()
        .filter_map(|name| match policy.owner_of(name) {
            Owner::Scope(scope) => Some(scope),
            Owner::Unclaimed => None,
        })
        .collect();
    let mut keys = Vec::new();
    for scope in touched {
        let whose = match &called.scope {
            None => Whose::Unknown,
            Some(own) if *own == scope => Whose::Own,
            Some(_) => Whose::Foreign,
        };
        let key = (whose, finding.code, called.method.clone());
        let objections = &mut tallies.entry(scope.clone()).or_default().objections;
        let objection = objections.entry(key.clone()).or_insert_with(|| Objection {
            whose,
            code: finding.code,
            message: finding.message.clone(),
            method: called.method.clone(),
            count: 0,
            sequence,
            actor: record.actor.clone(),
            allow: None,
        });
        objection.count += 1;
        objection.sequence = sequence;
        objection.message.clone_from(&finding.message);
        objection.actor.clone_from(&record.actor);
        objection.allow = allow(whose, finding.code, &scope, &record.actor, called);
        keys.push((scope, key));
    }
    keys
}

/// What would let it pass. What another app does is not to be let pass.
fn allow(whose: Whose, code: Code, scope: &Scope, actor: &Actor, called: &Called) -> Option<String> {
    if whose == Whose::Foreign {
        return None;
    }
    let entry = |line: &str| {
        format!("[[app]] name = \"{}\", environment = \"{}\": {line}", scope.app, scope.environment)
    };
    let deploy = || format!("palisade deploy --app {} --environment {} -- CMD", scope.app, scope.environment);
    match code {
        Code::UnidentifiedCaller | Code::ContradictingEvidence => Some(match &actor.observed.cwd {
            Some(folder) if folder != "/" && code == Code::UnidentifiedCaller => entry(&format!(
                "folder = \"{}\", if it deploys from there; or {}",
                crate::text::escaped(folder),
                deploy()
            )),
            Some(_) | None => deploy(),
        }),
        Code::NoDeployer => Some(entry(&format!("deployers = [.., {{ uid = {} }}]", actor.observed.uid))),
        Code::Unclaimed => Some(entry(&format!("processes = [.., {:?}]", called.targets))),
        Code::Budget => Some(format!("[limits] budget = {}", called.total)),
        Code::AllProcesses => Some(format!("[limits] all_above = {}", called.total)),
        Code::Share => Some("[limits] share = 1.0".to_owned()),
        Code::Protected => Some("protected: without that name".to_owned()),
        Code::ConfirmationNeeded => Some(entry("confirm: without that operation")),
        _ => None,
    }
}

fn report(scope: &Scope, tally: Option<Tally>) -> AppReport {
    let Tally { passed, objections } = tally.unwrap_or_default();
    let objections: Vec<Objection> = objections.into_values().collect();
    let readiness = if objections.iter().any(|objection| objection.whose != Whose::Foreign) {
        Readiness::WouldRefuse
    } else if passed > 0 {
        Readiness::Safe
    } else {
        Readiness::NothingSeen
    };
    AppReport { scope: scope.clone(), readiness, passed, objections }
}
