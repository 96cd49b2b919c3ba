//! `palisade deploy`: the command's own exit status, under a lease that ends with it.

use std::process::{Child, Stdio};

use palisade_core::Exit;
use palisade_testkit::{eventually, process};
use serde_json::{Value, json};

use crate::env::{CRAWLER_PROCESSES, TestEnv, crawler, ended};
use crate::said::Said;

fn deploy<'a>(options: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    [&crawler(&["deploy"])[..], options, &["--"], command].concat()
}

fn held(env: &TestEnv) -> Vec<Value> {
    let leases = env.palisade(&["lease", "list", "--json"]).ends(Exit::Done).json();
    leases.as_array().unwrap().clone()
}

/// A deployment that runs until its standard input is closed.
fn until_closed(env: &TestEnv) -> Child {
    let mut command = env.command(&deploy(&[], &["cat"]));
    command.env("GITHUB_ACTIONS", "true").env("GITHUB_WORKFLOW", "Deploy").env("GITHUB_RUN_ID", "41");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the deployment holds its lease", || (held(env).len() == 1).then_some(()));
    child
}

fn closed(mut child: Child) -> Said {
    drop(child.stdin.take());
    ended(child)
}

#[test]
fn the_exit_status_is_the_commands_own() {
    let env = TestEnv::without_daemon();
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -TERM $$", 143)] {
        let said = env.palisade(&deploy(&[], &["sh", "-c", script]));
        assert_eq!(said.exit, Some(status), "{script}: {}", said.stderr);
        assert_eq!(said.stdout, "", "standard output is the command's");
    }
    let exits: Vec<Value> =
        env.events("deployment-ended").iter().map(|record| record["data"]["exit"].clone()).collect();
    assert_eq!(exits, [json!(0), json!(7), Value::Null, Value::Null]);
    let terms: Vec<Value> = env
        .events("deployment-started")
        .iter()
        .map(|record| record["data"]["term"]["number"].clone())
        .collect();
    assert_eq!(terms, [1, 2, 3, 4]);
}

#[test]
fn a_command_that_cannot_be_run_is_a_failure_and_the_lease_is_free_again() {
    let env = TestEnv::without_daemon();
    let said = env.palisade(&deploy(&[], &["./not-there"])).ends(Exit::Failure);
    assert!(said.stderr.contains("cannot run ./not-there"), "{}", said.stderr);
    assert_eq!(held(&env), Vec::<Value>::new());
    let ended = &env.events("deployment-ended")[0]["data"];
    assert_eq!((&ended["exit"], &ended["not_started"]), (&Value::Null, &json!(true)), "no signal ended it");
    let tail = env.palisade(&["journal", "tail"]).ends(Exit::Done).stdout;
    assert!(tail.contains("production ended: its command could not be started"), "{tail}");
}

#[test]
fn the_command_is_told_its_app_and_environment_and_its_arguments_stay_out_of_the_journal() {
    let env = TestEnv::without_daemon();
    let script = "printf '%s/%s' \"$PALISADE_APP\" \"$PALISADE_ENVIRONMENT\"";
    let said = env.palisade(&deploy(&[], &["sh", "-c", script])).ends(Exit::Done);
    assert_eq!(said.stdout, "flyer-crawler/production");
    assert_eq!(env.events("deployment-started")[0]["data"]["program"], "sh");
    assert!(!env.records().iter().any(|record| record.to_string().contains("printf")));
}

#[test]
fn commands_inside_a_deployment_join_its_lease_and_do_not_wait_for_it() {
    let env = TestEnv::new();
    let palisade = env!("CARGO_BIN_EXE_palisade");
    // No scope is named inside: it comes from the deployment.
    let inside = format!("{palisade} pm2 delete && {palisade} deploy -- {palisade} lease list");
    let said = env.palisade(&deploy(&[], &["sh", "-c", &inside])).ends(Exit::Done);
    assert!(said.stdout.contains("flyer-crawler/production  1 "), "one lease, one term: {}", said.stdout);
    env.assert_untouched_but(&CRAWLER_PROCESSES);
    let intent = &env.events("intent")[0];
    assert_eq!(intent["data"]["term"]["number"], 1);
    assert_eq!(intent["actor"]["tree"], "deployment:flyer-crawler/production:1");
}

#[test]
fn a_dry_run_inside_a_deployment_is_judged_as_the_act_would_be() {
    let env = TestEnv::new();
    let palisade = env!("CARGO_BIN_EXE_palisade");
    env.palisade(&crawler(&["pm2", "delete"])).ends(Exit::Done);
    // Of the session one name more is too many, also to look at. A deployment has a budget of its own.
    let test = ["--app", "flyer-crawler", "--environment", "test"];
    let look = [&["pm2", "delete", "--dry-run"][..], &test].concat();
    let refused = env.palisade(&look).ends(Exit::Refused);
    assert!(refused.stdout.contains("PAL-109"), "{}", refused.stdout);
    let steps = ["pm2 delete --dry-run", "pm2 plan delete --out plan.json", "pm2 apply plan.json"];
    let inside = steps.map(|step| format!("{palisade} {step}")).join(" && ");
    env.palisade(&[&["deploy"][..], &test, &["--", "sh", "-c", &inside]].concat()).ends(Exit::Done);
    let tests =
        ["flyer-crawler-api-test", "flyer-crawler-worker-test", "flyer-crawler-analytics-worker-test"];
    env.assert_untouched_but(&[CRAWLER_PROCESSES, tests].concat());
    assert_eq!(env.events("intent")[1]["actor"]["tree"], "deployment:flyer-crawler/test:1");
}

#[test]
fn a_second_deployment_is_refused_or_waits_until_the_first_has_ended() {
    let env = TestEnv::without_daemon();
    let first = until_closed(&env);
    let refused = env.palisade(&deploy(&[], &["true"])).ends(Exit::LeaseHeld);
    assert!(refused.stderr.contains("Deploy run 41"), "{}", refused.stderr);
    // Another scope is another lease.
    let other = ["deploy", "--app", "flyer-crawler", "--environment", "test", "--", "true"];
    env.palisade(&other).ends(Exit::Done);

    let log = std::fs::File::create(env.path("waiting.log")).unwrap();
    let mut command = env.command(&deploy(&["--wait", "60s"], &["true"]));
    let waiting = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
    eventually("the second waits", || {
        let said = std::fs::read_to_string(env.path("waiting.log")).unwrap();
        said.contains("waiting for the lease of flyer-crawler/production").then_some(())
    });
    closed(first).ends(Exit::Done);
    ended(waiting).ends(Exit::Done);
    assert_eq!(held(&env), Vec::<Value>::new());
}

#[test]
fn a_lease_that_is_not_had_in_time_is_refused_with_9() {
    let env = TestEnv::without_daemon();
    let first = until_closed(&env);
    env.palisade(&deploy(&["--wait", "100ms"], &["true"])).ends(Exit::LeaseHeld);
    closed(first).ends(Exit::Done);
}

/// Starts a deployment whose command writes its pid and then sleeps; gives both.
fn sleeping(env: &TestEnv) -> (Child, u32) {
    let script = "echo $$ > pid.new; mv pid.new pid; exec sleep 100000";
    // The command outlives a killed deployment and would keep a pipe open.
    let mut deployment = env.command(&deploy(&[], &["sh", "-c", script]));
    let child = deployment.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = eventually("the command runs", || std::fs::read_to_string(env.path("pid")).ok());
    (child, pid.trim().parse().unwrap())
}

#[test]
fn a_deployment_asked_to_end_ends_its_command_and_frees_the_lease() {
    let env = TestEnv::without_daemon();
    let (child, command) = sleeping(&env);
    process::terminate(child.id());
    assert_eq!(ended(child).exit, Some(143));
    process::wait_gone(command);
    assert_eq!(held(&env), Vec::<Value>::new());
    assert_eq!(env.events("deployment-ended").len(), 1);
}

#[test]
fn a_killed_deployment_frees_the_lease_and_the_next_term_is_higher() {
    let env = TestEnv::without_daemon();
    let (mut child, command) = sleeping(&env);
    child.kill().unwrap();
    assert_eq!(ended(child).exit, None);
    assert!(process::is_running(command), "nobody ends the command of a killed deployment");
    assert_eq!(held(&env), Vec::<Value>::new(), "and it holds no lease");
    process::kill(command);

    env.palisade(&deploy(&[], &["true"])).ends(Exit::Done);
    let started = env.events("deployment-started");
    assert_eq!(started[0]["data"]["term"]["number"], 1);
    assert_eq!(started[1]["data"]["term"]["number"], 2);
    assert_eq!(env.events("deployment-ended").len(), 1, "the killed one left no end");
    env.palisade(&["journal", "verify"]).ends(Exit::Done);
}
