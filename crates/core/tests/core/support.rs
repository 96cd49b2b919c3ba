//! A small host to judge on: two apps in two environments, eight processes.

use std::collections::BTreeMap;

use palisade_core::actor::{Claimed, Observed, ProcessRef, Tree};
use palisade_core::policy::{App, Environment, Limits, Mode};
use palisade_core::process::{DaemonIdentity, ExecMode, Pin, Process, Status};
use palisade_core::record::{Event, Intent, Record};
use palisade_core::request::OperationId;
use palisade_core::snapshot::SnapshotId;
use palisade_core::verdict::{Authority, Term};
use palisade_core::{
    Actor, AppName, Code, Decision, EnvironmentName, Ledger, Operation, Pattern, Plan, Policy, Request,
    Scope, Selection, Snapshot, Timestamp, Verdict,
};

/// The eight processes of the incident's server.
pub(crate) const EIGHT: [&str; 8] = [
    "flyer-crawler-api",
    "flyer-crawler-worker",
    "flyer-crawler-analytics-worker",
    "flyer-crawler-api-test",
    "flyer-crawler-worker-test",
    "flyer-crawler-analytics-worker-test",
    "stock-alert",
    "projectium-site",
];

pub(crate) const NOW: Timestamp = Timestamp::from_unix_ms(1_771_323_180_000);

/// In a build with ablation, switches off the check that PALISADE_ABLATE names: the canonical test must then fail.
pub(crate) fn ablate() {
    #[cfg(feature = "ablation")]
    #[expect(clippy::disallowed_methods, reason = "the test is the edge here")]
    if let Ok(name) = std::env::var("PALISADE_ABLATE") {
        palisade_core::ablation::switch_off(&name).unwrap();
    }
}

pub(crate) fn scope(app: &str, environment: &str) -> Scope {
    Scope::new(AppName::new(app).unwrap(), EnvironmentName::new(environment).unwrap())
}

pub(crate) fn app(name: &str, environment: &str, processes: &[&str]) -> App {
    let processes = processes.iter().map(|text| Pattern::new(text).unwrap()).collect();
    App::new(scope(name, environment), processes)
}

pub(crate) fn policy() -> Policy {
    let test = Environment { suffix: Some("-test".into()), mode: Mode::Observe };
    Policy {
        revision: 1,
        environments: BTreeMap::from([
            (EnvironmentName::new("production").unwrap(), Environment::default()),
            (EnvironmentName::new("test").unwrap(), test),
        ]),
        apps: vec![
            app("flyer-crawler", "production", &["flyer-crawler-*"]),
            app("flyer-crawler", "test", &["flyer-crawler-*-test"]),
            app("stock-alert", "production", &["stock-alert"]),
        ],
        protected: Vec::new(),
        limits: Limits::default(),
        notify: Default::default(),
    }
}

pub(crate) fn process(pm_id: u32, name: &str) -> Process {
    Process {
        pin: Pin {
            pm_id,
            name: name.into(),
            unique_id: format!("uuid-{pm_id}-{name}"),
            process: Some(ProcessRef { pid: 1000 + pm_id, start_ticks: 5000 + u64::from(pm_id) }),
        },
        status: Status::Online,
        namespace: "default".into(),
        exec_mode: ExecMode::Fork,
        watch: false,
        module: false,
        restarts: 0,
        cwd: None,
        script: None,
        environment: BTreeMap::new(),
        environment_names: BTreeMap::new(),
    }
}

pub(crate) fn snapshot(names: &[&str]) -> Snapshot {
    let numbered = (0..).zip(names);
    Snapshot {
        id: SnapshotId::new(NOW, "0190"),
        taken_at: NOW,
        daemon: DaemonIdentity {
            process: ProcessRef { pid: 77, start_ticks: 4000 },
            uid: 1000,
            boot_id: "boot".into(),
            version: "7.0.4".into(),
            home: "/home/deploy/.pm2".into(),
            socket: "/home/deploy/.pm2/rpc.sock".into(),
        },
        processes: numbered.map(|(pm_id, name)| process(pm_id, name)).collect(),
        bundle: None,
    }
}

pub(crate) fn actor(tree: &str) -> Actor {
    Actor {
        observed: Observed {
            uid: 1000,
            gid: 1000,
            user: Some("deploy".into()),
            process: ProcessRef { pid: 4242, start_ticks: 9 },
            session: 4242,
            cwd: None,
            cgroup: None,
            host: "one".into(),
            machine_id: None,
            ancestors: Vec::new(),
        },
        claimed: Claimed::default(),
        missing: Vec::new(),
        tree: Tree::ci("flyer/crawler", tree, "deploy", "1"),
    }
}

pub(crate) fn request(operation: Operation, scope: Scope, selection: Selection) -> Request {
    Request {
        id: OperationId::new(NOW, [7; 10]),
        operation,
        scope,
        selection,
        carries: None,
        source: None,
        tolerates_absence: false,
        confirmed: None,
        actor: actor("41"),
    }
}

pub(crate) fn names(names: &[&str]) -> Selection {
    Selection::Names(names.iter().map(|name| (*name).to_owned()).collect())
}

pub(crate) fn judge(policy: &Policy, request: &Request, before: &Snapshot) -> Verdict {
    judge_after(policy, request, before, &Ledger::default())
}

pub(crate) fn judge_after(policy: &Policy, request: &Request, before: &Snapshot, ledger: &Ledger) -> Verdict {
    policy.judge(Mode::Enforce, request, Plan::draw(request, before, policy), ledger, NOW)
}

/// Codes of the findings, in their order.
pub(crate) fn codes(verdict: &Verdict) -> Vec<Code> {
    assert_eq!(verdict.findings.is_empty(), matches!(verdict.decision, Decision::Permit(_)));
    verdict.findings.iter().map(|finding| finding.code).collect()
}

/// The record of an intent that `tree` wrote `seconds_ago`, with these targets.
pub(crate) fn intent(tree: &str, seconds_ago: u64, operation: Operation, targets: &[&str]) -> Record {
    let before = snapshot(targets);
    let policy = policy();
    let request = request(operation, scope("flyer-crawler", "production"), names(targets));
    let plan = Plan::draw(&request, &before, &policy);
    Record {
        v: 1,
        at: NOW.before(std::time::Duration::from_secs(seconds_ago)),
        boot_ms: 0,
        boot_id: "boot".into(),
        op: OperationId::new(NOW, [9; 10]),
        actor: actor(tree),
        policy: None,
        event: Event::Intent(Intent {
            operation,
            scope: plan.scope.clone(),
            daemon: plan.daemon.clone(),
            term: Term { scope: plan.scope.clone(), number: 1 },
            executor: None,
            authority: Authority::Judged,
            snapshot: plan.snapshot.clone(),
            bundle: None,
            plan: plan.digest(),
            targets: plan.targets,
            spared: Vec::new(),
        }),
    }
}
