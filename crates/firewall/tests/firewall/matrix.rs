//! Deaths in the middle of a burst, more clients than there is room for, and clients older than the firewall.

use std::os::unix::net::UnixStream;

use palisade_testkit::{eventually, installed, process};
use serde_json::json;

use crate::bed::{Bed, ask, call};

const OWN: [&str; 3] = ["flyer-crawler-api", "flyer-crawler-worker", "flyer-crawler-analytics-worker"];

fn foreign(bed: &Bed) -> Vec<(String, u64)> {
    bed.running().into_iter().filter(|(name, _)| !OWN.contains(&name.as_str())).collect()
}

/// A good deployment and a stale `pm2 delete all` at once, and `fault` when the first calls are on record.
fn burst(fault: impl FnOnce(&Bed)) -> (Bed, [Option<i32>; 2]) {
    let bed = Bed::new("enforce");
    let (daemon, before) = (bed.pm2.daemon_pid(), foreign(&bed));
    let file = bed.ecosystem_of("flyer.json", &OWN);
    let (own, nowhere) = (bed.app_folder(OWN[0]), bed.nowhere());
    let deploy = format!(
        "set -e\npm2() {{ timeout 15 node \"$PM2\" \"$@\"; }}\nfor name in {}; do pm2 delete $name; done\npm2 start {file}",
        OWN.join(" ")
    );
    // A client whose connection was lost may wait for ever: that is PM2's, and ends here.
    let stale = "timeout 15 node \"$PM2\" delete all";
    let exits = std::thread::scope(|scope| {
        let good = scope.spawn(|| bed.script_in(&own, &deploy).exit);
        let bad = scope.spawn(|| bed.script_in(&nowhere, stale).exit);
        eventually("the burst is on", || (!bed.calls().is_empty()).then_some(()));
        fault(&bed);
        [good.join().unwrap(), bad.join().unwrap()]
    });
    assert_eq!((bed.pm2.daemon_pid(), foreign(&bed)), (daemon, before));
    (bed, exits)
}

#[test]
fn a_judge_killed_in_a_burst_costs_the_good_deployment_nothing_and_gives_the_stale_one_nothing() {
    let (bed, [good, bad]) = burst(|bed| process::kill(bed.judges()[0]));
    assert_eq!((good, bad, bed.running().len()), (Some(0), Some(1), 8));
}

#[test]
fn a_judge_frozen_in_a_burst_costs_the_good_deployment_time_only() {
    let (bed, [good, bad]) = burst(|bed| process::freeze(bed.judges()[0]));
    assert_eq!((good, bad, bed.running().len()), (Some(0), Some(1), 8));
}

/// Connections are lost with their holder, so the good deployment may have to be called again; nobody else pays.
fn without_its_holder(fault: fn(u32)) {
    let (bed, [_, bad]) = burst(|bed| fault(bed.holders()[0]));
    assert_ne!(bad, Some(0));
    eventually("one holder and one judge", || {
        (bed.holders().len() == 1 && bed.judges().len() == 1).then_some(())
    });
    assert_eq!(bed.pm2.daemons().len(), 1);
    assert_eq!(bed.pm2_in(&bed.nowhere(), &["list"]).exit, Some(0));
    let before = bed.running();
    assert_eq!(bed.pm2_in(&bed.nowhere(), &["delete", "all"]).exit, Some(1));
    assert_eq!(bed.running(), before);
}

#[test]
fn a_holder_killed_in_a_burst_costs_nobody_else_anything() {
    without_its_holder(process::kill);
}

#[test]
fn a_holder_frozen_in_a_burst_costs_nobody_else_anything() {
    without_its_holder(process::freeze);
}

#[test]
fn more_clients_than_there_is_room_for_end_the_silent_ones_and_keep_nobody_out() {
    let bed = Bed::new("enforce");
    let idle: Vec<UnixStream> = (0..1500).map(|_| bed.socket()).collect();
    for _ in 0..3 {
        assert_eq!(ask(&bed, &call("ping", &json!([{}])))["args"][0]["msg"], "pong");
    }
    let memory = resident(&[bed.holders(), bed.judges()].concat());
    assert!(memory < 96 * 1024, "{memory} KiB");
    drop(idle);
}

/// KiB of memory that these processes have.
fn resident(pids: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default()
    };
    pids.iter().map(of).sum()
}

#[test]
fn an_older_command_line_reads_and_is_refused_like_any_other() {
    let bed = Bed::new("enforce");
    let (daemon, before) = (bed.pm2.daemon_pid(), bed.running());
    for version in ["5.4.3", "6.0.14"] {
        let pm2 = installed(version).unwrap().join("node_modules/pm2/bin/pm2");
        let run = |command: &str| bed.script_in(&bed.nowhere(), &format!("node {} {command}", pm2.display()));
        let list = run("jlist --silent");
        assert!(list.exit == Some(0) && list.text.contains("stock-alert"), "{version} {}", list.text);
        let ran = run("delete all");
        assert_eq!((ran.exit, bed.running()), (Some(1), before.clone()), "{version} {}", ran.text);
        let ran = run("kill");
        assert_eq!((bed.pm2.daemon_pid(), bed.running()), (daemon, before.clone()), "{version} {}", ran.text);
    }
}
