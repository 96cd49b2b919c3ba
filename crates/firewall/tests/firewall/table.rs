//! Every method that the daemon names, and what becomes of it for a target of one's own, a foreign one, a
//! protected one, and for a caller of whom nothing is known.

use std::collections::BTreeMap;

use palisade_core::actor::{Actor, Claimed, Observed, ProcessRef, Tree};
use palisade_core::policy::{App, Environment, Limits, Mode};
use palisade_core::process::{DaemonIdentity, ExecMode, Pin, Status};
use palisade_core::record::Ruling;
use palisade_core::request::OperationId;
use palisade_core::{Code, Finding, Ledger, Pattern, Policy, Process, Timestamp};
use palisade_firewall::evidence::Standing;
use palisade_firewall::judge::{Case, Judgement};
use palisade_pm2::asked::Kind;
use palisade_pm2::command_line::CommandLine;
use serde_json::{Value, json};

use crate::bed::{Bed, ask};
use crate::evidence::scope;
use crate::requests::read;

const OWN: u32 = 0;
const FOREIGN: u32 = 1;
const PROTECTED: u32 = 2;
const UNCLAIMED: u32 = 3;
const NAMES: [&str; 4] = ["shop-api", "blog-api", "shop-db", "stray"];

pub(crate) fn process(pm_id: u32, name: &str) -> Process {
    Process {
        pin: Pin { pm_id, name: name.to_owned(), unique_id: format!("uuid-{pm_id}"), process: None },
        status: Status::Online,
        namespace: "default".to_owned(),
        exec_mode: ExecMode::Fork,
        watch: false,
        module: false,
        restarts: 0,
        cwd: None,
        script: Some(format!("/srv/{name}/server.js")),
        environment: BTreeMap::default(),
        environment_names: [("NODE_ENV".to_owned(), "production".to_owned())].into(),
    }
}

pub(crate) fn policy(mode: Mode, of_blog: Option<Mode>) -> Policy {
    let app = |name: &str, mode| App {
        mode,
        ..App::new(scope(name), vec![Pattern::new(&format!("{name}-*")).unwrap()])
    };
    Policy {
        revision: 1,
        environments: [(scope("x").environment, Environment { suffix: None, mode })].into(),
        apps: vec![app("shop", None), app("blog", of_blog)],
        protected: vec![Pattern::new("shop-db").unwrap()],
        limits: Limits::default(),
        notify: Default::default(),
    }
}

fn actor() -> Actor {
    let process = ProcessRef { pid: 10, start_ticks: 1 };
    let observed = Observed {
        uid: 1,
        gid: 1,
        user: None,
        process,
        session: 10,
        cwd: None,
        cgroup: None,
        host: "h".to_owned(),
        machine_id: None,
        ancestors: Vec::new(),
    };
    Actor { observed, claimed: Claimed::default(), missing: Vec::new(), tree: Tree::session(process) }
}

pub(crate) fn of_shop() -> Standing {
    Standing::Of { scope: scope("shop"), tree: None, grounds: vec!["its folder".to_owned()] }
}

fn judged(policy: &Policy, standing: &Standing, before: Option<&str>, kind: &Kind) -> Judgement {
    judged_with(policy, standing, kind, Beside { before, ..Beside::default() })
}

/// What else there is against a caller.
#[derive(Default)]
pub(crate) struct Beside<'a> {
    pub(crate) before: Option<&'a str>,
    pub(crate) line: Option<&'a CommandLine>,
    pub(crate) stale: Option<Finding>,
}

pub(crate) fn judged_with(
    policy: &Policy,
    standing: &Standing,
    kind: &Kind,
    Beside { before, line, stale }: Beside<'_>,
) -> Judgement {
    let daemon = DaemonIdentity {
        process: ProcessRef { pid: 9, start_ticks: 1 },
        uid: 1,
        boot_id: "b".to_owned(),
        version: "7.0.4".to_owned(),
        home: "/srv/pm2".to_owned(),
        socket: "/srv/pm2/private/rpc.sock".to_owned(),
    };
    let processes: Vec<Process> = (0..).zip(NAMES).map(|(id, name)| process(id, name)).collect();
    let now = Timestamp::from_unix_ms(1_771_323_180_123);
    let (ledger, actor) = (Ledger::default(), actor());
    let case = Case {
        policy,
        daemon: &daemon,
        processes: &processes,
        ledger: &ledger,
        actor: &actor,
        standing,
        stale,
        refused_before: before,
        line,
        kind,
        id: OperationId::new(now, [7; 10]),
        now,
    };
    case.judge()
}

/// What the rest of a row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    /// Passes, whoever asks for whatever.
    Reads,
    /// One's own passes, everything else is refused.
    Touches,
    /// As `Touches`, but a protected one of one's own may be started.
    Starts,
    /// It is about every process, so it is always about a foreign one.
    All,
    /// Always refused.
    Daemon,
}

/// Arguments of `method` that are about the process of that number, and its row.
fn row(method: &str, id: u32) -> Option<(Row, Value)> {
    let name = NAMES[id as usize];
    Some(match method {
        "getMonitorData" | "getSystemData" | "getVersion" | "ping" | "getReport" => (Row::Reads, json!([{}])),
        "notifyByProcessId" => (Row::Reads, json!([{ "id": id, "action_name": "x" }])),
        "deleteProcessId" | "stopProcessId" | "resetMetaProcessId" | "monitor" | "unmonitor" => {
            (Row::Touches, json!([id]))
        }
        "startProcessId" | "duplicateProcessId" => (Row::Starts, json!([id])),
        "restartProcessId" | "reloadProcessId" | "softReloadProcessId" => {
            (Row::Touches, json!([{ "id": id, "env": {} }]))
        }
        "sendSignalToProcessId" => (Row::Touches, json!([{ "process_id": id, "signal": "SIGTERM" }])),
        "sendSignalToProcessName" => (Row::Touches, json!([{ "process_name": name, "signal": 9 }])),
        "sendDataToProcessId" => (Row::Touches, json!([{ "id": id, "data": {}, "topic": "t" }])),
        "sendLineToStdin" => (Row::Touches, json!([{ "pm_id": id, "line": "x" }])),
        "msgProcess" => (Row::Touches, json!([{ "name": name, "msg": "x" }])),
        "stopWatch" | "startWatch" | "toggleWatch" => (Row::Touches, json!(["deleteProcessId", id])),
        "reloadLogs" => (Row::All, json!([{}])),
        "prepare" => (Row::Starts, json!([{ "name": name }])),
        "killMe" => (Row::Daemon, json!([{ "pid": 1 }])),
        "notifyKillPM2" => (Row::Daemon, json!([{}])),
        "profileCPU" | "profileMEM" => (Row::Daemon, json!([{ "pwd": "/x", "timeout": 1 }])),
        _ => return None,
    })
}

fn passes(policy: &Policy, standing: &Standing, method: &str, id: u32) -> (Row, bool) {
    let (row, args) = row(method, id).unwrap_or_else(|| panic!("{method} is not in the table"));
    let asked = read(method, &args).unwrap_or_else(|error| panic!("{method}: {error}"));
    (row, judged(policy, standing, None, asked.kind()).ruling == Ruling::Passed)
}

/// Asks the daemons themselves: a method that any of them names and the table above lacks fails here.
#[test]
fn every_method_of_every_daemon_has_a_class_and_a_verdict_for_each_target() {
    for (version, count) in [("7.0.4", 30), ("6.0.14", 29), ("5.4.3", 29)] {
        let lax = "revision = 1\n[environments.production]\n";
        let bed = Bed::with(version, lax, |_| Vec::new());
        let methods = ask(&bed, r#"{"type":"methods"}"#);
        let methods: Vec<&String> = methods["methods"].as_object().unwrap().keys().collect();
        assert_eq!(methods.len(), count, "{version}: {methods:?}");
        let policy = policy(Mode::Enforce, None);
        for method in methods {
            has_its_verdicts(&policy, method);
        }
    }
}

fn has_its_verdicts(policy: &Policy, method: &str) {
    let (row, own) = passes(policy, &of_shop(), method, OWN);
    let others = [FOREIGN, PROTECTED, UNCLAIMED].map(|id| passes(policy, &of_shop(), method, id).1);
    let nobody = [OWN, FOREIGN, PROTECTED, UNCLAIMED];
    let nobody = nobody.map(|id| passes(policy, &Standing::NOBODY, method, id).1);
    let (expected_own, expected_others, expected_nobody) = match row {
        Row::Reads => (true, [true; 3], [true; 4]),
        Row::Touches => (true, [false; 3], [false; 4]),
        Row::Starts => (true, [false, true, false], [false; 4]),
        Row::All | Row::Daemon => (false, [false; 3], [false; 4]),
    };
    assert_eq!((own, others, nobody), (expected_own, expected_others, expected_nobody), "{method}");
}

fn ruling(policy: &Policy, standing: &Standing, method: &str, args: &Value) -> (Ruling, Vec<Code>) {
    let judgement = judged(policy, standing, None, read(method, args).unwrap().kind());
    (judgement.ruling, judgement.findings.iter().map(|finding| finding.code).collect())
}

#[test]
fn the_mode_is_that_of_the_target_and_what_nobody_claims_is_in_the_strictest() {
    let mixed = policy(Mode::Observe, Some(Mode::Enforce));
    let delete = |id: u32| ruling(&mixed, &Standing::NOBODY, "deleteProcessId", &json!([id])).0;
    assert_eq!([OWN, FOREIGN, UNCLAIMED].map(delete), [Ruling::Observed, Ruling::Refused, Ruling::Refused]);
    assert_eq!(ruling(&mixed, &of_shop(), "killMe", &json!([{ "pid": 1 }])).0, Ruling::Refused);
    let lax = policy(Mode::Observe, None);
    assert_eq!(ruling(&lax, &of_shop(), "killMe", &json!([{ "pid": 1 }])).0, Ruling::Observed);
    let contradicting = Standing::Contradicting { grounds: Vec::new() };
    let found = ruling(&mixed, &contradicting, "deleteProcessId", &json!([FOREIGN]));
    assert_eq!(found, (Ruling::Refused, vec![Code::ContradictingEvidence]));
}

#[test]
fn a_start_may_neither_evict_a_foreign_process_nor_take_its_name() {
    let policy = policy(Mode::Enforce, None);
    let start = |args: Value| ruling(&policy, &of_shop(), "prepare", &json!([args]));
    assert_eq!(start(json!({ "name": "shop-worker" })).0, Ruling::Passed);
    assert_eq!(start(json!({ "name": "shop-worker", "pm_id": 77 })).0, Ruling::Passed);
    assert_eq!(start(json!({ "name": "shop-worker", "pm_id": FOREIGN })).1, [Code::ForeignTarget]);
    assert_eq!(start(json!({ "name": "shop-worker", "env": { "pm_id": "2" } })).1, [Code::Protected]);
    assert_eq!(start(json!({ "name": "blog-api" })).1, [Code::ForeignTarget]);
    assert_eq!(start(json!({ "name": "shop-api", "env": { "name": "blog-api" } })).1, [Code::ForeignTarget]);
    assert_eq!(start(json!({ "name": "new-thing" })).1, [Code::Unclaimed]);
}

#[test]
fn a_restart_may_neither_carry_another_environment_nor_rename_its_target() {
    let policy = policy(Mode::Enforce, None);
    let restart =
        |env: Value| ruling(&policy, &of_shop(), "restartProcessId", &json!([{ "id": OWN, "env": env }])).1;
    assert_eq!(restart(json!({ "NODE_ENV": "production", "PATH": "/bin" })), []);
    assert_eq!(restart(json!({ "NODE_ENV": "test" })), [Code::CarriedVariables]);
    assert_eq!(
        restart(json!({ "current_conf": { "env": { "NODE_ENV": "test" } } })),
        [Code::CarriedVariables]
    );
    assert_eq!(restart(json!({ "current_conf": { "name": "shop-api" } })), []);
    assert_eq!(restart(json!({ "current_conf": { "name": "blog-api" } })), [Code::ForeignTarget]);
}

#[test]
fn after_a_refusal_what_takes_something_down_or_ends_a_watch_is_refused() {
    let policy = policy(Mode::Enforce, None);
    let after = |method: &str, args: Value| {
        judged(&policy, &of_shop(), Some("killMe"), read(method, &args).unwrap().kind()).ruling
    };
    assert_eq!(after("deleteProcessId", json!([OWN])), Ruling::Refused);
    assert_eq!(after("sendSignalToProcessId", json!([{ "process_id": OWN, "signal": 9 }])), Ruling::Refused);
    assert_eq!(after("stopWatch", json!(["deleteProcessId", OWN])), Ruling::Refused);
    assert_eq!(after("restartProcessId", json!([{ "id": OWN, "env": {} }])), Ruling::Passed);
    assert_eq!(after("getMonitorData", json!([{}])), Ruling::Passed);
}
