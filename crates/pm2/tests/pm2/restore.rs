//! Bringing processes back from a bundle, and comparing them with it field by field.

use std::collections::BTreeSet;

use palisade_core::outcome::TargetResult;
use palisade_core::process::Status;
use palisade_core::{Operation, Snapshot};
use palisade_pipeline::Resource as _;
use palisade_pm2::restore::{Field, FieldDifference, differences};
use palisade_testkit::{App, Pm2, process};
use serde_json::{Map, Value, json};

use crate::bed::{Bed, all_done, block_on, results};

/// Every kind of app whose settings have to come back.
fn zoo(bed: &Bed) -> Vec<App> {
    let log = |name: &str| json!(bed.pm2.home().join(name).display().to_string());
    vec![
        App::sleep("plain").env("DATABASE_URL", "postgres://u:secret@h/d").env("EMPTY", ""),
        App::cluster("site", 3).env("PORT", "0"),
        bed.watched("watched").set("ignore_watch", json!(["node_modules"])),
        App::node("by-clock").set("cron_restart", json!("0 3 1 1 *")).set("autorestart", json!(false)),
        App::node("labelled")
            .set("namespace", json!("billing"))
            .set("max_memory_restart", json!("300M"))
            .set("kill_timeout", json!(2500))
            .set("args", json!(["--port", "80 80", "é"]))
            .set("node_args", json!(["--max-old-space-size=128"]))
            .set("out_file", log("o.log"))
            .set("error_file", log("e.log")),
        App::sleep("stopped"),
        App::sleep("neighbour"),
    ]
}

fn counted(snapshot: &Snapshot) -> Vec<(String, bool)> {
    let mut all: Vec<_> =
        snapshot.processes.iter().map(|process| (process.pin.name.clone(), process.status.is_up())).collect();
    all.sort();
    all
}

/// Deletes all kinds of apps but one, brings them back, and compares.
fn round_trip(version: &str) {
    let bed = Bed::new(Pm2::start(version));
    bed.pm2.start_apps(&zoo(&bed));
    bed.pm2.pm2(&["stop", "stopped"]);
    let neighbour = bed.pm2.running().into_iter().find(|(name, _)| name == "neighbour");
    block_on(async {
        let before = bed.snapshot().await;
        let gone = ["plain", "site", "watched", "by-clock", "labelled", "stopped"];
        let outcomes = bed.run(Operation::Delete, &gone).await;
        assert!(all_done(&outcomes), "{outcomes:?}");
        let lost = bed.snapshot().await;
        assert_eq!(lost.processes.len(), 1);

        let (mut resource, armed, outcomes) = bed.restore(&before).await;
        assert_eq!(outcomes.len(), 8, "every instance");
        assert!(all_done(&outcomes), "{outcomes:?}");
        let after = bed.snapshot().await;
        assert_eq!(counted(&after), counted(&before));
        let seen = resource.after(armed.plan(), after.taken_at).await;
        assert_eq!(seen.expect("the daemon runs").restored, [], "each setting is as in the bundle");
        let verification = bed.verify(&armed, &outcomes, &lost).await;
        assert!(verification.is_clean(), "{verification:?}");
        let ids: BTreeSet<u32> = after.processes.iter().map(|process| process.pin.pm_id).collect();
        assert_eq!(ids.len(), after.processes.len(), "each has a number of its own");
    });
    let now = bed.pm2.running().into_iter().find(|(name, _)| name == "neighbour");
    assert_eq!(now, neighbour, "what runs is not touched");
}

#[test]
fn whatever_was_deleted_comes_back_as_it_was_field_by_field() {
    round_trip("7.0.4");
}

#[test]
fn whatever_was_deleted_comes_back_on_pm2_6() {
    round_trip("6.0.14");
}

#[test]
fn whatever_was_deleted_comes_back_on_pm2_5() {
    round_trip("5.4.3");
}

/// The user and group that a process acts as, from the process table.
fn acts_as(pid: u32) -> (u32, u32) {
    let found = palisade_host::process::credentials(pid).expect("it runs");
    (found.uid, found.gid)
}

#[test]
fn an_app_of_another_user_comes_back_as_that_user() {
    assert_eq!(acts_as(std::process::id()).0, 0, "run this as root: only root may start apps as other users");
    for version in ["7.0.4", "6.0.14", "5.4.3"] {
        let bed = Bed::new(Pm2::start(version));
        let app = App::sleep("other").set("uid", json!(65534)).set("gid", json!(1)).set("cwd", json!("/"));
        bed.pm2.start_apps(&[app, App::sleep("own")]);
        block_on(async {
            let before = bed.snapshot().await;
            assert!(all_done(&bed.run(Operation::Delete, &["other", "own"]).await));
            let lost = bed.snapshot().await;
            let (mut resource, armed, outcomes) = bed.restore(&before).await;
            assert!(all_done(&outcomes), "{version}: {outcomes:?}");
            let seen = resource.after(armed.plan(), lost.taken_at).await;
            assert_eq!(seen.expect("the daemon runs").restored, [], "{version}");
            assert!(bed.verify(&armed, &outcomes, &lost).await.is_clean(), "{version}");
        });
        let mut running = bed.pm2.running();
        running.sort();
        let users: Vec<_> = running.iter().map(|(name, pid)| (name.as_str(), acts_as(*pid))).collect();
        assert_eq!(users, [("other", (65534, 1)), ("own", (0, 0))], "{version}");
    }
}

#[test]
fn a_process_whose_number_was_taken_comes_back_beside_the_one_that_has_it() {
    let bed = Bed::new(Pm2::start("7.0.4"));
    bed.pm2.start_app(App::sleep("lost"));
    block_on(async {
        let before = bed.snapshot().await;
        bed.pm2.pm2(&["delete", "lost"]);
        bed.pm2.start_app(App::sleep("squatter"));
        let (_, squatter) = bed.pm2.running()[0].clone();
        assert_eq!(bed.snapshot().await.processes[0].pin.pm_id, before.processes[0].pin.pm_id);
        let (_, _, outcomes) = bed.restore(&before).await;
        assert!(all_done(&outcomes), "{outcomes:?}");
        assert!(process::is_running(squatter), "an occupied number evicts the process that has it");
        assert_eq!(bed.snapshot().await.processes.len(), 2);
    });
}

#[test]
fn a_process_that_never_ran_again_stays_stopped_and_can_be_started_later() {
    let bed = Bed::new(Pm2::start("7.0.4"));
    let marker = bed.pm2.home().join("started");
    let script = format!(
        "require('fs').appendFileSync('{}', 'x'); setInterval(() => {{}}, 1 << 30);",
        marker.display()
    );
    std::fs::write(bed.pm2.home().join("marks.js"), script).expect("the home is ours");
    bed.pm2.start_apps(&[App::node("marks").set("script", json!("marks.js")), App::sleep("other")]);
    palisade_testkit::eventually("the app marks its start", || marker.exists().then_some(()));
    bed.pm2.pm2(&["stop", "marks"]);
    std::fs::remove_file(&marker).expect("it was there");
    block_on(async {
        let before = bed.snapshot().await;
        bed.pm2.pm2(&["delete", "marks"]);
        let (_, _, outcomes) = bed.restore(&before).await;
        assert!(all_done(&outcomes), "{outcomes:?}");
        let now = bed.snapshot().await;
        let marks = now.processes.iter().find(|process| process.pin.name == "marks").expect("it is back");
        assert_eq!((&marks.status, marks.pin.process), (&Status::Stopped, None));
        assert!(!marker.exists(), "it was started on the way");
    });
    assert_eq!(bed.pm2.pm2(&["list"]).exit, Some(0), "PM2's own table shows it");
    assert_eq!(bed.pm2.pm2(&["restart", "marks"]).exit, Some(0));
    palisade_testkit::eventually("the app marks its start", || marker.exists().then_some(()));
}

#[test]
fn an_app_that_somebody_else_started_again_is_not_started_twice() {
    let bed = Bed::new(Pm2::start("7.0.4"));
    bed.pm2.start_apps(&["back", "lost"].map(App::sleep));
    block_on(async {
        let before = bed.snapshot().await;
        bed.pm2.pm2(&["delete", "all"]);
        // The plan is drawn while both are gone, and carried out when one is back.
        let source =
            bed.bundles().read(before.bundle.as_deref().expect("one was kept")).expect("it is there");
        let armed = bed.armed_restore(&before).await;
        bed.pm2.start_app(App::sleep("back"));
        let mut resource = bed.resource().restore_from(source);
        let outcomes = palisade_pipeline::Resource::execute(&mut resource, &armed).await;
        let [TargetResult::Changed(_), TargetResult::Done] = results(&outcomes)[..] else {
            panic!("{outcomes:?}")
        };
        assert_eq!(bed.snapshot().await.processes.len(), 2);
    });
}

#[test]
fn a_restore_without_its_bundle_starts_nothing() {
    let bed = Bed::new(Pm2::start("7.0.4"));
    bed.pm2.start_app(App::sleep("lost"));
    block_on(async {
        let before = bed.snapshot().await;
        bed.pm2.pm2(&["delete", "all"]);
        let armed = bed.armed_restore(&before).await;
        let outcomes = palisade_pipeline::Resource::execute(&mut bed.resource(), &armed).await;
        assert!(matches!(results(&outcomes)[..], [TargetResult::Failed(_)]), "{outcomes:?}");
        assert!(bed.snapshot().await.processes.is_empty());
    });
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

fn kept() -> Value {
    json!({
        "pm_exec_path": "/srv/a.js", "args": ["--x"], "pm_cwd": "/srv", "exec_interpreter": "node",
        "node_args": [], "instances": 2, "NODE_APP_INSTANCE": 1, "exec_mode": "cluster_mode",
        "namespace": "default", "watch": ["src"], "ignore_watch": ["logs"], "cron_restart": "0 3 * * *",
        "max_memory_restart": 1000, "kill_timeout": 1600, "autorestart": true, "pm_out_log_path": "/o",
        "pm_err_log_path": "/e", "uid": 1000, "gid": 1000, "status": "online",
        "env": { "DATABASE_URL": "postgres://hunter2", "PORT": 3000, "unique_id": "u-1" },
    })
}

#[test]
fn each_field_that_differs_is_named_and_nothing_else() {
    let cases = [
        (Field::Script, "pm_exec_path", json!("/srv/b.js")),
        (Field::Args, "args", json!([])),
        (Field::Cwd, "pm_cwd", json!("/")),
        (Field::Interpreter, "exec_interpreter", json!("bash")),
        (Field::InterpreterArgs, "node_args", json!(["--inspect"])),
        (Field::Instances, "instances", json!(1)),
        (Field::Instance, "NODE_APP_INSTANCE", json!(0)),
        (Field::ExecMode, "exec_mode", json!("fork_mode")),
        (Field::Namespace, "namespace", json!("billing")),
        (Field::Watch, "watch", json!(false)),
        (Field::IgnoreWatch, "ignore_watch", Value::Null),
        (Field::Cron, "cron_restart", Value::Null),
        (Field::MaxMemoryRestart, "max_memory_restart", json!(2000)),
        (Field::KillTimeout, "kill_timeout", json!(1)),
        (Field::Autorestart, "autorestart", json!(false)),
        (Field::OutLog, "pm_out_log_path", json!("/dev/null")),
        (Field::ErrorLog, "pm_err_log_path", json!("/dev/null")),
        (Field::Uid, "uid", json!(0)),
        (Field::Gid, "gid", json!(0)),
        (Field::Status, "status", json!("stopped")),
    ];
    for (field, key, value) in cases {
        let mut now = kept();
        now[key] = value;
        let found = differences(&object(kept()), &object(now));
        let fields: Vec<Field> = found.iter().map(|difference| difference.field).collect();
        assert_eq!(fields, [field], "{key}");
    }
    assert_eq!(differences(&object(kept()), &object(kept())), []);
}

#[test]
fn variables_differ_by_name_and_never_by_value() {
    let mut now = kept();
    now["env"] =
        json!({ "DATABASE_URL": "postgres://hunter3", "PORT": "3000", "unique_id": "u-2", "NEW": "s3cret" });
    let found = differences(&object(kept()), &object(now));
    let shown: Vec<String> = found.iter().map(FieldDifference::to_string).collect();
    assert_eq!(shown, ["variable DATABASE_URL: value differs", "variable NEW: is new"]);
    let mut without = kept();
    without["env"] = json!({ "PORT": 3000 });
    let found = differences(&object(kept()), &object(without));
    assert_eq!(found[0].to_string(), "variable DATABASE_URL: is missing");
    assert!(!format!("{found:?}").contains("hunter"));
}

#[test]
fn a_dropped_number_of_instances_is_no_difference() {
    let mut now = object(kept());
    now.remove("instances");
    now.remove("watch");
    let found = differences(&object(kept()), &now);
    assert_eq!(found.iter().map(|difference| difference.field).collect::<Vec<_>>(), [Field::Watch]);
}
