//! The kit itself, on a real PM2.

mod postgres;

use palisade_testkit::{App, EightApps, Pm2, install, installed, process};

#[test]
fn dropping_a_daemon_leaves_neither_it_nor_its_apps_nor_its_home() {
    let pm2 = Pm2::start("7.0.4");
    pm2.start_apps(&[App::sleep("sleeper"), App::cluster("site", 2)]);
    let home = pm2.home().to_owned();
    let daemon = pm2.daemon_pid();
    let running = pm2.running();
    assert_eq!(running.len(), 3);
    drop(pm2);
    assert!(!process::is_running(daemon));
    for (name, pid) in running {
        assert!(!process::is_running(pid), "{name} still runs as {pid}");
    }
    assert!(!home.exists());
    assert!(process::with_variable("PM2_HOME", &home).is_empty());
}

#[test]
fn eight_apps_run_in_the_order_of_their_names_each_with_its_secret() {
    let fixture = EightApps::start("7.0.4");
    let list = fixture.pm2.list();
    let names: Vec<_> = list.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(names, EightApps::NAMES);
    for entry in &list {
        assert_eq!(entry["pm2_env"]["status"], "online");
        let leaked = fixture.leak_in(entry["pm2_env"]["env"]["DATABASE_URL"].as_str().unwrap());
        assert_eq!(leaked, entry["name"].as_str());
    }
}

#[test]
fn an_app_outlives_its_killed_daemon_and_not_the_kit() {
    let pm2 = Pm2::start("7.0.4");
    pm2.start_app(App::sleep("orphan"));
    let (_, pid) = pm2.running()[0].clone();
    pm2.kill_daemon();
    assert!(process::is_running(pid));
    drop(pm2);
    assert!(!process::is_running(pid));
}

#[test]
fn a_version_without_a_lock_file_is_named() {
    let error = installed("4.0.0").unwrap_err().to_string();
    for version in install::VERSIONS {
        assert!(error.contains(version), "{error}");
    }
}
