//! `palisade pm2 kill`, `update`, `save` and `flush` on a real daemon, with and without a guard in front.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use palisade_core::Exit;
use palisade_testkit::{Fleet, process};
use serde_json::Value;

use crate::env::{CRAWLER, TestEnv, crawler};
use crate::guard::{Guarded, of_this_home};
use crate::said::Said;

fn confirmed(env: &TestEnv, words: &[&str]) -> Said {
    let confirm = format!("--confirm={}", env.pm2.home().display());
    env.palisade(&[words, &[confirm.as_str()]].concat())
}

fn pm2(env: &TestEnv) -> String {
    env.pm2.bin().join("pm2").display().to_string()
}

fn dumped(home: &Path) -> BTreeSet<String> {
    let list: Vec<Value> = serde_json::from_slice(&fs::read(home.join("dump.pm2")).unwrap()).unwrap();
    list.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_daemon_is_ended_only_with_its_home_typed_and_can_be_brought_back() {
    let env = TestEnv::new();
    let before = Fleet::of(&env.pm2);
    let said = env.palisade(&["pm2", "kill"]).ends(Exit::ConfirmationNeeded);
    assert!(said.stderr.contains("all 8 processes") && said.stderr.contains("--confirm="), "{}", said.stderr);
    env.palisade(&["pm2", "kill", "--confirm=yes"]).ends(Exit::ConfirmationNeeded);
    assert_eq!(Fleet::of(&env.pm2), before);

    let said = confirmed(&env, &["pm2", "kill"]).ends(Exit::Done);
    assert!(said.stdout.contains("with 8 processes"), "{}", said.stdout);
    assert!(env.pm2.daemons().is_empty());
    for running in &before.apps {
        assert!(!process::is_running(running.pid), "{running:?}");
    }
    env.pm2.start_daemon();
    env.palisade(&["pm2", "restore"]).ends(Exit::Done);
    assert_eq!(Fleet::of(&env.pm2).names(), before.names());
}

#[test]
fn an_update_behind_a_guard_brings_every_app_back_on_the_private_sockets() {
    let host = Guarded::installed();
    let env = &host.0;
    let before = Fleet::of(&env.pm2);
    let said = confirmed(env, &["pm2", "update", "--pm2", &pm2(env)]).ends(Exit::Done);
    assert!(said.stdout.contains("updated:"), "{}", said.stdout);
    let after = Fleet::of(&env.pm2);
    assert_eq!(after.names(), before.names());
    assert!(after.daemons.len() == 1 && after.daemons != before.daemons, "{after:?}");
    let list = of_this_home(env, &["guard", "list", "--json"]).ends(Exit::Done).json();
    assert_eq!(list["guards"][0]["private"], true);
    assert_eq!(list["guards"][0]["guarded"], true);
    // An unmodified client goes through the firewall to the new daemon.
    assert_eq!(env.pm2.list().len(), 8);
    let acts: Vec<Value> =
        env.events("administered").iter().map(|event| event["data"]["act"].clone()).collect();
    assert!(acts.contains(&"daemon-update".into()), "{acts:?}");
    env.palisade(&["guard", "remove", "pm2"]).ends(Exit::Done);
    assert_eq!((Fleet::of(&env.pm2), env.pm2.list().len()), (after, 8));
}

#[test]
fn an_update_without_a_guard_brings_every_app_back_too() {
    let env = TestEnv::new();
    let before = Fleet::of(&env.pm2);
    confirmed(&env, &["pm2", "update", "--pm2", &pm2(&env)]).ends(Exit::Done);
    assert_eq!(Fleet::of(&env.pm2).names(), before.names());
    assert_eq!(env.pm2.list().len(), 8);
    let words = ["pm2", "update", "--pm2", "/bin/false"];
    confirmed(&env, &words).ends(Exit::VerificationFailed);
}

#[test]
fn a_save_of_one_app_never_loses_anothers_process() {
    let env = TestEnv::new();
    let home = env.pm2.home();
    env.palisade(&crawler(&["pm2", "save"])).ends(Exit::Done);
    assert_eq!(dumped(home).len(), 8);
    // A massacre, and the save that usually follows it.
    env.pm2.pm2(&["delete", "stock-alert"]);
    env.pm2.pm2(&["delete", "flyer-crawler-worker"]);
    let said = env.palisade(&crawler(&["pm2", "save", "--dry-run"])).ends(Exit::Done);
    assert!(said.stdout.contains("kept, though it does not run: stock-alert"), "{}", said.stdout);
    assert_eq!(dumped(home).len(), 8);
    let said = env.palisade(&crawler(&["pm2", "save"])).ends(Exit::Done);
    assert!(said.stdout.contains("gone: flyer-crawler-worker"), "{}", said.stdout);
    let names = dumped(home);
    assert!(names.contains("stock-alert") && !names.contains("flyer-crawler-worker"), "{names:?}");
    let versions = env.palisade(&["pm2", "dumps", "--json"]).ends(Exit::Done).json();
    assert_eq!(versions.as_array().unwrap().len(), 1, "the one before is kept");
    assert_eq!(versions[0]["lacking_now"], serde_json::json!(["flyer-crawler-worker"]));
    env.palisade(&["pm2", "save"]).ends(Exit::Usage);

    // What is saved is what PM2 resurrects.
    env.pm2.kill_daemon();
    for running in Fleet::of(&env.pm2).apps {
        process::kill(running.pid);
    }
    let ran = env.pm2.pm2(&["resurrect"]);
    assert_eq!(ran.exit, Some(0), "{} {}", ran.stdout, ran.stderr);
    assert_eq!(env.pm2.list().len(), 7);
    env.pm2.pm2(&["delete", "stock-alert"]);
    env.pm2.pm2(&["save"]);
    env.pm2.start_app(palisade_testkit::App::sleep("stock-alert"));
    let said = env.palisade(&["doctor"]);
    assert!(said.stdout.contains("dump.pm2 lacks stock-alert"), "{}", said.stdout);

    // The version of before Palisade's save has it: its entries come back, and what was saved since stays.
    let version = versions[0]["version"].as_str().unwrap();
    let restore = ["pm2", "dumps", "restore", version];
    let before = fs::read(home.join("dump.pm2")).unwrap();
    let said = env.palisade(&[&restore[..], &["--dry-run"]].concat()).ends(Exit::Done);
    assert!(said.stdout.contains("in dump.pm2 again: stock-alert"), "{}", said.stdout);
    assert_eq!(fs::read(home.join("dump.pm2")).unwrap(), before);
    env.palisade(&restore).ends(Exit::Done);
    assert_eq!(dumped(home).len(), 8);
    let versions = env.palisade(&["pm2", "dumps", "--json"]).ends(Exit::Done).json();
    assert_eq!(versions.as_array().unwrap().len(), 2, "and the way back from that is kept too");
    for wrong in ["../dump", "00000000000000000001"] {
        let said = env.palisade(&["pm2", "dumps", "restore", wrong]).ends(Exit::Usage);
        assert!(said.stderr.contains("palisade pm2 dumps"), "{}", said.stderr);
    }
}

#[test]
fn a_flush_empties_the_apps_own_logs_and_no_others() {
    let env = TestEnv::new();
    let log = |name: &str| env.pm2.home().join(format!("logs/{name}-out.log"));
    for name in ["flyer-crawler-api", "flyer-crawler-api-test", "stock-alert"] {
        fs::write(log(name), "words").unwrap();
    }
    let length = |name: &str| fs::metadata(log(name)).unwrap().len();
    env.palisade(&crawler(&["pm2", "flush", "--dry-run"])).ends(Exit::Done);
    assert_eq!(length("flyer-crawler-api"), 5);
    let said = env.palisade(&crawler(&["pm2", "flush"])).ends(Exit::Done);
    assert!(said.stdout.contains("emptied"), "{}", said.stdout);
    assert_eq!(["flyer-crawler-api", "flyer-crawler-api-test", "stock-alert"].map(length), [0, 5, 5]);
    env.palisade(&["pm2", "flush", CRAWLER[0], "ghost", CRAWLER[2], CRAWLER[3]]).ends(Exit::Refused);
}
