//! `palisade off` and `on`: opens what it names, for a reason and a time, recorded, shown, and over by itself.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use palisade_core::Exit;
use palisade_testkit::{Disk, eventually};
use serde_json::Value;

use crate::env::{TestEnv, crawler};
use crate::said::Said;

/// A deletion that names another app's process: refused by PAL-101.
fn foreign(env: &TestEnv) -> Said {
    env.palisade(&crawler(&["pm2", "delete", "stock-alert"]))
}

fn off<'a>(span: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    [&["off"], words, &["--for", span, "--reason", "rule 101 is wrong tonight"]].concat()
}

#[test]
fn a_bypass_opens_and_ends_by_itself_and_every_command_shows_it() {
    let env = TestEnv::new();
    foreign(&env).ends(Exit::Refused);
    let said = env.palisade(&off("2s", &["pm2"])).ends(Exit::Done);
    assert!(said.stdout.contains("OFF: every guard of PM2 for 2s"), "{}", said.stdout);
    let shown = env.palisade(&["journal", "tail"]).ends(Exit::Done);
    assert!(shown.stderr.contains("rule 101 is wrong tonight"), "{}", shown.stderr);
    assert_eq!(shown.stderr.lines().filter(|line| line.starts_with("bypass:")).count(), 1);
    let planned = env.palisade(&crawler(&["pm2", "delete", "stock-alert", "--dry-run", "--json"]));
    let document = planned.ends(Exit::Done).json();
    assert_eq!(document["bypasses"][0]["reason"], "rule 101 is wrong tonight");

    eventually("the bypass is over", || {
        let said = env.palisade(&crawler(&["pm2", "delete", "stock-alert", "--dry-run"]));
        (said.exit == Some(i32::from(Exit::Refused.number()))).then_some(said)
    });
    let after = env.palisade(&["journal", "tail"]).ends(Exit::Done);
    assert!(!after.stderr.contains("bypass:"), "{}", after.stderr);
    env.assert_untouched_but(&[]);
}

#[test]
fn what_passes_by_a_bypass_names_it_in_its_record() {
    let env = TestEnv::new();
    let said = env.palisade(&[&off("1h", &["pm2"])[..], &["--json"]].concat()).ends(Exit::Done).json();
    let id = said["bypass"]["id"].as_str().unwrap().to_owned();
    let deleted = foreign(&env).ends(Exit::Done);
    assert!(
        deleted.stderr.contains(&format!("passed by bypass {id} in spite of PAL-101")),
        "{}",
        deleted.stderr
    );
    let intents = env.events("intent");
    assert_eq!(intents[0]["data"]["authority"]["bypassed"], Value::String(id.clone()));
    env.assert_untouched_but(&["stock-alert"]);

    let on = env.palisade(&["on", "pm2"]).ends(Exit::Done);
    assert!(on.stdout.contains(&id), "{}", on.stdout);
    env.palisade(&crawler(&["pm2", "delete", "projectium-site"])).ends(Exit::Refused);
    let events: Vec<Value> = env.records().into_iter().map(|record| record["event"].clone()).collect();
    for event in ["bypass-began", "bypass-ended"] {
        assert!(events.contains(&Value::String(event.to_owned())), "{event} is recorded: {events:?}");
    }
}

#[test]
fn a_bypass_of_one_home_leaves_the_others_closed_and_none_named_opens_all() {
    let env = TestEnv::new();
    env.palisade(&off("1h", &["pm2", "--pm2-home", "/srv/another"])).ends(Exit::Done);
    foreign(&env).ends(Exit::Refused);
    let said = env.palisade(&off("1h", &[])).ends(Exit::Done);
    assert!(said.stdout.contains("every guard"), "{}", said.stdout);
    foreign(&env).ends(Exit::Done);
    let said = env.palisade(&["on", "pm2"]).ends(Exit::Failure);
    assert!(said.stdout.contains("still open: every guard"), "{}", said.stdout);
    env.palisade(&["on"]).ends(Exit::Done);
    env.palisade(&crawler(&["pm2", "delete", "projectium-site"])).ends(Exit::Refused);
}

#[test]
fn a_bypass_works_while_the_journal_cannot_be_written_and_is_no_way_to_select_nothing() {
    let env = TestEnv::new();
    env.palisade(&crawler(&["pm2", "restart", "flyer-crawler-api"])).ends(Exit::Done);
    // Root writes past every mode, so the journal is put where no file can be made.
    let journal = env.state().join("journal");
    fs::rename(&journal, env.state().join("kept")).unwrap();
    fs::write(&journal, "a file where the folder was").unwrap();
    fs::set_permissions(&journal, Permissions::from_mode(0o600)).unwrap();
    foreign(&env).ends(Exit::Journal);

    let said = env.palisade(&off("1h", &["pm2"])).ends(Exit::Done);
    assert!(!said.stdout.contains("journal record"), "{}", said.stdout);
    let deleted = foreign(&env);
    assert!(
        deleted.stdout.contains("stock-alert (pm_id 6): deleted"),
        "{} {}",
        deleted.stdout,
        deleted.stderr
    );
    env.assert_untouched_but(&["stock-alert", "flyer-crawler-api"]);
    env.palisade(&crawler(&["pm2", "delete", "ghost"])).ends(Exit::Refused);
}

#[test]
fn a_bypass_needs_no_daemon_no_database_no_policy_and_no_byte_of_the_disk() {
    let env = TestEnv::without_daemon();
    fs::remove_file(env.policy()).unwrap();
    let disk = Disk::mount(env.home().join("state"), 1);
    disk.fill();
    let palisade = |words: &[&str]| -> Said {
        let mut command = env.command(words);
        command.env("DATABASE_URL", "postgres://app@127.0.0.1:1/nobody-answers");
        command.output().unwrap().into()
    };
    let said = palisade(&off("1h", &["pm2"])).ends(Exit::Done);
    assert!(said.stdout.contains("OFF: every guard of PM2 for 1h"), "{}", said.stdout);
    assert!(!said.stdout.contains("journal record"), "{}", said.stdout);
    let shown = palisade(&["config", "check"]);
    assert!(shown.stderr.contains("rule 101 is wrong tonight"), "{}", shown.stderr);
    palisade(&["on", "pm2"]).ends(Exit::Done);
    let shown = palisade(&["config", "check"]);
    assert!(!shown.stderr.contains("bypass:"), "{}", shown.stderr);
}

#[test]
fn an_opening_needs_a_reason_and_an_end() {
    let env = TestEnv::without_daemon();
    for words in [
        vec!["off", "pm2", "--for", "30m"],
        vec!["off", "pm2", "--reason", "why"],
        vec!["off", "pm2", "--for", "25h", "--reason", "why"],
        vec!["off", "pm2", "--for", "30m", "--reason", " "],
        vec!["off", "--pm2-home", "/srv/pm2", "--for", "30m", "--reason", "why"],
        vec!["off", "pm2", "--pm2-home", "here", "--for", "30m", "--reason", "why"],
    ] {
        env.palisade(&words).ends(Exit::Usage);
    }
    assert!(!env.home().join("runtime").exists(), "nothing was opened");
    env.palisade(&["on"]).ends(Exit::Done);
}
