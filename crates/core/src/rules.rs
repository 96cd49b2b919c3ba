//! The rules. Each looks at one judged plan and says what it finds; none acts, none knows the others.

use std::collections::{BTreeMap, BTreeSet};

use crate::ablation::{self, Check};
use crate::bypass::BypassId;
use crate::code::Code;
use crate::ledger::{self, Ledger};
use crate::plan::{Plan, Target};
use crate::policy::{Known, Mode, Owner, Policy};
use crate::request::{Operation, Request, Selection};
use crate::text::{Shown, nearest};
use crate::time::Timestamp;
use crate::verdict::{Authority, Decision, Finding, Permit, Refusal, Verdict};

/// What the rules look at.
struct Judged<'a> {
    policy: &'a Policy,
    request: &'a Request,
    plan: &'a Plan,
    ledger: &'a Ledger,
    now: Timestamp,
}

type Rule = fn(&Judged<'_>) -> Vec<Finding>;

/// All rules, in the order in which their findings are shown.
const RULES: [(Check, Rule); 11] = [
    (Check::UnknownScope, unknown_scope),
    (Check::EmptySelection, empty_selection),
    (Check::AllProcesses, all_processes),
    (Check::ForeignTarget, foreign_target),
    (Check::Unclaimed, unclaimed),
    (Check::Suffix, suffix),
    (Check::Protected, protected),
    (Check::Share, share),
    (Check::Budget, budget),
    (Check::CarriedVariables, carried_variables),
    (Check::Confirmation, confirmation),
];

impl Policy {
    /// Judges `plan`, drawn for `request`, under this policy; `ledger` is what was lately taken down.
    ///
    /// In [`Mode::Enforce`] any finding refuses. In [`Mode::Observe`] findings are only told.
    #[must_use]
    pub fn judge(
        &self,
        mode: Mode,
        request: &Request,
        plan: Plan,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Verdict {
        let findings = self.findings(request, &plan, ledger, now);
        let decision = match (findings.is_empty(), mode) {
            (true, _) => Decision::Permit(Permit::new(plan, Authority::Judged)),
            (false, Mode::Observe) => Decision::Permit(Permit::new(plan, Authority::Observed)),
            (false, Mode::Enforce) => Decision::Refuse(Refusal { plan, findings: findings.clone() }),
        };
        Verdict { findings, decision }
    }

    /// Judges as [`Policy::judge`] while a bypass is in force: whatever the rules find is told, and the permit names the
    /// bypass.
    ///
    /// An empty selection is refused all the same: there is nothing that a bypass could open.
    #[must_use]
    pub fn judge_bypassed(
        &self,
        bypass: &BypassId,
        request: &Request,
        plan: Plan,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Verdict {
        let findings = self.findings(request, &plan, ledger, now);
        let decision = match plan.targets.is_empty() && !findings.is_empty() {
            true => Decision::Refuse(Refusal { plan, findings: findings.clone() }),
            false => Decision::Permit(Permit::new(plan, Authority::Bypassed(bypass.clone()))),
        };
        Verdict { findings, decision }
    }

    fn findings(&self, request: &Request, plan: &Plan, ledger: &Ledger, now: Timestamp) -> Vec<Finding> {
        let judged = Judged { policy: self, request, plan, ledger, now };
        let active = RULES.iter().filter(|(check, _)| !ablation::is_off(*check));
        active.flat_map(|(_, rule)| rule(&judged)).collect()
    }
}

impl Judged<'_> {
    fn is_restore(&self) -> bool {
        self.request.operation == Operation::Restore
    }

    /// One finding about the targets that `picks`, or none.
    fn about(
        &self,
        picks: impl Fn(&Target) -> bool,
        finding: impl FnOnce(&[String]) -> (Code, String, String),
    ) -> Vec<Finding> {
        let picked = self.plan.targets.iter().filter(|target| picks(target));
        let names: BTreeSet<String> = picked.map(|target| target.pin.name.clone()).collect();
        let subjects: Vec<String> = names.into_iter().collect();
        if subjects.is_empty() {
            return Vec::new();
        }
        let (code, message, fix) = finding(&subjects);
        vec![Finding { code, message, fix, subjects }]
    }
}

fn one(code: Code, message: String, fix: String) -> Vec<Finding> {
    vec![Finding { code, message, fix, subjects: Vec::new() }]
}

/// Names on one line, escaped, at most eight of them.
fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(8).map(|name| Shown(name).to_string()).collect();
    let rest = names.len().saturating_sub(8);
    if rest == 0 { shown.join(", ") } else { format!("{} and {rest} more", shown.join(", ")) }
}

fn unknown_scope(judged: &Judged<'_>) -> Vec<Finding> {
    if judged.is_restore() {
        return Vec::new();
    }
    let (policy, scope) = (judged.policy, &judged.request.scope);
    match policy.known(scope) {
        Known::App(_) => Vec::new(),
        Known::NoSuchEnvironment => {
            let known: Vec<&str> = policy.environments.keys().map(crate::EnvironmentName::as_str).collect();
            let meant = nearest(scope.environment.as_str(), known.iter().copied());
            one(
                Code::UnknownScope,
                format!("the policy has no environment {}{}", scope.environment, did_you_mean(meant)),
                format!("use one of: {}", known.join(", ")),
            )
        }
        Known::NoSuchApp => {
            let known: BTreeSet<&str> = policy.apps.iter().map(|app| app.scope.app.as_str()).collect();
            let meant = nearest(scope.app.as_str(), known.iter().copied());
            one(
                Code::UnknownScope,
                format!("the policy has no app {}{}", scope.app, did_you_mean(meant)),
                "add an [[app]] entry to the host's policy, or run `palisade init`".to_owned(),
            )
        }
        Known::NotInEnvironment(elsewhere) => {
            let elsewhere: Vec<&str> = elsewhere.into_iter().map(crate::EnvironmentName::as_str).collect();
            one(
                Code::UnknownScope,
                format!("{} has no entry for {}", scope.app, scope.environment),
                format!("it has one for: {}", elsewhere.join(", ")),
            )
        }
    }
}

fn did_you_mean(word: Option<&str>) -> String {
    word.map(|word| format!(" (did you mean {word}?)")).unwrap_or_default()
}

fn empty_selection(judged: &Judged<'_>) -> Vec<Finding> {
    let plan = judged.plan;
    if !plan.missing.is_empty() {
        let known: BTreeSet<&str> =
            plan.targets.iter().chain(&plan.spared).map(|target| target.pin.name.as_str()).collect();
        let meant = nearest(&plan.missing[0], known.iter().copied());
        return vec![Finding {
            code: Code::EmptySelection,
            message: format!("no process is called {}{}", listed(&plan.missing), did_you_mean(meant)),
            fix: match judged.is_restore() {
                false => "see `palisade pm2 list`; --ignore-not-found leaves out names that are not there",
                true => "see `palisade pm2 runbook` for what is gone; what runs is not restored",
            }
            .to_owned(),
            subjects: plan.missing.clone(),
        }];
    }
    if !plan.targets.is_empty() {
        return Vec::new();
    }
    let message = match &judged.request.selection {
        Selection::Scope => format!("no process on this daemon belongs to {}", judged.request.scope),
        Selection::Names(_) => {
            "the selection names no process; an empty selection never means all".to_owned()
        }
        Selection::All => "the daemon runs no process".to_owned(),
        Selection::Missing { snapshot, .. } => {
            format!("nothing of snapshot {} is missing on this daemon", snapshot.as_str())
        }
    };
    let fix = match judged.is_restore() {
        false => "see `palisade pm2 list`; in a first deployment, --ignore-not-found makes this a success",
        true => "see `palisade pm2 snapshots` for the others that are kept",
    };
    one(Code::EmptySelection, message, fix.to_owned())
}

fn all_processes(judged: &Judged<'_>) -> Vec<Finding> {
    let radius = judged.plan.blast_radius();
    let above = judged.policy.limits.all_above as usize;
    if !judged.request.operation.interrupts() || !radius.is_everything() || radius.total <= above {
        return Vec::new();
    }
    let operation = judged.request.operation;
    one(
        Code::AllProcesses,
        format!("SAFETY ABORT: {operation} would take ALL {} processes of this daemon", radius.total),
        format!(
            "name the processes of one app; if this host is meant for one app, set limits.all_above to {} or \
             more in its policy",
            radius.total
        ),
    )
}

fn share(judged: &Judged<'_>) -> Vec<Finding> {
    let (radius, limits) = (judged.plan.blast_radius(), &judged.policy.limits);
    let counts = judged.request.operation.interrupts() && radius.total > limits.all_above as usize;
    if !counts || radius.per_mille() <= usize::from(limits.share_per_mille) {
        return Vec::new();
    }
    let percent = |per_mille: usize| format!("{}.{} %", per_mille / 10, per_mille % 10);
    one(
        Code::Share,
        format!(
            "{} of {} processes ({}) is more than the limit of {}",
            radius.targets,
            radius.total,
            percent(radius.per_mille()),
            percent(usize::from(limits.share_per_mille))
        ),
        "name fewer processes, or raise limits.share in the host's policy".to_owned(),
    )
}

fn foreign_target(judged: &Judged<'_>) -> Vec<Finding> {
    if judged.is_restore() {
        return Vec::new();
    }
    let scope = &judged.request.scope;
    let mine = Owner::Scope(scope.clone());
    let foreign = |target: &Target| target.owner != mine && target.owner != Owner::Unclaimed;
    let its = judged.plan.targets.iter().filter(|target| foreign(target));
    let owner_of: BTreeMap<&str, String> =
        its.map(|target| (target.pin.name.as_str(), target.owner.to_string())).collect();
    let owners: BTreeSet<&String> = owner_of.values().collect();
    judged.about(foreign, |names| {
        let (does, it) = if names.len() == 1 { ("does", "it") } else { ("do", "them") };
        let message = match (owners.first(), owners.len()) {
            (Some(owner), 1) => format!("{} {does} not belong to {scope} but to {owner}", listed(names)),
            _ => {
                let whose = |(name, owner)| format!("{name} ({owner})");
                let owned: Vec<String> = owner_of.iter().map(whose).collect();
                format!("{} {does} not belong to {scope}", listed(&owned))
            }
        };
        let fix =
            format!("leave {it} out: without names, everything of {scope} is selected and nothing else");
        (Code::ForeignTarget, message, fix)
    })
}

fn unclaimed(judged: &Judged<'_>) -> Vec<Finding> {
    if judged.is_restore() {
        return Vec::new();
    }
    judged.about(
        |target| target.owner == Owner::Unclaimed,
        |names| {
            (
                Code::Unclaimed,
                format!("{} is claimed by no app of the policy", listed(names)),
                "claim it under `processes` of its [[app]] in the host's policy, or run `palisade init`"
                    .to_owned(),
            )
        },
    )
}

fn suffix(judged: &Judged<'_>) -> Vec<Finding> {
    if judged.is_restore() {
        return Vec::new();
    }
    let (policy, scope) = (judged.policy, &judged.request.scope);
    let contradicts = |name: &str| match policy.environment_by_suffix(name) {
        Some(environment) => *environment != scope.environment,
        None => policy.suffix_of(&scope.environment).is_some(),
    };
    let by_suffix =
        |name: &str| policy.environment_by_suffix(name).is_some_and(|env| *env != scope.environment);
    let mut found = judged.about(
        |target| contradicts(&target.pin.name),
        |names| {
            (
                Code::Suffix,
                format!("the suffix of {} contradicts the environment {}", listed(names), scope.environment),
                "ask for the environment that the suffix names, or leave these processes out".to_owned(),
            )
        },
    );
    if by_suffix(scope.app.as_str()) {
        found.extend(one(
            Code::Suffix,
            format!("an app called {} may not act on {}", scope.app, scope.environment),
            "ask for the environment that the app's suffix names".to_owned(),
        ));
    }
    found
}

fn protected(judged: &Judged<'_>) -> Vec<Finding> {
    if judged.is_restore() {
        return Vec::new();
    }
    judged.about(
        |target| judged.policy.is_protected(&target.pin.name),
        |names| {
            (
                Code::Protected,
                format!("{} is protected", listed(names)),
                "leave it out, or take it from `protected` in the host's policy first".to_owned(),
            )
        },
    )
}

fn budget(judged: &Judged<'_>) -> Vec<Finding> {
    if !judged.request.operation.takes_down() {
        return Vec::new();
    }
    let (policy, plan) = (judged.policy, judged.plan);
    let since = judged.now.before(policy.limits.window);
    let before = judged.ledger.taken_by(&judged.request.actor.tree, since);
    let names = |targets: &[Target]| ledger::count(targets.iter().map(|target| target.pin.name.as_str()));
    let mut taken = before.clone();
    ledger::merge(&mut taken, &names(&plan.targets));
    let mut known = taken.clone();
    ledger::merge(&mut known, &names(&plan.spared));
    let (already, total) = (before.values().sum::<usize>(), taken.values().sum::<usize>());
    // Names alone do not tell two namespaces apart, the list does.
    let limit = match policy.limits.budget {
        Some(_) => policy.budget(&known),
        None => policy.budget(&known).max(largest_scope(plan)),
    };
    // What one operation takes is for the other rules; without a number of its own this one is about what adds up.
    let adds_up = already > 0 || policy.limits.budget.is_some();
    if total <= limit || !adds_up {
        return Vec::new();
    }
    one(
        Code::Budget,
        format!(
            "this caller has taken {already} processes down within {}, and this would make it {total}: the \
             limit is {limit}",
            humantime::format_duration(policy.limits.window)
        ),
        "one deployment per app and run: `palisade deploy --app A --environment E -- CMD` counts for itself; or \
         set limits.budget in the host's policy"
            .to_owned(),
    )
}

fn largest_scope(plan: &Plan) -> usize {
    let owners = plan.targets.iter().chain(&plan.spared).map(|target| &target.owner);
    let mut sizes = BTreeMap::<&Owner, usize>::new();
    for owner in owners.filter(|owner| **owner != Owner::Unclaimed) {
        *sizes.entry(owner).or_default() += 1;
    }
    sizes.into_values().max().unwrap_or(0)
}

fn carried_variables(judged: &Judged<'_>) -> Vec<Finding> {
    let Some(carried) = &judged.request.carries else { return Vec::new() };
    let scope = &judged.request.scope;
    let fix = "call from the environment that the processes belong to, or leave out --update-env";
    if let Some(value) = carried.get("PALISADE_ENVIRONMENT")
        && value != scope.environment.as_str()
    {
        return one(
            Code::CarriedVariables,
            format!("the caller's environment is {}, the targets belong to {scope}", Shown(value)),
            fix.to_owned(),
        );
    }
    let mine = Owner::Scope(scope.clone());
    let differs = |target: &Target| {
        carried
            .iter()
            .find(|(name, value)| target.environment_names.get(*name).is_some_and(|own| own != *value))
    };
    let example = judged.plan.targets.iter().find_map(differs);
    let why = match example {
        Some((name, value)) => format!(" ({name}={})", Shown(value)),
        None => String::new(),
    };
    judged.about(
        |target| target.owner != mine || differs(target).is_some(),
        |names| {
            let message = format!("the caller's variables{why} would be carried into {}", listed(names));
            (Code::CarriedVariables, message, fix.to_owned())
        },
    )
}

fn confirmation(judged: &Judged<'_>) -> Vec<Finding> {
    let (request, scope) = (judged.request, &judged.request.scope);
    let listed_in_policy = matches!(
        judged.policy.known(scope),
        Known::App(app) if app.confirm.contains(&request.operation)
    );
    let severe = listed_in_policy || (request.selection == Selection::All && !judged.is_restore());
    if !severe || request.confirmed.as_deref() == Some(scope.app.as_str()) {
        return Vec::new();
    }
    let given = match &request.confirmed {
        Some(typed) => format!(": {} is not that name", Shown(typed)),
        None => String::new(),
    };
    one(
        Code::ConfirmationNeeded,
        format!("{} of {scope} needs a person's confirmation{given}", request.operation),
        format!("look at the plan with --dry-run, then add --confirm={}", scope.app),
    )
}
