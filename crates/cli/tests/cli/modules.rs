//! PM2's own modules: not counted, never a target, left out of bundles, on a real daemon.

use std::collections::BTreeSet;

use palisade_core::Exit;
use palisade_testkit::{App, process};

use crate::env::{TestEnv, crawler};

const MODULE: &str = "tiny-module";
const FOUR: [&str; 4] = ["flyer-crawler-a", "flyer-crawler-b", "flyer-crawler-c", "flyer-crawler-d"];

/// A daemon with these apps and a module, and the module's pid.
fn host(apps: &[&str]) -> (TestEnv, u32) {
    let env = TestEnv::with(&Vec::from_iter(apps.iter().map(|name| App::sleep(name))));
    let pid = env.pm2.install_module(MODULE);
    (env, pid)
}

fn names(env: &TestEnv) -> BTreeSet<String> {
    env.pm2.running().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_module_makes_all_the_apps_no_less_than_all() {
    let (env, module) = host(&FOUR);
    let said = env.palisade(&crawler(&["pm2", "delete", "--json"])).ends(Exit::Refused).json();
    let codes: Vec<&str> =
        said["findings"].as_array().unwrap().iter().map(|found| found["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"PAL-102"), "all four apps are all, with a module beside them: {codes:?}");
    assert_eq!(said["plan"]["targets"].as_array().unwrap().len(), 4);
    assert!(!said["plan"].to_string().contains(MODULE), "neither taken nor among what is spared");
    env.assert_untouched_but(&[]);
    assert!(process::is_running(module));
}

#[test]
fn a_module_adds_nothing_to_the_whole_of_which_a_share_is_taken() {
    // Five of six are more than 0.8; with the module counted it would be five of seven.
    let (env, module) = host(&[FOUR[0], FOUR[1], FOUR[2], FOUR[3], "flyer-crawler-e", "stock-alert"]);
    let said = env.palisade(&crawler(&["pm2", "delete"])).ends(Exit::Refused);
    assert!(said.stdout.contains("PAL-103") && said.stdout.contains("5 of 6"), "{}", said.stdout);
    env.assert_untouched_but(&[]);
    assert!(process::is_running(module));
}

#[test]
fn a_module_is_never_a_target_not_even_by_its_name() {
    let (env, module) = host(&["flyer-crawler-a", "flyer-crawler-b", "stock-alert"]);
    for words in [&["pm2", "delete", MODULE], &["pm2", "stop", MODULE], &["pm2", "restart", MODULE]] {
        let said = env.palisade(&crawler(words)).ends(Exit::Refused);
        assert!(said.stdout.contains("PAL-105"), "nothing of that name can be selected: {}", said.stdout);
    }
    env.palisade(&crawler(&["pm2", "delete"])).ends(Exit::Done);
    assert!(process::is_running(module));
    assert_eq!(names(&env), BTreeSet::from([MODULE, "stock-alert"].map(str::to_owned)));
}

#[test]
fn a_restore_leaves_modules_to_pm2() {
    let (env, module) = host(&["flyer-crawler-a", "stock-alert"]);
    env.palisade(&["pm2", "snapshot"]).ends(Exit::Done);
    assert_eq!(env.pm2.pm2(&["delete", MODULE]).exit, Some(0));
    process::wait_gone(module);
    assert_eq!(env.pm2.pm2(&["delete", "all"]).exit, Some(0));
    env.palisade(&["pm2", "restore"]).ends(Exit::Done);
    assert_eq!(names(&env), BTreeSet::from(["flyer-crawler-a", "stock-alert"].map(str::to_owned)));
}
