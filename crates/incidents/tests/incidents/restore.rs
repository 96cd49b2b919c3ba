//! After a massacre: what is gone and by whom, and everything back, with what runs untouched.

use std::collections::BTreeMap;

use palisade_testkit::{App, EightApps, Fleet, Pm2, process};
use serde_json::json;

use crate::site::{Caller, EIGHT, Ended as _, OWN, PRODUCTION, Site, fixture};

/// Each app's `DATABASE_URL`, as its process has it.
fn secrets(pm2: &Pm2) -> BTreeMap<String, String> {
    let fleet = Fleet::of(pm2);
    let secret = |pid| process::variable(pid, "DATABASE_URL").unwrap_or_default();
    fleet.apps.iter().map(|app| (app.name.clone(), secret(app.pid))).collect()
}

fn runbook(site: &Site<'_>) -> (serde_json::Value, String) {
    let (exit, document) = site.json(&Caller::job(), &["pm2", "runbook"]);
    assert_eq!(exit, Some(0), "{document}");
    let report = document["report"].as_str().unwrap().to_owned();
    (document, report)
}

#[test]
fn after_the_stale_script_restore_brings_all_eight_back_with_their_secrets() {
    let host = EightApps::start("7.0.4");
    let site = Site::new(&host.pm2, EIGHT);
    let values = secrets(&host.pm2);
    let before = Fleet::of(&host.pm2);
    site.palisade(&Caller::job(), &["pm2", "snapshot"]).with(0);
    site.script(&Caller::job().with("TAKE", "pm2 delete"), &[&fixture("stale-cleanup.sh")]).with(0);
    assert!(Fleet::of(&host.pm2).apps.is_empty());

    let (document, report) = runbook(&site);
    assert_eq!(document["gone"].as_array().map(Vec::len), Some(8));
    assert!(report.contains("no record of Palisade names it: something called pm2 itself"), "{report}");

    let restored = site.palisade(&Caller::job(), &["pm2", "restore"]).with(0);
    let after = Fleet::of(&host.pm2);
    assert_eq!(after.names(), before.names());
    assert_eq!(after.daemons, before.daemons);
    assert_eq!(secrets(&host.pm2), values);
    for said in [&restored.stdout, &restored.stderr, &report] {
        assert_eq!(host.leak_in(said), None, "{said}");
    }
    site.palisade(&Caller::job(), &["pm2", "restore"]).refused(&["PAL-105", "missing"]);
    assert_eq!(Fleet::of(&host.pm2), after, "a second restore starts nothing");
    let (document, _) = runbook(&site);
    assert_eq!(document["result"], json!("nothing-missing"));
}

#[test]
fn restore_brings_back_what_pm2_lost_and_leaves_what_still_runs_alone() {
    let host = EightApps::start("7.0.4");
    let site = Site::new(&host.pm2, EIGHT);
    let values = secrets(&host.pm2);
    let before = Fleet::of(&host.pm2);
    site.palisade(&Caller::job(), &["pm2", "snapshot"]).with(0);
    let gone = ["flyer-crawler-worker", "flyer-crawler-api-test", "stock-alert"];
    host.pm2.pm2(&["delete", gone[0], gone[1], gone[2]]).with(0);
    let survivors = before.without(&gone);
    assert_eq!(Fleet::of(&host.pm2), survivors);

    site.palisade(&Caller::job(), &["pm2", "restore", "--dry-run"]).with(0);
    assert_eq!(Fleet::of(&host.pm2), survivors);
    site.palisade(&Caller::job(), &["pm2", "restore", "--name", "never-there"]).refused(&["PAL-105"]);
    site.palisade(&Caller::job(), &["pm2", "restore", "--name", "stock-alert"]).with(0);
    assert_eq!(Fleet::of(&host.pm2).names(), {
        let mut names = survivors.names();
        names.push("stock-alert");
        names
    });
    let (_, snapshots) = site.json(&Caller::job(), &["pm2", "snapshots"]);
    let first = snapshots[0]["snapshot"].as_str().unwrap();
    site.palisade(&Caller::job(), &["pm2", "restore", "--snapshot", first]).with(0);
    let after = Fleet::of(&host.pm2);
    assert_eq!(after.names(), before.names());
    assert_eq!(after.without(&gone), survivors);
    assert_eq!(secrets(&host.pm2), values);
}

#[test]
fn the_runbook_names_who_deleted_through_palisade_and_the_restore_that_undoes_it() {
    let host = EightApps::start("7.0.4");
    let site = Site::new(&host.pm2, EIGHT);
    let before = Fleet::of(&host.pm2);
    let caller = Caller::job().with("GITHUB_WORKFLOW", "Deploy production").with("GITHUB_ACTOR", "torben");
    site.operate(&caller, "delete", PRODUCTION, &[]).with(0);
    let (document, report) = runbook(&site);
    assert_eq!(document["gone"].as_array().map(Vec::len), Some(3));
    for word in
        OWN.into_iter().chain(["taken down at", "torben", "Deploy production", "palisade pm2 restore"])
    {
        assert!(report.contains(word), "no {word} in {report}");
    }
    assert!(!report.contains("something called pm2 itself"), "{report}");
    let snapshot = document["snapshot"].as_str().unwrap();
    site.palisade(&Caller::job(), &["pm2", "restore", "--snapshot", snapshot]).with(0);
    assert_eq!(Fleet::of(&host.pm2).names(), before.names());
    site.palisade(&Caller::job(), &["journal", "verify"]).with(0);
}

#[test]
fn the_runbook_names_all_that_one_loop_deleted_one_by_one() {
    let host = EightApps::start("7.0.4");
    let site = Site::new(&host.pm2, EIGHT);
    let before = Fleet::of(&host.pm2);
    let caller = Caller::job();
    for name in OWN {
        site.operate(&caller, "delete", PRODUCTION, &[name]).with(0);
    }
    let (document, report) = runbook(&site);
    assert_eq!(document["gone"].as_array().map(Vec::len), Some(3), "{report}");
    let snapshot = document["snapshot"].as_str().unwrap();
    site.palisade(&Caller::job(), &["pm2", "restore", "--snapshot", snapshot]).with(0);
    assert_eq!(Fleet::of(&host.pm2).names(), before.names());
}

const WEB: &str = r#"revision = 1
[environments.production]
[[app]]
name = "web"
environment = "production"
processes = ["web"]
[[app]]
name = "other"
environment = "production"
processes = ["other"]
"#;

#[test]
fn the_lost_instances_of_a_cluster_come_back_beside_those_that_run() {
    let pm2 = Pm2::start("7.0.4");
    pm2.start_apps(&[App::cluster("web", 3), App::sleep("other")]);
    let site = Site::new(&pm2, WEB);
    site.palisade(&Caller::job(), &["pm2", "snapshot"]).with(0);
    let ids: Vec<String> = pm2
        .list()
        .iter()
        .filter(|entry| entry["name"] == "web")
        .map(|entry| entry["pm_id"].to_string())
        .collect();
    pm2.pm2(&["delete", &ids[1], &ids[2]]).with(0);
    let left = Fleet::of(&pm2);
    assert_eq!(left.names(), ["other", "web"]);
    let (document, _) = runbook(&site);
    assert_eq!(document["gone"].as_array().map(Vec::len), Some(2));
    site.palisade(&Caller::job(), &["pm2", "restore"]).with(0);
    let after = Fleet::of(&pm2);
    assert_eq!(after.names(), ["other", "web", "web", "web"]);
    assert!(left.apps.is_subset(&after.apps), "what ran was touched: {left:?} {after:?}");
}

#[test]
fn an_app_that_pm2_calls_online_though_its_process_could_not_be_started_fails_the_verification() {
    let pm2 = Pm2::start("7.0.4");
    let site = Site::new(&pm2, WEB);
    let folder = site.folder("release-41");
    pm2.start_apps(&[App::sleep("web").set("cwd", json!(folder)), App::sleep("other")]);
    std::fs::remove_dir(&folder).unwrap();
    let ran = site.operate(&Caller::job(), "restart", "web/production", &[]).with(6);
    assert!(ran.stdout.contains("no process of it runs"), "{}", ran.stdout);
}
