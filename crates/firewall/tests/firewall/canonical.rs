//! One test for each of the firewall's own checks, where that check alone objects: switch it off, and it fails.

use std::ffi::OsString;

use palisade_core::deployer::Namespace;
use palisade_core::policy::Mode;
use palisade_core::record::Ruling;
use palisade_core::{Code, Finding};
use palisade_firewall::evidence::Standing;
use palisade_firewall::fallback::Unjudged;
use palisade_firewall::session::{Session, Step};
use palisade_pm2::asked::Asked;
use palisade_pm2::command_line::CommandLine;
use serde_json::json;

use crate::bed::{call, frame};
use crate::evidence::of_another_users_app;
use crate::requests::{every_method, read};
use crate::table::{Beside, judged_with, of_shop, policy};

/// In a build with ablation, switches off the check that PALISADE_ABLATE names: its canonical test must then fail.
fn ablate() {
    #[cfg(feature = "ablation")]
    #[expect(clippy::disallowed_methods, reason = "the test is the edge here")]
    if let Ok(name) = std::env::var("PALISADE_ABLATE") {
        palisade_core::ablation::switch_off(&name).unwrap();
    }
}

/// The codes against a call of the app `shop`, with the processes 0 `shop-api`, 1 `blog-api`, 2 `shop-db` and 3 `stray`.
fn codes(method: &str, args: &serde_json::Value, beside: Beside<'_>) -> Vec<Code> {
    let policy = policy(Mode::Enforce, None);
    let judgement = judged_with(&policy, &of_shop(), read(method, args).unwrap().kind(), beside);
    judgement.findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn canonical_evidence_boundary_a_folder_opens_no_app_that_names_other_deployers() {
    ablate();
    let standing = of_another_users_app();
    assert!(matches!(standing, Standing::NoDeployer { .. }), "{standing:?}");
}

#[test]
fn canonical_whole_line_ones_own_process_is_kept_where_the_line_says_all() {
    ablate();
    let words = ["node", "/usr/bin/pm2", "delete", "all"].map(OsString::from);
    let line = CommandLine::read(&words, None, |_| None).unwrap();
    let own = json!([0]);
    assert_eq!(codes("deleteProcessId", &own, Beside::default()), []);
    let found = codes("deleteProcessId", &own, Beside { line: Some(&line), ..Beside::default() });
    assert!(found.contains(&Code::ForeignTarget), "{found:?}");
}

#[test]
fn canonical_tree_window_after_a_refusal_ones_own_is_kept_too() {
    ablate();
    let before = Beside { before: Some("deleteProcessId"), ..Beside::default() };
    assert_eq!(codes("deleteProcessId", &json!([0]), before), [Code::RefusedBefore]);
}

#[test]
fn canonical_call_shape_a_call_that_restarts_every_app_never_reaches_the_daemon() {
    ablate();
    // Measured: each of these ends in an exception in the daemon, which then restarts itself and every app.
    for (method, args) in
        [("ping", json!([])), ("startProcessId", json!([3, 4])), ("getVersion", json!([{}, {}]))]
    {
        let asked = Asked::read(&call(method, &args), &every_method());
        assert!(asked.is_err(), "{method} {args}");
    }
}

#[test]
fn canonical_taken_slot_a_start_that_would_evict_another_apps_process_is_refused() {
    ablate();
    let start = json!([{ "name": "shop-new", "pm_id": 1, "pm_exec_path": "/bin/true" }]);
    let found = codes("prepare", &start, Beside::default());
    assert!(found.contains(&Code::ForeignTarget), "{found:?}");
}

#[test]
fn canonical_injected_environment_a_restart_that_would_carry_another_one_is_refused() {
    ablate();
    let restart = json!([{ "id": 0, "env": { "NODE_ENV": "test" } }]);
    assert_eq!(codes("restartProcessId", &restart, Beside::default()), [Code::CarriedVariables]);
}

#[test]
fn canonical_stale_call_a_job_of_an_older_epoch_changes_nothing() {
    ablate();
    let stale = Finding {
        code: Code::StaleWorkflow,
        message: "old".to_owned(),
        fix: "a newer one".to_owned(),
        subjects: Vec::new(),
    };
    let beside = Beside { stale: Some(stale), ..Beside::default() };
    assert_eq!(codes("restartProcessId", &json!([{ "id": 0, "env": {} }]), beside), [Code::StaleWorkflow]);
}

#[test]
fn canonical_reads_only_without_a_judge_nothing_is_changed_in_enforce() {
    ablate();
    for mode in [Some(Mode::Enforce), None] {
        assert!(!Unjudged { mode, bypassed: false }.passes(), "{mode:?}");
    }
}

#[test]
fn canonical_reply_redaction_another_users_caller_is_shown_no_value() {
    ablate();
    let mut session = Session::new();
    session.set_redacting(true);
    session.client_sent(&frame(&call("getMonitorData", &json!([{}])), "7:0"));
    let Some(Step::Judge(asking)) = session.next_request(&every_method()).unwrap() else {
        panic!("no request")
    };
    session.pass(asking).unwrap();
    let list = json!({ "args": [[{ "name": "a", "pm2_env": { "env": { "DATABASE_URL": "postgres://u:hunter2@h/d" } } }]] });
    session.daemon_sent(&frame(&list.to_string(), "0"));
    let shown = String::from_utf8_lossy(&session.next_reply().unwrap().unwrap()).into_owned();
    assert!(!shown.contains("hunter2") && shown.contains("DATABASE_URL"), "{shown}");
}

#[test]
fn canonical_unidentified_who_belongs_to_no_app_changes_nothing() {
    ablate();
    let nobody = Standing::Unknown { grounds: Vec::new(), line: None };
    let restart = read("restartProcessId", &json!([{ "id": 0, "env": {} }])).unwrap();
    let judgement = judged_with(&policy(Mode::Enforce, None), &nobody, restart.kind(), Beside::default());
    let codes: Vec<Code> = judgement.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [Code::UnidentifiedCaller]);
}

#[test]
fn canonical_lifecycle_call_the_daemon_is_ended_and_marked_by_nobody() {
    ablate();
    for (method, args) in [("notifyKillPM2", json!([{}])), ("killMe", json!([{ "pid": 7 }]))] {
        assert_eq!(codes(method, &args, Beside::default()), [Code::LifecycleCall], "{method}");
    }
}

#[test]
fn canonical_crossed_namespace_a_process_starts_in_its_own_apps_namespace_only() {
    ablate();
    let mut policy = policy(Mode::Enforce, None);
    policy.apps[0].namespace = Some(Namespace::new("shop-ns").unwrap());
    let start = json!([{ "name": "shop-new", "namespace": "elsewhere", "pm_exec_path": "/bin/true" }]);
    let start = read("prepare", &start).unwrap();
    let judgement = judged_with(&policy, &of_shop(), start.kind(), Beside::default());
    let codes: Vec<Code> = judgement.findings.iter().map(|finding| finding.code).collect();
    assert!(codes.contains(&Code::CrossesNamespace), "{codes:?}");
    assert_eq!(judgement.ruling, Ruling::Refused);
}
