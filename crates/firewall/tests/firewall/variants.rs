//! The stale script in each shape that it can take, against a daemon in enforce: foreign apps keep pid and uptime.

use palisade_core::record::{Called, Ruling};
use palisade_core::{Code, Record};
use palisade_testkit::installed;
use serde_json::{Value, json};

use crate::bed::{Bed, ask, call};
use crate::epochs::{job, require};

/// Name, pid and start of what runs.
fn running(bed: &Bed) -> Vec<(String, u64, u64)> {
    let reply = ask(bed, &call("getMonitorData", &json!([{}])));
    let list = reply["args"][0].as_array().unwrap();
    let entry = |entry: &Value| {
        let (pid, uptime) = (entry["pid"].as_u64()?, entry["pm2_env"]["pm_uptime"].as_u64()?);
        (pid > 0).then_some((entry["name"].as_str()?.to_owned(), pid, uptime))
    };
    list.iter().filter_map(entry).collect()
}

fn is_own(name: &str) -> bool {
    name.starts_with("flyer-crawler") && !name.ends_with("-test")
}

/// Lines that are judged whole, or are about foreign processes only: nothing at all is touched, whoever calls.
const NOTHING: [&str; 16] = [
    "pm2 delete all",
    "pm2 stop all",
    "pm2 restart all",
    "pm2 reload all",
    "pm2 delete default",
    "pm2 delete /flyer/",
    "pm2 stop /^flyer-crawler-/",
    "pm2 delete FOLDER/all.json",
    "pm2 delete /bin/sleep",
    "pm2 delete flyer-crawler-api stock-alert",
    "pm2 sendSignal SIGKILL stock-alert",
    "pm2 scale stock-alert 3",
    "NODE_ENV=test pm2 restart stock-alert --update-env",
    "pm2 startOrRestart FOLDER/all.json",
    "pm2 kill",
    "pm2 update",
];

/// Those that are called at a terminal: what PM2's command line hides there, the guard writes to it. docs/firewall.md has
/// what each release says by itself.
const AT_A_TERMINAL: [&str; 3] = ["pm2 kill", "pm2 update", "pm2 delete flyer-crawler-api stock-alert"];

/// The script as it is run.
fn placed(script: &str) -> String {
    match script.strip_prefix("pm2 ").filter(|_| AT_A_TERMINAL.contains(&script)) {
        Some(words) => format!("script -qec \"node $PM2 {words}\" /dev/null"),
        None => script.to_owned(),
    }
}

/// Programs that show no such line: each of their calls is judged, and one's own may be gone at the first refusal.
const OWN_AT_MOST: [&str; 4] = [
    "for name in flyer-crawler-api flyer-crawler-worker flyer-crawler-api-test stock-alert projectium-site; do \
     pm2 delete $name; done",
    "pm2 jlist --silent > FOLDER/list.json; for id in 0 1 2 3 4 5 6 7; do pm2 delete $id; done",
    "node -e 'const pm2 = require(\"PM2_MODULE\"); pm2.connect(() => pm2.delete(\"all\", () => process.exit(0)))'",
    "pm2 resurrect",
];

/// A newer `pm2` that somebody installed: it lists, starts no second daemon, and is refused like any other.
fn is_refused_from_a_newer_release(bed: &Bed) {
    let newer = installed("7.0.4").unwrap().join("node_modules/pm2/bin/pm2");
    let before = (bed.pm2.daemons(), running(bed));
    for (words, exit) in [("list", 0), ("delete all", 1)] {
        let ran = bed.script_in(&bed.nowhere(), &format!("node {} {words}", newer.display()));
        assert_eq!(
            (ran.exit, bed.pm2.daemons(), running(bed)),
            (Some(exit), before.0.clone(), before.1.clone()),
            "{}",
            ran.text
        );
    }
}

/// A workflow of an older epoch changes nothing, of its own app neither; the current one does.
fn refuses_an_older_epoch(bed: &Bed) {
    require(bed, 7);
    let (own, before, told) = (bed.app_folder("flyer-crawler-api"), running(bed), bed.refused().len());
    for (run, epoch, word, code) in
        [("60", Some("6"), "restart", Code::StaleWorkflow), ("61", None, "delete", Code::NoEpoch)]
    {
        let ran = bed.pm2_with(&own, &[word, "flyer-crawler-api"], &job(run, epoch));
        assert_eq!(ran.exit, Some(1), "{}", ran.text);
        let refused = bed.refused();
        let named = |called: &Called| called.findings.iter().any(|finding| finding.code == code);
        assert!(refused[told..].iter().any(|(_, called)| named(called)), "{code}: {refused:?}");
    }
    assert_eq!(running(bed), before);
    let ran = bed.pm2_with(&own, &["restart", "flyer-crawler-worker"], &job("62", Some("7")));
    assert_eq!(ran.exit, Some(0), "{}", ran.text);
}

fn holds_on(version: &str) {
    let bed = Bed::of(version, "enforce");
    bed.directly(&["save"]);
    let (daemon, before) = (bed.pm2.daemon_pid(), running(&bed));
    assert_eq!(before.len(), 8, "{version}");
    let module = installed(version).unwrap().join("node_modules/pm2").display().to_string();
    let run = |place: &std::path::Path, script: &str| {
        let folder = bed.folder.path().display().to_string();
        bed.script_in(place, &script.replace("FOLDER", &folder).replace("PM2_MODULE", &module))
    };
    let places = [bed.app_folder("flyer-crawler-api"), bed.nowhere()];
    // On the other releases from the app's own folder only, which is the harder case.
    let places = &places[..if version == "7.0.4" { 2 } else { 1 }];
    for script in NOTHING {
        for place in places {
            let told = bed.refused().len();
            let ran = run(place, &placed(script));
            assert_eq!(
                (bed.pm2.daemon_pid(), running(&bed)),
                (daemon, before.clone()),
                "{version} {script}: {}",
                ran.text
            );
            if AT_A_TERMINAL.contains(&script) {
                let is_told = ran.text.contains("PAL-") && ran.text.contains("journal record");
                assert!(ran.exit == Some(1) && is_told, "{version} {script} {:?}: {}", ran.exit, ran.text);
            }
            let refused = &bed.refused()[told..];
            assert!(!refused.is_empty(), "{version} {script}: no refusal is on record\n{}", ran.text);
            let own = std::process::id();
            let names_us = |record: &Record| {
                record.actor.observed.ancestors.iter().any(|parent| parent.process.pid == own)
            };
            let is_named = refused.iter().any(|(record, _)| names_us(record));
            assert!(is_named, "{version} {script}: no record names its caller");
        }
    }
    if version != "7.0.4" {
        // Of that release there are tests of their own.
        refuses_an_older_epoch(&bed);
        is_refused_from_a_newer_release(&bed);
    }
    for script in OWN_AT_MOST {
        for place in places {
            let ran = run(place, script);
            let foreign = |list: Vec<(String, u64, u64)>| -> Vec<_> {
                list.into_iter().filter(|(name, ..)| !is_own(name)).collect()
            };
            let found = (bed.pm2.daemon_pid(), foreign(running(&bed)));
            assert_eq!(found, (daemon, foreign(before.clone())), "{version} {script}: {}", ran.text);
            assert!(bed.calls().iter().all(|(_, called)| called.ruling != Ruling::Observed));
        }
    }
    // No kill flag stuck, and the daemon still works for its administrator.
    let ran = bed.directly(&["restart", "stock-alert"]);
    assert!(!ran.text.contains("being killed"), "{version}: {}", ran.text);
}

#[test]
fn every_shape_of_a_stale_script_leaves_foreign_apps_alone_on_pm2_7() {
    holds_on("7.0.4");
}

#[test]
fn every_shape_of_a_stale_script_leaves_foreign_apps_alone_on_pm2_6() {
    holds_on("6.0.14");
}

#[test]
fn every_shape_of_a_stale_script_leaves_foreign_apps_alone_on_pm2_5() {
    holds_on("5.4.3");
}

#[test]
fn two_stale_callers_at_once_take_nothing_at_all() {
    let bed = Bed::new("enforce");
    let before = running(&bed);
    let folders = [bed.nowhere(), bed.app_folder("flyer-crawler-api-test"), bed.app_folder("stock-alert")];
    std::thread::scope(|scope| {
        for folder in &folders {
            scope.spawn(|| bed.pm2_in(folder, &["delete", "all"]));
        }
    });
    assert_eq!(running(&bed), before);
}
