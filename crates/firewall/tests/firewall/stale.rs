//! The incident: stale scripts and loose commands against a daemon in enforce.

use palisade_core::Code;

use crate::bed::Bed;

/// The codes of each refusal, by method.
fn codes(bed: &Bed) -> Vec<(String, Vec<Code>)> {
    let refused = bed.refused();
    let of = |findings: &[palisade_core::Finding]| findings.iter().map(|finding| finding.code).collect();
    refused.iter().map(|(_, called)| (called.method.clone(), of(&called.findings))).collect()
}

#[test]
fn a_stale_delete_all_from_nowhere_takes_nothing_down_and_is_recorded_with_its_caller() {
    let bed = Bed::new("enforce");
    let (daemon, before) = (bed.pm2.daemon_pid(), bed.running());
    assert_eq!(before.len(), 8);

    let ran = bed.pm2_in(&bed.nowhere(), &["delete", "all"]);
    assert_eq!(ran.exit, Some(1), "{}", ran.text);
    assert!(ran.text.contains("PAL-401") && ran.text.contains("palisade deploy"), "{}", ran.text);
    assert_eq!((bed.pm2.daemon_pid(), bed.running()), (daemon, before));

    let refused = bed.refused();
    assert!(refused.iter().any(|(_, called)| called.method == "deleteProcessId"), "{:?}", codes(&bed));
    let (record, called) = &refused[0];
    let own = std::process::id();
    assert!(record.actor.observed.ancestors.iter().any(|parent| parent.process.pid == own));
    let cwd = bed.nowhere().canonicalize().unwrap();
    assert_eq!(record.actor.observed.cwd.as_deref(), cwd.to_str());
    assert_eq!((called.total, called.scope.clone()), (8, None));
}

#[test]
fn commands_from_nowhere_change_nothing_whatever_they_name() {
    let bed = Bed::new("enforce");
    let (daemon, before) = (bed.pm2.daemon_pid(), bed.running());
    // What stands for many is in the table of shapes.
    let commands: [&[&str]; 5] = [
        &["stop", "all"],
        &["sendSignal", "SIGKILL", "stock-alert"],
        &["kill"],
        &["update"],
        &["scale", "stock-alert", "3"],
    ];
    for command in commands {
        let ran = bed.pm2_in(&bed.nowhere(), command);
        let found = (bed.pm2.daemon_pid(), bed.running());
        assert_eq!(found, (daemon, before.clone()), "{command:?} {}", ran.text);
    }
    let loop_of_names =
        "for name in flyer-crawler-api stock-alert projectium-site; do pm2 delete $name; done; true";
    let ran = bed.script_in(&bed.nowhere(), loop_of_names);
    assert!(ran.text.contains("PAL-401"), "{}", ran.text);
    let restart = ["restart", "flyer-crawler-api", "--update-env"];
    bed.pm2_with(&bed.nowhere(), &restart, &[("NODE_ENV", "test")]);
    assert_eq!((bed.pm2.daemon_pid(), bed.running()), (daemon, before));
    let refused = codes(&bed);
    for method in ["sendSignalToProcessName", "killMe", "notifyKillPM2", "restartProcessId", "stopProcessId"]
    {
        assert!(refused.iter().any(|(name, _)| name == method), "{method} is not in {refused:?}");
    }
    let sticky = bed.directly(&["restart", "stock-alert"]);
    assert!(!sticky.text.contains("being killed"), "{}", sticky.text);
}

#[test]
fn the_apps_own_stale_script_takes_at_most_its_own() {
    let bed = Bed::new("enforce");
    let (daemon, before) = (bed.pm2.daemon_pid(), bed.running());
    let own = bed.app_folder("flyer-crawler-api");

    let restart = ["restart", "flyer-crawler-api", "--update-env"];
    let ran = bed.pm2_with(&own, &restart, &[("NODE_ENV", "test")]);
    assert!(ran.text.contains("PAL-110"), "{}", ran.text);
    assert_eq!(bed.running(), before);

    let ran = bed.pm2_in(&own, &["delete", "all"]);
    assert_eq!(ran.exit, Some(1), "{}", ran.text);
    let is_foreign = |name: &str| name.ends_with("-test") || !name.starts_with("flyer-crawler");
    let foreign = |list: Vec<(String, u64)>| -> Vec<_> {
        list.into_iter().filter(|(name, _)| is_foreign(name)).collect()
    };
    assert_eq!(foreign(bed.running()), foreign(before));
    assert_eq!(bed.pm2.daemon_pid(), daemon);
    assert!(codes(&bed).iter().any(|(_, codes)| codes.contains(&Code::ForeignTarget)), "{:?}", codes(&bed));
}

#[test]
fn after_the_first_refusal_a_script_takes_nothing_more_down() {
    let bed = Bed::new("enforce");
    let before = bed.running();
    let script = "pm2 delete stock-alert; pm2 delete flyer-crawler-api; true";
    let ran = bed.script_in(&bed.app_folder("flyer-crawler-api"), script);
    assert!(ran.text.contains("PAL-404"), "{}", ran.text);
    assert_eq!(bed.running(), before);
    // Another session is another tree.
    let ran = bed.pm2_in(&bed.app_folder("flyer-crawler-api"), &["delete", "flyer-crawler-api"]);
    assert_eq!((ran.exit, bed.running().len()), (Some(0), 7), "{}", ran.text);
}

#[test]
fn two_stale_scripts_at_once_take_no_more_than_one() {
    let bed = Bed::new("enforce");
    let before = bed.running();
    let folders = [bed.nowhere(), bed.app_folder("flyer-crawler-api-test")];
    std::thread::scope(|scope| {
        for folder in &folders {
            scope.spawn(|| bed.pm2_in(folder, &["delete", "all"]));
        }
    });
    let is_test = |name: &str| name.ends_with("-test");
    let left = bed.running();
    assert!(
        before.iter().filter(|(name, _)| !is_test(name)).all(|running| left.contains(running)),
        "{left:?}"
    );
}
