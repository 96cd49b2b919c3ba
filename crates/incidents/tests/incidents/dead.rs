//! Daemons that are not there, or are there twice: never an empty list, never a new daemon.

use palisade_testkit::{EightApps, Fleet, Pm2, process};

use crate::site::{Caller, EIGHT, Ended as _, PRODUCTION, Site};

const COMMANDS: [&[&str]; 6] = [
    &["pm2", "list"],
    &["pm2", "delete", "--app=flyer-crawler", "--environment=production"],
    &["pm2", "stop", "--app=flyer-crawler", "--environment=production", "--ignore-not-found"],
    &["pm2", "restart", "--app=flyer-crawler", "--environment=production", "--dry-run"],
    &["pm2", "snapshot"],
    &["pm2", "runbook"],
];

#[track_caller]
fn unreachable(site: &Site<'_>, code: &str) -> String {
    let mut said = String::new();
    for words in COMMANDS {
        let ran = site.palisade(&Caller::job(), words).with(7);
        said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains(code), "{words:?}: {said}");
    }
    said
}

#[test]
fn where_no_daemon_ever_ran_every_command_says_so_and_starts_none() {
    let pm2 = Pm2::home_only("7.0.4");
    let site = Site::new(&pm2, EIGHT);
    unreachable(&site, "PAL-005");
    assert!(pm2.daemons().is_empty());
    assert!(!pm2.rpc_socket().exists());
}

#[test]
fn a_killed_daemon_leaves_its_socket_and_is_unreachable_not_empty() {
    let host = EightApps::start("7.0.4");
    let site = Site::new(&host.pm2, EIGHT);
    site.palisade(&Caller::job(), &["pm2", "snapshot"]).with(0);
    let before = Fleet::of(&host.pm2);
    host.pm2.kill_daemon();
    assert!(host.pm2.rpc_socket().exists(), "the socket has to be a stale one");
    unreachable(&site, "PAL-005");
    site.palisade(&Caller::job(), &["pm2", "restore"]).with(7);
    assert!(host.pm2.daemons().is_empty());
    assert_eq!(Fleet::of(&host.pm2).apps, before.apps, "orphans run on");
}

#[test]
fn a_frozen_daemon_is_unreachable_and_keeps_its_apps() {
    let host = EightApps::start("7.0.4");
    let site = Site::new(&host.pm2, EIGHT);
    let before = Fleet::of(&host.pm2);
    let daemon = host.pm2.daemon_pid();
    process::freeze(daemon);
    let ran = site.operate(&Caller::job(), "delete", PRODUCTION, &[]);
    process::thaw(daemon);
    ran.with(7);
    assert_eq!(Fleet::of(&host.pm2), before);
}

#[test]
fn two_daemons_on_one_home_are_found_and_named() {
    let host = EightApps::start("7.0.4");
    let site = Site::new(&host.pm2, EIGHT);
    let first = host.pm2.daemon_pid();
    let second = host.pm2.start_second_daemon();
    let before = Fleet::of(&host.pm2);
    let said = unreachable(&site, "PAL-006");
    for pid in [first, second] {
        assert!(said.contains(&pid.to_string()), "pid {pid} is not named: {said}");
    }
    assert_eq!(Fleet::of(&host.pm2), before);
}
