//! The list: everything a judge needs, and no value.

use palisade_core::process::{ExecMode, Status};
use palisade_core::redact::Salt;
use palisade_pm2::client::Answer;
use palisade_pm2::glance::Glance;
use palisade_pm2::list::{ListError, Listing};
use palisade_pm2::methods::Call;
use palisade_pm2::wire::{Arg, Decoder};
use palisade_testkit::{App, EightApps, PATIENCE, Pm2};
use serde_json::{Value, json};

use crate::bed::{Bed, ablate, block_on, connect};

fn salt() -> Salt {
    Salt::new([3; 32])
}

fn entry(pm_id: &Value, changes: &Value) -> Value {
    let mut entry = json!({
        "name": "api", "pm_id": pm_id, "pid": 42, "monit": { "memory": 1, "cpu": 0 },
        "pm2_env": {
            "name": "api", "status": "online", "unique_id": "u-1", "namespace": "default",
            "exec_mode": "fork_mode", "restart_time": 3, "pm_cwd": "/srv", "pm_exec_path": "/srv/api.js",
            "DATABASE_URL": "postgres://hunter2", "NODE_ENV": "production", "kill_timeout": 5000,
            "env": { "DATABASE_URL": "postgres://hunter2", "NODE_ENV": "production", "PORT": 3000,
                     "unique_id": "u-1" },
        },
    });
    let settings = entry["pm2_env"].as_object_mut().expect("an object");
    settings.extend(changes.as_object().expect("an object").clone());
    settings.retain(|_, value| *value != json!("absent"));
    entry
}

fn parse(entries: &[Value]) -> Result<Listing, ListError> {
    Listing::parse(&Value::from(entries).to_string(), &salt())
}

#[test]
fn canonical_redaction_no_secret_of_any_app_is_in_a_snapshot_or_in_any_debug_form() {
    ablate();
    for version in ["7.0.4", "6.0.14", "5.4.3"] {
        let fixture = EightApps::start(version);
        let bed = Bed::new(fixture.pm2);
        let eight = EightAppsCanaries(fixture.canaries);
        let snapshot = block_on(bed.snapshot());
        let bundle =
            bed.bundles().read(snapshot.bundle.as_deref().expect("one was kept")).expect("it is there");
        let shown = [
            serde_json::to_string(&snapshot).expect("it serialises"),
            format!("{snapshot:?}"),
            format!("{bundle:?} {:?}", bundle.processes()),
        ];
        for text in shown {
            assert_eq!(eight.leak_in(&text), None, "{version}");
        }
        let names: Vec<&str> = snapshot.processes.iter().map(|process| process.pin.name.as_str()).collect();
        assert_eq!(names, EightApps::NAMES, "{version}");
        for process in &snapshot.processes {
            assert_eq!(process.status, Status::Online);
            assert_eq!(process.exec_mode, ExecMode::Fork);
            assert!(process.pin.process.is_some());
            assert!(process.environment.contains_key("DATABASE_URL"));
            assert!(!process.environment.contains_key("unique_id"));
            let named = if process.pin.name.ends_with("-test") { "test" } else { "production" };
            assert_eq!(process.environment_names["NODE_ENV"], named);
        }
    }
}

struct EightAppsCanaries(std::collections::BTreeMap<String, String>);

impl EightAppsCanaries {
    fn leak_in(&self, text: &str) -> Option<&str> {
        self.0.iter().find(|(_, canary)| text.contains(canary.as_str())).map(|(name, _)| name.as_str())
    }
}

#[test]
fn only_names_fingerprints_and_environment_names_are_left_of_variables() {
    let listing = parse(&[entry(&json!(0), &json!({}))]).expect("as PM2 gives it");
    let process = &listing.entries[0].process;
    let names: Vec<&str> = process.environment.keys().map(String::as_str).collect();
    assert_eq!(names, ["DATABASE_URL", "NODE_ENV", "PORT"]);
    assert_eq!(process.environment["PORT"], salt().fingerprint("PORT", "3000"));
    assert_eq!(process.environment_names, [("NODE_ENV".to_owned(), "production".to_owned())].into());
    assert!(!serde_json::to_string(process).expect("it serialises").contains("hunter2"));
    assert!(!format!("{listing:?}").contains("hunter2"));
    assert!(listing.entries[0].secret_configuration().get().contains("hunter2"), "a restore needs it");
}

#[test]
fn without_fingerprints_nothing_else_differs() {
    let json = Value::from([entry(&json!(0), &json!({}))].as_slice()).to_string();
    let mut full = Listing::parse(&json, &salt()).expect("as PM2 gives it").entries.remove(0).process;
    let bare = Listing::parse_without_fingerprints(&json).expect("as PM2 gives it").entries.remove(0).process;
    full.environment.clear();
    assert_eq!(bare, full);
    assert_eq!(bare.environment_names, [("NODE_ENV".to_owned(), "production".to_owned())].into());
}

/// What a guard reads before it rules is what everybody else reads.
#[test]
fn a_glance_sees_the_same_processes() {
    let golden = |version: &str| {
        let path = format!("{}/tests/golden/{version}-list.bin", env!("CARGO_MANIFEST_DIR"));
        let mut decoder = Decoder::new();
        decoder.push(&std::fs::read(path).expect("it is committed"));
        let frame = decoder.next_frame().expect("a frame").expect("whole");
        let [Arg::Json(json), _] = frame.args().expect("readable")[..] else { panic!("a reply") };
        let reply: Value = serde_json::from_str(json).expect("JSON");
        reply["args"][0].to_string()
    };
    let odd = [
        entry(
            &json!(0),
            &json!({ "unique_id": "absent", "created_at": 5, "watch": ["src"], "namespace": null }),
        ),
        entry(
            &json!(1),
            &json!({ "exec_mode": "cluster", "pmx_module": true, "env": { "NODE_ENV": 1, "X": [{}] } }),
        ),
        entry(&json!("_old_1"), &json!({ "env": "absent" })),
    ];
    let lists =
        ["5.4.3", "6.0.14", "7.0.4"].map(golden).into_iter().chain([Value::from(odd.as_slice()).to_string()]);
    for json in lists {
        let full = Listing::parse_without_fingerprints(&json).expect("a list").entries;
        let glanced: Vec<Glance> = serde_json::from_str(&json).expect("a list");
        let glanced: Vec<_> = glanced.into_iter().filter_map(Glance::process).collect();
        assert!(!full.is_empty());
        assert_eq!(glanced, full.into_iter().map(|entry| entry.process).collect::<Vec<_>>());
    }
    let other = [entry(&json!(0), &json!({ "exec_mode": "thread_mode" }))];
    assert!(serde_json::from_str::<Vec<Glance>>(&Value::from(other.as_slice()).to_string()).is_err());
}

#[test]
fn the_fuzz_corpus_is_a_list_or_an_error_and_the_same_with_and_without_fingerprints() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/list");
    let (mut lists, mut errors) = (0, 0);
    for entry in std::fs::read_dir(folder).expect("it is committed") {
        let text = std::fs::read_to_string(entry.expect("readable").path()).expect("text");
        let bare = Listing::parse_without_fingerprints(&text);
        match (Listing::parse(&text, &salt()), bare) {
            (Ok(full), Ok(bare)) => {
                let pins = |listing: &Listing| -> Vec<_> {
                    listing.entries.iter().map(|entry| entry.process.pin.clone()).collect()
                };
                assert_eq!((pins(&full), full.retiring), (pins(&bare), bare.retiring));
                lists += 1;
            }
            (Err(full), Err(bare)) => {
                assert_eq!(full.to_string(), bare.to_string());
                errors += 1;
            }
            (full, bare) => panic!("only one is an error: {full:?} {bare:?}"),
        }
    }
    assert!(lists > 0 && errors > 0, "{lists} lists and {errors} errors");
}

#[test]
fn a_status_of_a_later_pm2_survives() {
    let listing = parse(&[entry(&json!(0), &json!({ "status": "hibernating" }))]).expect("a word is a word");
    assert_eq!(listing.entries[0].process.status, Status::Other("hibernating".to_owned()));
}

#[test]
fn entries_are_read_in_every_form_that_pm2_gives_them() {
    let watched = json!({ "watch": ["src"], "pmx_module": true, "exec_mode": "cluster_mode" });
    let old = json!({ "unique_id": "absent", "created_at": 17, "env": "absent", "namespace": "absent" });
    let mut never_started = entry(&json!(2), &json!({ "status": "stopped" }));
    never_started.as_object_mut().expect("an object").remove("pid");
    let stopped = {
        let mut entry = entry(&json!(3), &json!({}));
        entry["pid"] = json!(0);
        entry
    };
    let listing = parse(&[
        entry(&json!(0), &watched),
        entry(&json!(1), &old),
        never_started,
        stopped,
        entry(&json!("_old_0"), &json!({})),
    ])
    .expect("all of them are known");
    let [first, second, third, fourth] = &listing.entries[..] else { panic!("{listing:?}") };
    assert!(first.process.watch && first.process.module && first.process.exec_mode == ExecMode::Cluster);
    assert_eq!(second.process.pin.unique_id, "created-at-17");
    assert_eq!((second.process.namespace.as_str(), second.process.environment.len()), ("default", 0));
    assert_eq!((third.pid, fourth.pid, first.pid), (None, None, Some(42)));
    assert_eq!(listing.retiring, ["api"], "a worker that a reload replaced has no number of its own");
    assert_eq!(first.patience.as_millis(), 8000, "kill_timeout and the time to come up");
}

#[test]
fn a_list_that_cannot_be_judged_is_an_error_that_quotes_no_value() {
    let unknown = parse(&[entry(&json!(0), &json!({ "exec_mode": "wasm_mode" }))]).expect_err("unknown");
    assert!(matches!(unknown, ListError::ExecMode { .. }), "{unknown}");
    let wrong = parse(&[entry(&json!(0), &json!({ "env": "postgres://hunter2" }))]).expect_err("no object");
    let source = std::error::Error::source(&wrong).map(ToString::to_string).unwrap_or_default();
    assert!(!format!("{wrong} {source} {wrong:?}").contains("hunter2"), "{source}");
    assert!(Listing::parse("null", &salt()).is_err());
}

#[test]
fn a_list_of_a_megabyte_is_read_whole() {
    let mut changes = json!({});
    let many: serde_json::Map<String, Value> =
        (0..60).map(|number| (format!("VARIABLE_{number}"), json!("x".repeat(30)))).collect();
    changes.as_object_mut().expect("an object").extend(many.clone());
    changes["env"] = Value::Object(many);
    let entries: Vec<Value> = (0..200).map(|pm_id| entry(&json!(pm_id), &changes)).collect();
    let json = Value::from(entries).to_string();
    assert!(json.len() > 1_000_000, "{} bytes", json.len());
    let listing = Listing::parse(&json, &salt()).expect("as PM2 gives it");
    assert_eq!(listing.entries.len(), 200);
}

#[test]
fn a_real_cluster_is_listed_as_its_instances_which_share_one_uuid() {
    let pm2 = Pm2::start("7.0.4");
    pm2.start_app(App::cluster("site", 2));
    let listing = block_on(async {
        match connect(pm2.home()).await.call(&Call::list(), PATIENCE).await {
            Answer::Done(reply) => Listing::parse(reply.json(), &salt()).expect("as PM2 gives it"),
            other => panic!("{other:?}"),
        }
    });
    let [one, two] = &listing.entries[..] else { panic!("{listing:?}") };
    assert_eq!(one.process.exec_mode, ExecMode::Cluster);
    assert_eq!(one.process.pin.unique_id, two.process.pin.unique_id, "so a UUID alone pins nothing");
    assert_ne!((one.process.pin.pm_id, one.pid), (two.process.pin.pm_id, two.pid));
}

#[test]
fn captured_lists_of_three_versions_are_read_alike() {
    for version in ["7.0.4", "6.0.14", "5.4.3"] {
        let path = format!("{}/tests/golden/{version}-list.bin", env!("CARGO_MANIFEST_DIR"));
        let mut decoder = Decoder::new();
        decoder.push(&std::fs::read(path).expect("it was recorded"));
        let frame = decoder.next_frame().expect("a frame").expect("a whole one");
        let args = frame.args().expect("text");
        let [Arg::Json(json), Arg::Text(_)] = args[..] else { panic!("{args:?}") };
        let body: Value = serde_json::from_str(json).expect("JSON");
        let listing = Listing::parse(&body["args"][0].to_string(), &salt()).expect("as PM2 gives it");
        let seen: Vec<_> = listing
            .entries
            .iter()
            .map(|entry| {
                (entry.process.pin.name.as_str(), entry.process.status.as_str(), entry.pid.is_some())
            })
            .collect();
        let expected = [("sleeper", "stopped", false), ("site", "online", true), ("site", "online", true)];
        assert_eq!(seen, expected, "{version}");
        let sleeper = &listing.entries[0].process;
        assert_eq!(sleeper.environment_names["NODE_ENV"], "test");
        assert_eq!(sleeper.environment["PORT"], salt().fingerprint("PORT", "3000"));
        assert_eq!(sleeper.script.as_deref(), Some("/bin/sleep"));
    }
}
