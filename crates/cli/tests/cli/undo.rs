//! The line that says how to take back what was done: it is run as it stands.

use palisade_core::Exit;

use crate::env::{CRAWLER_PROCESSES, TestEnv, crawler};
use crate::said::Said;

/// Runs the command after `undo:`.
fn undo(env: &TestEnv, said: &Said) -> Said {
    let line = said.stdout.lines().find_map(|line| line.trim().strip_prefix("undo:"));
    let words = line.unwrap_or_else(|| panic!("no way back in {}", said.stdout)).split_whitespace();
    env.palisade(&words.skip(1).collect::<Vec<_>>())
}

fn online(env: &TestEnv) -> Vec<String> {
    let list = env.palisade(&["pm2", "list", "--json"]).ends(Exit::Done).json();
    let rows = list.as_array().unwrap().iter().map(|row| &row["process"]);
    let names =
        rows.filter(|row| row["status"] == "online").map(|row| row["name"].as_str().unwrap().to_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn stop_and_delete_say_how_they_are_undone_and_it_works() {
    let env = TestEnv::new();
    let all = online(&env);
    assert_eq!(all.len(), 8);
    for operation in ["stop", "delete"] {
        let said = env.palisade(&crawler(&["pm2", operation])).ends(Exit::Done);
        assert_eq!(online(&env).len(), 5, "{operation}");
        undo(&env, &said).ends(Exit::Done);
        assert_eq!(online(&env), all, "{operation}");
    }
    env.assert_untouched_but(&CRAWLER_PROCESSES);
}

#[test]
fn what_was_not_running_is_not_started_by_an_undo() {
    let env = TestEnv::new();
    let all = online(&env);
    env.pm2.pm2(&["stop", "flyer-crawler-api"]);
    let said = env.palisade(&crawler(&["pm2", "stop"])).ends(Exit::Done);
    undo(&env, &said).ends(Exit::Done);
    let expected: Vec<String> = all.into_iter().filter(|name| name != "flyer-crawler-api").collect();
    assert_eq!(online(&env), expected);
}
