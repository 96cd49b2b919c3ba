//! Epochs through the command line: raising them, and what a stale job may do.

use palisade_core::Exit;
use serde_json::json;

use crate::env::{CRAWLER_PROCESSES, TestEnv, crawler};

/// A job of this workflow with that epoch.
fn job(epoch: &str) -> Vec<(&str, &str)> {
    vec![
        ("GITHUB_ACTIONS", "true"),
        ("FORGEJO_ACTIONS", "true"),
        ("GITHUB_REPOSITORY", "acme/flyer-crawler"),
        ("GITHUB_WORKFLOW", "Deploy"),
        ("GITHUB_RUN_ID", "9"),
        ("PALISADE_EPOCH", epoch),
    ]
}

const RAISE: [&str; 7] =
    ["ci", "epoch", "raise", "--repository", "acme/flyer-crawler", "--workflow", "Deploy"];

fn raise(env: &TestEnv, to: &str) {
    env.palisade(&[&RAISE[..], &["--to", to]].concat()).ends(Exit::Done);
}

#[test]
fn canonical_epoch_a_stale_job_changes_nothing_and_the_current_one_does() {
    let env = TestEnv::new();
    raise(&env, "7");
    let delete = crawler(&["pm2", "delete"]);
    let said = env.palisade_with(&delete, &job("6")).ends(Exit::Refused);
    assert!(said.stdout.contains("PAL-701"), "{}", said.stdout);
    env.assert_untouched_but(&[]);
    let dry = env.palisade_with(&[&delete[..], &["--dry-run"]].concat(), &job("6")).ends(Exit::Refused);
    assert!(dry.stdout.contains("PAL-701"), "{}", dry.stdout);
    let restart = env.palisade_with(&crawler(&["pm2", "restart"]), &job("")).ends(Exit::Refused);
    assert!(restart.stdout.contains("PAL-702"), "{}", restart.stdout);
    env.palisade_with(&["pm2", "list"], &job("6")).ends(Exit::Done);

    let refused = env.events("refused");
    assert_eq!(refused[0]["actor"]["claimed"]["epoch"], "6", "{}", refused[0]);
    env.palisade_with(&delete, &job("7")).ends(Exit::Done);
    env.assert_untouched_but(&CRAWLER_PROCESSES);
}

#[test]
fn a_stale_deployment_is_refused_before_its_command_runs() {
    let env = TestEnv::without_daemon();
    raise(&env, "7");
    let mark = env.path("ran");
    let deploy = [&crawler(&["deploy"])[..], &["--", "touch", &mark]].concat();
    let said = env.palisade_with(&deploy, &job("6")).ends(Exit::Refused);
    assert!(said.stdout.contains("PAL-701") && said.stdout.contains("was not run"), "{}", said.stdout);
    assert!(!std::path::Path::new(&mark).exists());
    assert_eq!(env.events("deployment-refused")[0]["data"]["findings"][0]["code"], "PAL-701");
    assert_eq!(env.events("deployment-started").len(), 0);
    let tail = env.palisade(&["journal", "tail"]).ends(Exit::Done);
    assert!(
        tail.stdout.contains("REFUSED deployment of flyer-crawler/production: PAL-701"),
        "{}",
        tail.stdout
    );

    env.palisade_with(&deploy, &job("8")).ends(Exit::Done);
    assert!(std::path::Path::new(&mark).exists());
}

#[test]
fn a_minimum_is_raised_listed_recorded_and_never_falls() {
    let env = TestEnv::without_daemon();
    let list = env.palisade(&["ci", "epoch", "list"]).ends(Exit::Done);
    assert!(list.stdout.is_empty() && list.stderr.contains("no workflow needs an epoch"), "{list:?}");
    let dry = env.palisade(&[&RAISE[..], &["--to", "7", "--dry-run"]].concat()).ends(Exit::Done);
    assert!(dry.stdout.contains("nothing was changed"), "{}", dry.stdout);
    assert!(!env.state().join("epochs.json").exists());

    raise(&env, "7");
    let lower = env.palisade(&[&RAISE[..], &["--to", "6"]].concat()).ends(Exit::Refused);
    assert!(lower.stderr.contains("PAL-704") && lower.stderr.contains("never falls"), "{}", lower.stderr);
    let same = env.palisade(&[&RAISE[..], &["--to", "7", "--json"]].concat()).ends(Exit::Done).json();
    assert_eq!((&same["result"], &same["recorded"]), (&json!("unchanged"), &json!(null)));
    raise(&env, "9");

    let listed = env.palisade(&["ci", "epoch", "list", "--json"]).ends(Exit::Done).json();
    assert_eq!((listed[0]["epoch"].clone(), listed[0]["workflow"].clone()), (json!(9), json!("Deploy")));
    let raised = env.events("epoch-raised");
    let steps: Vec<_> =
        raised.iter().map(|record| (&record["data"]["from"], &record["data"]["to"])).collect();
    assert_eq!(steps, [(&json!(null), &json!(7)), (&json!(7), &json!(9))]);
    assert!(raised[0]["actor"]["observed"]["uid"].is_number(), "{}", raised[0]);
    let tail = env.palisade(&["journal", "tail"]).ends(Exit::Done);
    assert!(
        tail.stdout.contains("epoch of Deploy of acme/flyer-crawler raised from 7 to 9"),
        "{}",
        tail.stdout
    );
}

#[test]
fn what_is_not_named_is_a_wrong_command_line_and_never_everything() {
    let env = TestEnv::without_daemon();
    for words in [
        vec!["ci", "epoch", "raise", "--repository", "acme/shop", "--to", "7"],
        vec!["ci", "epoch", "raise", "--repository", "acme/shop", "--workflow", "", "--to", "7"],
        vec!["ci", "epoch", "raise", "--repository", "shop", "--workflow", "Deploy", "--to", "7"],
        vec!["ci", "epoch", "raise", "--repository", "acme/", "--workflow", "Deploy", "--to", "7"],
        vec!["ci", "epoch", "raise", "--repository", "acme/shop", "--workflow", "Deploy", "--to", "0"],
        vec!["ci", "epoch", "raise", "--repository", "acme/shop", "--workflow", "Deploy", "--to", "-1"],
    ] {
        env.palisade(&words).ends(Exit::Usage);
    }
    assert!(!env.state().join("epochs.json").exists());
}

#[test]
fn epochs_that_are_gone_stop_a_job_and_a_raise_with_the_fix() {
    let env = TestEnv::without_daemon();
    raise(&env, "7");
    std::fs::remove_file(env.state().join("epochs.json")).unwrap();
    let deploy = [&crawler(&["deploy"])[..], &["--", "true"]].concat();
    let said = env.palisade_with(&deploy, &job("7")).ends(Exit::Refused);
    assert!(said.stdout.contains("PAL-703") && said.stdout.contains("journal export"), "{}", said.stdout);
    env.palisade(&deploy).ends(Exit::Done);
    let raise = env.palisade(&[&RAISE[..], &["--to", "8"]].concat()).ends(Exit::Failure);
    assert!(raise.stderr.contains("PAL-703") && raise.stderr.contains("backup"), "{}", raise.stderr);
    env.palisade(&["ci", "epoch", "list"]).ends(Exit::Failure);
    let doctor = env.palisade(&["doctor"]);
    assert!(
        doctor.stdout.contains("jobs change nothing here") && doctor.stdout.contains("PAL-703"),
        "{doctor:?}"
    );
}

#[test]
fn a_stale_job_asks_for_no_administrators_act() {
    let env = TestEnv::new();
    raise(&env, "7");
    let home = format!("--confirm={}", env.pm2.home().display());
    let save = crawler(&["pm2", "save"]);
    let off = vec!["off", "pm2", "--for", "1m", "--reason", "it refuses me"];
    for words in [vec!["pm2", "kill", &home], save, vec!["guard", "mode", "pm2", "observe"], off] {
        let said = env.palisade_with(&words, &job("6")).ends(Exit::Refused);
        assert!(said.stderr.contains("PAL-701"), "{words:?}: {}", said.stderr);
    }
    env.assert_untouched_but(&[]);
    assert_eq!(env.events("job-judged").len(), 4);
    assert_eq!(env.events("administered").len(), 0);
    assert_eq!(env.events("bypass-began").len(), 0);
}
