//! The palisade process ends, as by `kill -9`, at each step of an operation.

use palisade_core::Exit;
use palisade_pipeline::fault::Step;
use serde_json::{Value, json};

use crate::env::{CRAWLER_PROCESSES, TestEnv, crawler};
use crate::said::Said;

/// What a cut at a step leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    /// No record, and nothing done.
    Nothing,
    /// An intent without outcome, and nothing done.
    OpenIntent,
    /// An intent without outcome, and everything done.
    OpenIntentOfADoneAct,
    /// Intent and outcome, and everything done.
    Everything,
}

const fn leaves(step: Step) -> Leaves {
    match step {
        Step::Identified | Step::Leased | Step::Snapshot | Step::Judged | Step::Kept => Leaves::Nothing,
        Step::Intended => Leaves::OpenIntent,
        Step::Executed | Step::Verified => Leaves::OpenIntentOfADoneAct,
        Step::Recorded => Leaves::Everything,
    }
}

fn steps_that_leave(what: Leaves) -> impl Iterator<Item = &'static str> {
    Step::ALL.into_iter().filter(move |(step, _)| leaves(*step) == what).map(|(_, name)| name)
}

fn delete(env: &TestEnv) -> Said {
    env.palisade(&crawler(&["pm2", "delete"]))
}

/// Deletes with an end at `step`, and looks at what must hold after any such end.
#[track_caller]
fn cut_at(env: &TestEnv, step: &str) {
    let cut = env.palisade_with(&crawler(&["pm2", "delete"]), &[("PALISADE_END_AT", step)]);
    assert_eq!(cut.exit, None, "the process ends by a signal at {step}: {}", cut.stderr);
    assert_eq!(cut.stdout, "", "{step}: nothing is reported as done");
    env.palisade(&["journal", "verify"]).ends(Exit::Done);
    env.assert_untouched_but(&CRAWLER_PROCESSES);
    assert_eq!(env.palisade(&["lease", "list", "--json"]).ends(Exit::Done).json(), json!([]), "{step}");
}

fn listed_crawlers(env: &TestEnv) -> usize {
    let list = env.palisade(&["pm2", "list", "--json"]).ends(Exit::Done).json();
    let is_crawler = |row: &&Value| {
        CRAWLER_PROCESSES.contains(&row["process"]["name"].as_str().unwrap())
            && row["process"]["pid"].is_u64()
    };
    list.as_array().unwrap().iter().filter(is_crawler).count()
}

/// Reconciles twice: the first settles one operation as `outcome`, the second finds nothing.
#[track_caller]
fn settle(env: &TestEnv, outcome: &str) -> Value {
    // Its exit code is about the whole machine, where other tests may have daemons with problems.
    let doctor = env.palisade(&["doctor"]);
    assert!(doctor.stdout.contains("1 recorded operations have no known outcome"), "{}", doctor.stdout);
    let settled = env.palisade(&["pm2", "reconcile", "--json"]).ends(Exit::Done).json();
    let [only] = settled.as_array().unwrap().as_slice() else { panic!("one is settled: {settled}") };
    assert_eq!(only["outcome"], outcome, "{only}");
    assert_eq!(only["targets"].as_array().unwrap().len(), 3, "{only}");
    assert_eq!(env.palisade(&["pm2", "reconcile", "--json"]).ends(Exit::Done).json(), json!([]));
    let doctor = env.palisade(&["doctor"]);
    assert!(!doctor.stdout.contains("have no known outcome"), "{}", doctor.stdout);
    only.clone()
}

#[test]
fn an_end_before_the_intent_leaves_no_trace_and_the_next_delete_works() {
    let env = TestEnv::new();
    // The first operation of a host begins its journal.
    env.palisade(&crawler(&["pm2", "stop", "stock-alert"])).ends(Exit::Refused);
    let before = env.records();
    for step in steps_that_leave(Leaves::Nothing) {
        cut_at(&env, step);
        env.assert_untouched_but(&[]);
        assert_eq!(env.records(), before, "{step}");
        assert_eq!(env.palisade(&["pm2", "reconcile", "--json"]).ends(Exit::Done).json(), json!([]));
    }
    delete(&env).ends(Exit::Done);
    env.assert_untouched_but(&CRAWLER_PROCESSES);
}

#[test]
fn an_end_before_the_act_is_settled_as_not_carried_out() {
    let env = TestEnv::new();
    for step in steps_that_leave(Leaves::OpenIntent) {
        cut_at(&env, step);
        env.assert_untouched_but(&[]);
        let settled = settle(&env, "failed");
        assert!(settled["targets"].to_string().contains("not carried out: it is still listed"), "{settled}");
    }
    delete(&env).ends(Exit::Done);
    assert_eq!(listed_crawlers(&env), 0);
}

#[test]
fn an_end_after_the_act_is_settled_as_done_and_can_be_undone() {
    let env = TestEnv::new();
    for step in steps_that_leave(Leaves::OpenIntentOfADoneAct) {
        cut_at(&env, step);
        assert_eq!(listed_crawlers(&env), 0, "{step}");
        let settled = settle(&env, "done");
        let snapshot = settled["snapshot"].as_str().unwrap();
        env.palisade(&["pm2", "restore", "--snapshot", snapshot]).ends(Exit::Done);
        assert_eq!(listed_crawlers(&env), 3, "{step}");
    }
    delete(&env).ends(Exit::Done);
    env.assert_untouched_but(&CRAWLER_PROCESSES);
}

#[test]
fn an_end_after_the_outcome_leaves_nothing_to_settle() {
    let env = TestEnv::new();
    for step in steps_that_leave(Leaves::Everything) {
        cut_at(&env, step);
        assert_eq!(env.palisade(&["pm2", "reconcile", "--json"]).ends(Exit::Done).json(), json!([]));
        assert_eq!(env.events("outcome").last().unwrap()["data"]["outcome"], "done");
        env.palisade(&["pm2", "restore"]).ends(Exit::Done);
        assert_eq!(listed_crawlers(&env), 3, "{step}");
    }
    delete(&env).ends(Exit::Done);
}

/// Cuts the operation before its act and after it, and reconciles.
#[track_caller]
fn cut_and_settle(env: &TestEnv, words: &[&str]) {
    for (step, outcome) in [("intended", "failed"), ("executed", "done")] {
        let cut = env.palisade_with(words, &[("PALISADE_END_AT", step)]);
        assert_eq!(cut.exit, None, "{words:?} at {step}: {}", cut.stderr);
        settle(env, outcome);
    }
}

#[test]
fn every_operation_is_settled_by_what_it_left_behind() {
    let env = TestEnv::new();
    for operation in ["stop", "restart", "reload"] {
        cut_and_settle(&env, &crawler(&["pm2", operation]));
    }
    let deleted = env.palisade(&crawler(&["pm2", "delete", "--json"])).ends(Exit::Done).json();
    cut_and_settle(&env, &["pm2", "restore", "--snapshot", deleted["snapshot"].as_str().unwrap()]);
    assert_eq!(listed_crawlers(&env), 3);
    env.assert_untouched_but(&CRAWLER_PROCESSES);
    env.palisade(&["journal", "verify"]).ends(Exit::Done);
}

#[test]
fn a_step_that_does_not_exist_is_a_usage_error() {
    let env = TestEnv::without_daemon();
    env.palisade_with(&["lease", "list"], &[("PALISADE_END_AT", "nowhere")]).ends(Exit::Usage);
    env.palisade_with(&["lease", "list"], &[("PALISADE_ABLATE", "nothing-known")]).ends(Exit::Usage);
}
