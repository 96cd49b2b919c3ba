//! Palisade or the daemon is killed in the middle of an act that takes a while.

use palisade_core::Exit;
use palisade_testkit::{App, eventually, process};
use serde_json::{Value, json};

use crate::env::{TestEnv, ended};

const SHOP: [&str; 4] = ["--app", "shop", "--environment", "production"];
const SHOPS: [&str; 4] = ["shop-0", "shop-1", "shop-2", "shop-3"];
/// Calls that the adapter has under way at once; what is beyond has not been sent when Palisade is killed.
const AT_ONCE: usize = 16;

/// That many apps that PM2 has to wait for, and five bystanders.
fn stubborn_shop(shops: usize) -> TestEnv {
    let shops = (0..shops).map(|number| App::stubborn(&format!("shop-{number}"), 4_000));
    // One that PM2 does not start again.
    let mortal = App::sleep("projectium-site").set("autorestart", json!(false));
    let bystanders = ["stock-alert", "docs", "blog", "wiki"].map(App::sleep);
    let env = TestEnv::with(&shops.chain([mortal]).chain(bystanders).collect::<Vec<_>>());
    env.write_policy(
        "revision = 1\n[environments.production]\n\
         [[app]]\nname = \"shop\"\nenvironment = \"production\"\nprocesses = [\"shop-*\"]\n",
    );
    env
}

fn rows(env: &TestEnv) -> Vec<Value> {
    let list = env.palisade(&["pm2", "list", "--json"]).ends(Exit::Done).json();
    list.as_array().unwrap().clone()
}

/// Starts the delete and waits until the daemon is stopping that many.
fn delete_under_way(env: &TestEnv, shops: usize) -> std::process::Child {
    let child = env.spawn(&[&["pm2", "delete"], &SHOP[..]].concat());
    let stopping = |row: &Value| row["process"]["status"] == "stopping";
    eventually("the daemon begins to stop them", || {
        (rows(env).iter().filter(|row| stopping(row)).count() == shops).then_some(())
    });
    child
}

#[test]
fn what_the_daemon_still_carries_out_stays_open_and_is_then_settled_target_by_target() {
    let env = stubborn_shop(AT_ONCE + 2);
    let mut child = delete_under_way(&env, AT_ONCE);
    child.kill().unwrap();
    assert_eq!(ended(child).exit, None);

    env.palisade(&["journal", "verify"]).ends(Exit::Done);
    assert_eq!(env.palisade(&["lease", "list", "--json"]).json(), json!([]));
    let early = env.palisade(&["pm2", "reconcile"]).ends(Exit::Done);
    assert!(early.stdout.starts_with("1 still under way"), "{}", early.stdout);
    assert_eq!(env.events("reconciled"), Vec::<Value>::new());

    eventually("the daemon has deleted what it was sent", || (rows(&env).len() == 2 + 5).then_some(()));
    let settled = env.palisade(&["pm2", "reconcile", "--json"]).ends(Exit::Done).json();
    assert_eq!(settled[0]["outcome"], "partial", "{settled}");
    let results = settled[0]["targets"].as_array().unwrap();
    let done = results.iter().filter(|target| target["result"]["result"] == "done");
    assert_eq!(done.count(), AT_ONCE, "{settled}");
    assert_eq!(env.palisade(&["pm2", "reconcile", "--json"]).ends(Exit::Done).json(), json!([]));
    let sent: Vec<String> = (0..AT_ONCE).map(|number| format!("shop-{number}")).collect();
    env.assert_untouched_but(&sent.iter().map(String::as_str).collect::<Vec<_>>());
    env.palisade(&[&["pm2", "delete"], &SHOP[..]].concat()).ends(Exit::Done);
}

#[test]
fn a_daemon_that_is_killed_in_mid_act_leaves_an_unknown_outcome_and_never_a_done_one() {
    let env = stubborn_shop(SHOPS.len());
    let child = delete_under_way(&env, SHOPS.len());
    env.pm2.kill_daemon();
    let said = ended(child).ends(Exit::VerificationFailed);
    assert!(said.stdout.starts_with("unknown: delete of shop/production"), "{}", said.stdout);
    assert!(!said.stdout.contains("deleted"), "{}", said.stdout);
    assert_eq!(env.events("outcome")[0]["data"]["outcome"], "unknown");
    env.palisade(&["journal", "verify"]).ends(Exit::Done);
    env.palisade(&["pm2", "reconcile"]).ends(Exit::Unreachable);

    env.pm2.start_daemon();
    let settled = env.palisade(&["pm2", "reconcile", "--json"]).ends(Exit::Done).json();
    assert_eq!(settled[0]["outcome"], "unknown", "another daemon knows nothing of them: {settled}");
    assert_eq!(env.palisade(&["pm2", "reconcile", "--json"]).ends(Exit::Done).json(), json!([]));
    env.assert_untouched_but(&SHOPS);
}

#[test]
fn a_bystander_that_dies_meanwhile_is_told_as_a_difference() {
    let env = stubborn_shop(SHOPS.len());
    let child = delete_under_way(&env, SHOPS.len());
    process::kill(env.pid_of("stock-alert"));
    process::kill(env.pid_of("projectium-site"));
    let said = ended(child).ends(Exit::VerificationFailed);
    let drift = "drift: [PAL-114] projectium-site (pm_id 4): it was to be spared, was online, and is stopped";
    assert!(said.stdout.contains(drift), "{}", said.stdout);
    // PM2 has started this one again.
    assert!(said.stdout.contains("stock-alert was restarted meanwhile, not by this act"), "{}", said.stdout);
    assert!(said.stdout.contains("done: delete of shop/production: 4 of 4 targets"), "{}", said.stdout);
}

#[test]
fn an_operation_that_runs_is_not_taken_for_one_that_was_cut_off() {
    let env = stubborn_shop(SHOPS.len());
    let child = delete_under_way(&env, SHOPS.len());
    let settled = env.palisade(&["pm2", "reconcile", "--json"]).ends(Exit::Done).json();
    assert_eq!(settled, json!([]), "its process lives");
    ended(child).ends(Exit::Done);
    env.assert_untouched_but(&SHOPS);
}
