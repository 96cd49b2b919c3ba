//! A scope that is bound to a PM2 namespace: nothing crosses it, though PM2's own namespaces isolate nothing.

use palisade_core::Code;
use palisade_testkit::{Pm2, Scratch};
use serde_json::{Value, json};

use crate::bed::{Bed, Ran};

const POLICY: &str = r#"revision = 1
[environments.production]
mode = "enforce"
[environments.staging]
mode = "enforce"
[[app]]
name = "shop"
environment = "production"
processes = ["api", "shop-worker"]
namespace = "prod"
folder = "FOLDER/prod"
[[app]]
name = "shop"
environment = "staging"
processes = ["api"]
namespace = "test"
folder = "FOLDER/test"
[[app]]
name = "stock"
environment = "production"
processes = ["stock-alert"]
"#;

/// As measured: two processes of one name in two namespaces, and a third app in neither.
fn apps(folder: &Scratch) -> Vec<Value> {
    [("api", "prod", "prod"), ("api", "test", "test"), ("stock-alert", "default", "stock")]
        .map(|(name, namespace, place)| {
            let cwd = folder.join(place);
            std::fs::create_dir_all(&cwd).unwrap();
            json!({ "name": name, "namespace": namespace, "script": "/bin/sleep", "args": ["100000"],
                    "interpreter": "none", "cwd": cwd })
        })
        .into()
}

fn bed() -> Bed {
    Bed::with("7.0.4", POLICY, apps)
}

fn from_test(bed: &Bed, args: &[&str]) -> Ran {
    bed.pm2_in(&bed.folder.join("test"), args)
}

/// Namespace, name and pid of what runs.
fn running(bed: &Bed) -> Vec<(String, String, u64)> {
    let list: Vec<Value> = serde_json::from_str(&bed.directly(&["jlist", "--silent"]).text).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entry = |entry: &Value| {
        let pid = entry["pid"].as_u64().filter(|pid| *pid > 0)?;
        Some((text(&entry["pm2_env"]["namespace"]), text(&entry["name"]), pid))
    };
    list.iter().filter_map(entry).collect()
}

/// What PM2 itself does, so that the tests below show what the guard changes.
#[test]
fn without_a_guard_a_namespace_isolates_nothing() {
    let (pm2, folder) = (Pm2::start("7.0.4"), Scratch::new());
    let file = folder.write("all.json", &json!({ "apps": apps(&folder) }).to_string());
    pm2.pm2(&["start", file.to_str().unwrap()]);
    assert_eq!(pm2.running().len(), 3);
    pm2.pm2(&["stop", "api", "--namespace", "test"]);
    assert_eq!(pm2.running().len(), 1, "prod's api was stopped too");
    pm2.pm2(&["delete", "all", "--namespace", "test"]);
    assert!(pm2.list().is_empty(), "everything was deleted");
}

#[test]
fn delete_all_with_a_namespace_takes_nothing_at_all() {
    let bed = bed();
    let before = running(&bed);
    assert_eq!(before.len(), 3);
    let ran = from_test(&bed, &["delete", "all", "--namespace", "test"]);
    assert_eq!(ran.exit, Some(1), "{}", ran.text);
    assert_eq!(running(&bed), before, "not even its own: the line is judged whole");
    let refused = bed.refused();
    let mut grounds = refused.iter().flat_map(|(_, called)| &called.findings);
    assert!(grounds.any(|finding| finding.code == Code::ForeignTarget), "{refused:?}");
}

#[test]
fn a_name_that_two_namespaces_hold_is_stopped_in_neither() {
    let bed = bed();
    let before = running(&bed);
    let ran = from_test(&bed, &["stop", "api", "--namespace", "test"]);
    assert!(ran.text.contains("PAL-101"), "{}", ran.text);
    let ran = from_test(&bed, &["sendSignal", "SIGKILL", "api"]);
    assert!(ran.text.contains("PAL-101"), "{}", ran.text);
    assert_eq!(running(&bed), before);
}

#[test]
fn the_namespace_itself_and_a_number_in_it_may_be_stopped() {
    let bed = bed();
    let ran = from_test(&bed, &["stop", "test"]);
    assert_eq!(ran.exit, Some(0), "{}", ran.text);
    let left: Vec<String> = running(&bed).into_iter().map(|(namespace, ..)| namespace).collect();
    assert_eq!(left, ["prod", "default"]);
    let ran = from_test(&bed, &["restart", "1"]);
    assert_eq!((ran.exit, running(&bed).len()), (Some(0), 3), "{}", ran.text);
    assert!(bed.refused().is_empty(), "{:?}", bed.refused());
}

#[test]
fn save_with_a_namespace_writes_every_process() {
    let bed = bed();
    let ran = from_test(&bed, &["save", "--namespace", "test"]);
    assert_eq!(ran.exit, Some(0), "{}", ran.text);
    let dump = std::fs::read_to_string(bed.pm2.home().join("dump.pm2")).unwrap();
    let dump: Vec<Value> = serde_json::from_str(&dump).unwrap();
    assert_eq!(dump.len(), 3, "a list that leaves foreign ones out would be a broken dump");
}

#[test]
fn a_start_crosses_no_namespace() {
    let bed = bed();
    let sleep = ["start", "/bin/sleep", "--interpreter", "none"];
    let start = |place: &str, name: &str, namespace: &str| {
        let args = [&sleep[..], &["-f", "--name", name, "--namespace", namespace, "--", "100000"]].concat();
        bed.pm2_in(&bed.folder.join(place), &args)
    };
    let before = running(&bed);
    // One's own outside, and so in PM2's default; one of somebody else inside; one's own inside another's.
    for (place, name, namespace, code) in [
        ("prod", "shop-worker", "default", "PAL-432"),
        ("prod", "shop-worker", "test", "PAL-432"),
        ("prod", "stock-alert-2", "test", "PAL-432"),
        ("prod", "stock-alert", "prod", "PAL-"),
        ("stock", "stock-alert", "prod", "PAL-"),
    ] {
        let ran = start(place, name, namespace);
        assert!(ran.exit == Some(1) && ran.text.contains(code), "{place} {name} {namespace}: {}", ran.text);
        assert_eq!(running(&bed), before);
    }
    let ran = start("prod", "shop-worker", "prod");
    assert_eq!((ran.exit, running(&bed).len()), (Some(0), 4), "{}", ran.text);
}

#[test]
fn a_deployment_of_a_bound_app_meets_no_refusal() {
    let bed = bed();
    let file = bed.folder.join("test/ecosystem.config.js");
    let app =
        "{ name: 'web', namespace: 'test', script: '/bin/sleep', args: ['100000'], interpreter: 'none' }";
    std::fs::write(&file, format!("module.exports = {{ apps: [{app}] }};\n")).unwrap();
    let script = "set -e\npm2 startOrReload ecosystem.config.js\npm2 restart web --update-env\npm2 reload web\n\
                  pm2 restart test\npm2 delete web\npm2 start ecosystem.config.js\npm2 stop test\n";
    let ran = bed.script_in(&bed.folder.join("test"), script);
    assert_eq!(ran.exit, Some(0), "{}", ran.text);
    assert!(bed.refused().is_empty(), "{:?}", bed.refused());
    let left: Vec<String> = running(&bed).into_iter().map(|(namespace, ..)| namespace).collect();
    assert_eq!(left, ["prod", "default"]);
}
