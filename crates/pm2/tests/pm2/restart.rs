//! Restarting and reloading, with and without the caller's variables.

use std::collections::BTreeMap;

use palisade_core::process::Status;
use palisade_core::{Armed, Operation, Snapshot};
use palisade_pipeline::Resource as _;
use palisade_testkit::{App, Pm2};
use serde_json::{Value, json};

use crate::bed::{Bed, all_done, arm, block_on, carrying};

fn bed(version: &str) -> Bed {
    let bed = Bed::new(Pm2::start(version));
    bed.pm2.start_apps(&[
        App::sleep("worker").env("MODE", "old").set("kill_timeout", json!(2500)),
        App::cluster("site", 2).env("MODE", "old"),
    ]);
    bed
}

fn pids(snapshot: &Snapshot, name: &str) -> Vec<u32> {
    let named = snapshot.processes.iter().filter(|process| process.pin.name == name);
    named.filter_map(|process| Some(process.pin.process?.pid)).collect()
}

/// PM2's settings and the variables of every entry, without what every start makes anew.
fn configurations(bed: &Bed) -> Vec<Value> {
    let anew = [
        "created_at",
        "pm_uptime",
        "restart_time",
        "unstable_restarts",
        "unique_id",
        "exit_code",
        "prev_restart_delay",
        "_tree_pids",
        "vizion_running",
        "axm_monitor",
        "axm_actions",
        "axm_options",
        "axm_dynamic",
        "status",
        "versioning",
        // PM2 asks the process for these a moment after each start.
        "node_version",
        "_pm2_version",
        "version",
    ];
    let stripped = |mut entry: Value| {
        let settings = entry["pm2_env"].as_object_mut().expect("an object");
        settings.retain(|key, _| !anew.contains(&key.as_str()));
        settings["env"].as_object_mut().expect("an object").remove("unique_id");
        entry["pm2_env"].take()
    };
    bed.pm2.list().into_iter().map(stripped).collect()
}

/// Carries `armed` out, with variables at hand, and checks that every target is another process and online.
async fn carry_out(bed: &Bed, armed: &Armed, before: &Snapshot) {
    let variables = [("MODE", "new"), ("ADDED", "by-caller"), ("kill_timeout", "1"), ("status", "stopped")];
    let variables: BTreeMap<_, _> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let outcomes = bed.resource().carry(variables).execute(armed).await;
    let operation = armed.plan().operation;
    assert!(all_done(&outcomes) && outcomes.len() == 3, "{operation}: {outcomes:?}");
    let verification = bed.verify(armed, &outcomes, before).await;
    assert!(verification.is_clean(), "{operation}: {verification:?}");
    let after = bed.snapshot().await;
    assert!(after.processes.iter().all(|process| process.status == Status::Online), "{after:?}");
    for name in ["worker", "site"] {
        let (then, now) = (pids(before, name), pids(&after, name));
        assert_eq!(then.len(), now.len());
        assert!(now.iter().all(|pid| !then.contains(pid)), "{operation} of {name}: {then:?} {now:?}");
    }
}

#[test]
fn without_update_env_a_restart_or_reload_changes_nothing_but_the_process() {
    for version in ["7.0.4", "5.4.3"] {
        for operation in [Operation::Restart, Operation::Reload] {
            let bed = bed(version);
            let then = configurations(&bed);
            block_on(async {
                let before = bed.snapshot().await;
                let armed = bed.armed_from(operation, &["worker", "site"], &before);
                carry_out(&bed, &armed, &before).await;
            });
            assert_eq!(configurations(&bed), then, "{version} {operation}");
        }
    }
}

#[test]
fn with_update_env_the_callers_variables_arrive_and_pm2s_own_settings_stay() {
    let bed = bed("7.0.4");
    block_on(async {
        let before = bed.snapshot().await;
        let armed = arm(&carrying(Operation::Restart, &["worker", "site"]), &before);
        carry_out(&bed, &armed, &before).await;
    });
    for settings in configurations(&bed) {
        let name = settings["name"].clone();
        assert_eq!(settings["env"]["MODE"], "new", "{name}");
        assert_eq!(settings["env"]["ADDED"], "by-caller", "{name}");
        assert_eq!(settings["env"].get("kill_timeout"), None, "{name}");
        let kept = if name == "worker" { json!(2500) } else { Value::Null };
        assert_eq!(settings.get("kill_timeout").cloned().unwrap_or_default(), kept, "{name}");
    }
}

#[test]
fn a_reload_replaces_one_instance_of_an_app_at_a_time() {
    let bed = bed("7.0.4");
    block_on(async {
        let before = bed.snapshot().await;
        let armed = arm(&carrying(Operation::Reload, &["worker", "site"]), &before);
        carry_out(&bed, &armed, &before).await;
    });
    let uptime = |entry: &Value| entry["pm2_env"]["pm_uptime"].as_u64().expect("a number");
    let list = bed.pm2.list();
    let mut starts: Vec<u64> = list.iter().filter(|entry| entry["name"] == "site").map(uptime).collect();
    starts.sort_unstable();
    assert!(starts[1] > starts[0], "both at once: {starts:?}");
}
