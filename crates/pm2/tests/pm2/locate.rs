//! Two daemons on one home.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use palisade_core::Code;
use palisade_pm2::locate::{Location, Origin};
use palisade_testkit::{App, Pm2, Scratch, process};

use crate::bed::{Bed, block_on};

#[test]
fn one_daemon_on_a_home_is_identified_by_its_process() {
    let bed = Bed::new(Pm2::start("7.0.4"));
    let daemon = block_on(bed.identified()).expect("it runs");
    assert_eq!(daemon.process.pid, bed.pm2.daemon_pid());
    assert_eq!(Some(daemon.process.start_ticks), process::start_ticks(daemon.process.pid));
    assert_eq!(daemon.version, "7.0.4");
    assert_eq!(daemon.home, bed.pm2.home().display().to_string());
}

#[test]
fn two_daemons_on_one_home_are_detected_and_both_are_named() {
    let bed = Bed::new(Pm2::start("7.0.4"));
    bed.pm2.start_app(App::sleep("invisible"));
    let first = bed.pm2.daemon_pid();
    let second = bed.pm2.start_second_daemon();
    let hidden = [("PM2_DAEMON_RPC_PORT", bed.pm2.home().join("rpc2.sock").display().to_string())];
    let seen = bed.pm2.pm2_with(&["jlist"], &hidden.each_ref().map(|(name, path)| (*name, path.as_str())));
    assert_eq!(seen.stdout.trim(), "[]", "to the second daemon's callers the fleet looks empty");
    let identified = block_on(bed.identified()).expect_err("there are two");
    // A list looks for daemons too, though not among the children of the one that answers.
    let listed = block_on(bed.resource().list()).expect_err("there are two");
    for fault in [identified, listed] {
        assert_eq!(fault.kind.code(), Code::TwoDaemons);
        for pid in [first, second] {
            assert!(fault.message.contains(&pid.to_string()), "{} does not name {pid}", fault.message);
        }
    }
    process::kill(second);
    process::wait_gone(second);
    block_on(bed.identified()).expect("one is left");
    assert_eq!(block_on(bed.resource().list()).expect("one is left").len(), 1);
}

#[test]
fn a_left_over_pid_file_is_no_second_daemon() {
    let bed = Bed::new(Pm2::start("7.0.4"));
    std::fs::write(bed.pm2.home().join("pm2.pid"), "1").expect("the home is ours");
    block_on(bed.identified()).expect("process 1 is no daemon");
}

#[test]
fn a_worker_that_still_bears_its_daemons_title_is_no_second_daemon() {
    let bed = Bed::new(Pm2::start("7.0.4"));
    let home = bed.pm2.home().canonicalize().expect("it exists");
    // Between fork and exec a worker of the daemon shows the daemon's title. This pair keeps that moment.
    let titled = format!("process.title = 'PM2 v7.0.4: God Daemon ({})';", home.display());
    let parent =
        "require('child_process').spawn(process.execPath, ['-e', process.argv[1]], {stdio: 'inherit'});";
    let forever = "console.log(process.pid); setInterval(() => {}, 1000);";
    let mut pair = Command::new("node")
        .args(["-e", &format!("{titled}{parent}{forever}"), &format!("{titled}{forever}")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("node is installed");
    let lines = BufReader::new(pair.stdout.take().expect("it is piped")).lines();
    let pids: Vec<u32> = lines.take(2).filter_map(|line| line.ok()?.parse().ok()).collect();
    let fault = block_on(bed.identified()).expect_err("the parent is a second daemon");
    for pid in &pids {
        process::kill(*pid);
    }
    pair.wait().expect("it was killed");
    assert_eq!(pids.len(), 2);
    assert_eq!(
        (fault.kind.code(), fault.message.matches("pid ").count()),
        (Code::TwoDaemons, 2),
        "{}",
        fault.message
    );
    let parent = format!("pid {} ", pair.id());
    assert!(fault.message.contains(&parent), "{} does not name {parent}", fault.message);
}

/// Only a daemon's children are none: whatever else answers on a daemon's socket may be a daemon's parent.
#[test]
fn a_daemon_below_who_was_reached_is_found_where_that_one_is_no_daemon() {
    let folder = Scratch::new();
    let home = folder.path().canonicalize().expect("it exists");
    let location = Location { socket: home.join("rpc.sock"), home: home.clone(), origin: Origin::Explicit };
    let title = format!(
        "process.title = 'PM2 v7.0.4: God Daemon ({})'; console.log(process.pid); setInterval(() => {{}}, 1000);",
        home.display()
    );
    // The kernel lists a process's children by the thread that made them: this one has one thread.
    let mut parent = Command::new("sh")
        .args(["-c", "node -e \"$0\" & wait", &title])
        .stdout(Stdio::piped())
        .spawn()
        .expect("there is a shell");
    let line = BufReader::new(parent.stdout.take().expect("it is piped")).lines().next();
    let daemon: u32 = line.and_then(|line| line.ok()?.parse().ok()).expect("it says its number");
    let reached = palisade_host::process::stat(parent.id()).expect("it runs").process;
    let found = location.daemons_beside(reached);
    process::kill(daemon);
    parent.wait().expect("its child has ended");
    let found: Vec<u32> = found.expect("processes can be listed").iter().map(|found| found.pid).collect();
    assert_eq!(found, [daemon]);
}
