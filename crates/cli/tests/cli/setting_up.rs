//! The first hour with Palisade: `init`, `config`, `doctor`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use palisade_core::Exit;
use palisade_testkit::App;
use serde_json::Value;

use crate::env::{CRAWLER_PROCESSES, TestEnv, crawler};
use crate::said::same;

/// What doctor finds about this host; daemons of other tests on this machine are left out.
fn findings(env: &TestEnv) -> Vec<Value> {
    let found = env.palisade(&["doctor", "--json"]).json();
    let about_others =
        |what: &str| what.contains("PM2 daemon") && !what.contains(&env.pm2.home().display().to_string());
    let here = |finding: &&Value| !about_others(finding["what"].as_str().unwrap());
    found.as_array().unwrap().iter().filter(here).cloned().collect()
}

#[track_caller]
fn assert_finds(env: &TestEnv, level: &str, what: &str) {
    let found = findings(env);
    let fits =
        |finding: &Value| finding["level"] == level && finding["what"].as_str().unwrap().contains(what);
    assert!(found.iter().any(fits), "no {level} {what:?} among {found:#?}");
    let fixed = |finding: &Value| !finding["fix"].as_str().unwrap().is_empty();
    assert!(found.iter().all(fixed), "each comes with its fix: {found:#?}");
}

#[test]
fn init_writes_a_policy_that_check_accepts_and_that_works_at_once() {
    let env = TestEnv::new();
    fs::remove_file(env.policy()).unwrap();
    let refused = env.palisade(&crawler(&["pm2", "delete"])).ends(Exit::Failure);
    assert!(refused.stderr.contains("PAL-001"), "{}", refused.stderr);
    let draft = env.palisade(&["init", "--dry-run"]).ends(Exit::Done);
    assert!(!env.policy().exists(), "a dry run writes nothing");
    env.palisade(&["init"]).ends(Exit::Done);
    let written = fs::read_to_string(env.policy()).unwrap();
    same(&env.settled(&written), &env.settled(&draft.stdout));
    env.palisade(&["config", "check"]).ends(Exit::Done);
    // `init` writes the host's policy, so it is no way to a file that was named and is not there.
    let absent = env.palisade(&["config", "check", "not-there.toml"]).ends(Exit::Failure).stderr;
    assert!(absent.contains("there is no file not-there.toml") && !absent.contains("init"), "{absent}");
    let plan = env.palisade(&crawler(&["pm2", "delete", "--dry-run"])).ends(Exit::Done);
    for name in CRAWLER_PROCESSES {
        assert!(plan.stdout.contains(&format!("- takes  {name} ")), "{}", plan.stdout);
    }
    assert!(plan.stdout.contains("3 of 8 processes"), "{}", plan.stdout);
}

#[test]
fn init_again_adds_what_is_new_and_leaves_the_rest_as_it_was_written() {
    let env = TestEnv::new();
    env.palisade(&["init"]).ends(Exit::Done);
    assert_eq!(fs::read_to_string(env.policy()).unwrap(), crate::env::POLICY, "nothing is new");
    env.pm2.start_app(App::sleep("billing"));
    let said = env.palisade(&["init"]).ends(Exit::Done);
    assert!(said.stdout.starts_with("+ billing to billing/production"), "{}", said.stdout);
    let merged = fs::read_to_string(env.policy()).unwrap();
    for line in crate::env::POLICY.lines().filter(|line| !line.starts_with("revision")) {
        assert!(merged.contains(line), "{line:?} is kept: {merged}");
    }
    env.palisade(&["pm2", "delete", "--app", "billing", "--environment", "production"]).ends(Exit::Done);
}

#[test]
fn each_problem_of_a_policy_is_told_to_programs_too_with_its_place() {
    let env = TestEnv::without_daemon();
    let file =
        env.write("bad.toml", "revision = 1\n[environments.production]\nmood = 'x'\n[[app]]\nname = 'a'\n");
    let said = env.palisade(&["config", "check", &file, "--json"]).ends(Exit::Failure).json();
    let problems = said["problems"].as_array().unwrap();
    assert!(problems.len() > 1, "{said:#}");
    let mood = problems.iter().find(|problem| problem["message"] == "unknown key `mood`").unwrap();
    assert_eq!((&mood["line"], &mood["column"], &mood["code"]), (&3.into(), &1.into(), &"PAL-002".into()));
    assert!(problems.iter().all(|problem| problem["fix"].is_string() && problem["file"] == file.as_str()));
}

#[test]
fn config_show_tells_where_each_value_comes_from() {
    let env = TestEnv::without_daemon();
    let rows = env.palisade(&["config", "show", "--origin", "--json"]).ends(Exit::Done).json();
    let origin = |key: &str| {
        let row = rows.as_array().unwrap().iter().find(|row| row["key"] == key);
        row.unwrap_or_else(|| panic!("no {key} among {rows:#}"))["origin"].as_str().unwrap().to_owned()
    };
    assert!(origin("revision").contains("palisade.toml:1"), "{}", origin("revision"));
    assert!(origin("limits.all_above").contains("default"), "{}", origin("limits.all_above"));
}

#[test]
fn doctor_names_what_is_wrong_with_policy_daemon_and_files() {
    let env = TestEnv::new();
    assert_finds(&env, "warning", "the daemon runs as this user");
    assert_finds(&env, "note", "the journal is empty");
    env.pm2.start_app(App::sleep("billing"));
    assert_finds(&env, "warning", "no app claims billing");
    let saved = env.pm2.pm2(&["save"]);
    assert_eq!(saved.exit, Some(0), "{}", saved.stderr);
    fs::set_permissions(env.pm2.home().join("dump.pm2"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_finds(&env, "warning", "dump.pm2 has mode 0644");
    env.palisade(&crawler(&["pm2", "delete"])).ends(Exit::Done);
    assert_finds(&env, "note", "the journal is intact: 3 records");
    fs::write(env.policy(), "revision = 0\n").unwrap();
    assert_finds(&env, "problem", "palisade.toml");
    fs::remove_file(env.policy()).unwrap();
    assert_finds(&env, "problem", "there is no policy");
    env.palisade(&["doctor"]).ends(Exit::Failure);
}

#[test]
fn doctor_works_without_a_daemon_and_says_that_there_is_none() {
    let env = TestEnv::without_daemon();
    assert_finds(&env, "problem", "no PM2 daemon at");
    env.palisade(&["doctor"]).ends(Exit::Failure);
}
