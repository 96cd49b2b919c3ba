//! `palisade guard`: a guard in front of a running daemon and away again, while apps run and clients call.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use palisade_core::Exit;
use palisade_testkit::{Fleet, Pm2, eventually, process};

use crate::env::TestEnv;
use crate::said::Said;

/// The firewall of this build, which lies beside the binary under test.
pub(crate) fn firewall() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_palisade")).with_file_name("palisade-firewall");
    assert!(path.is_file(), "{} is not there: cargo build -p palisade-firewall", path.display());
    path
}

/// A command about the guard of this host's daemon: other tests have theirs on the same machine.
pub(crate) fn of_this_home(env: &TestEnv, words: &[&str]) -> Said {
    let home = env.pm2.home().display().to_string();
    env.palisade(&[words, &["--pm2-home", &home]].concat())
}

/// A host that ends its firewalls.
pub(crate) struct Guarded(pub(crate) TestEnv);

impl Guarded {
    pub(crate) fn not_yet() -> Self {
        firewall();
        Self(TestEnv::new())
    }

    pub(crate) fn installed() -> Self {
        let guarded = Self::not_yet();
        guarded.0.palisade(&["guard", "install", "pm2"]).ends(Exit::Done);
        guarded
    }

    /// Pids of this host's firewalls.
    pub(crate) fn firewalls(&self) -> Vec<u32> {
        let home = format!("--pm2-home {}", self.0.pm2.home().display());
        let mut pids = process::titled(|title| title.contains("palisade-firewall") && title.contains(&home));
        pids.sort_unstable();
        pids
    }

    fn list(&self) -> serde_json::Value {
        of_this_home(&self.0, &["guard", "list", "--json"]).json()["guards"][0].clone()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // A judge takes the place of its holder, so both are asked until none is left.
        for _ in 0..100 {
            let home = format!("--pm2-home {}", self.0.pm2.home().display());
            let ours = |title: &str| title.contains("palisade-firewall") && title.contains(&home);
            let left = process::titled(ours);
            if left.is_empty() {
                return;
            }
            left.into_iter().for_each(process::kill);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// `pm2 list` in a loop beside `work`: never an error, never a second daemon.
fn beside_a_client<T>(pm2: &Pm2, work: impl FnOnce() -> T) -> T {
    /// Ends the client, however the work ends.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (done, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let end = Done(&done);
        let client = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let ran = pm2.pm2(&["jlist", "--silent"]);
                assert_eq!(ran.exit, Some(0), "{} {}", ran.stdout, ran.stderr);
                let list: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
                assert_eq!(list.as_array().unwrap().len(), 8, "{}", ran.stdout);
                assert_eq!(pm2.daemons().len(), 1);
                calls.fetch_add(1, Ordering::Relaxed);
            }
        });
        let more = |at_least: u64| {
            let seen = calls.load(Ordering::Relaxed);
            eventually("the client goes on", || {
                let enough = calls.load(Ordering::Relaxed) >= seen + at_least;
                (enough || client.is_finished()).then_some(())
            });
        };
        more(1);
        let result = work();
        more(2);
        drop(end);
        client.join().unwrap();
        result
    })
}

fn install(env: &TestEnv) -> Said {
    env.palisade(&["guard", "install", "pm2"]).ends(Exit::Done)
}

#[test]
fn install_and_remove_restart_nothing_and_no_client_meets_an_error() {
    let host = Guarded::not_yet();
    let env = &host.0;
    let before = Fleet::of(&env.pm2);
    let said = beside_a_client(&env.pm2, || install(env));
    assert!(said.stdout.contains("none was restarted"), "{}", said.stdout);
    assert!(said.stdout.contains("observe: nothing is refused"), "{}", said.stdout);
    assert_eq!(Fleet::of(&env.pm2), before);
    assert_eq!(host.list()["guarded"], true);
    assert_eq!(host.list()["isolation"], "same-uid");
    // The daemon's own socket lies in a folder that only its user enters, so the mode of the home says nothing of it.
    fs::set_permissions(env.pm2.home(), fs::Permissions::from_mode(0o755)).unwrap();
    let doctor = env.palisade(&["doctor"]).stdout;
    assert!(doctor.contains("the guard stands before a daemon of this same user"), "{doctor}");
    assert!(!doctor.contains("does not pass through Palisade"), "{doctor}");
    assert!(!doctor.contains("may give the daemon orders"), "{doctor}");

    let again = beside_a_client(&env.pm2, || install(env));
    assert!(again.stdout.contains("as before"), "{}", again.stdout);
    assert_eq!(Fleet::of(&env.pm2), before);

    let removed = beside_a_client(&env.pm2, || env.palisade(&["guard", "remove", "pm2"]).ends(Exit::Done));
    assert!(removed.stdout.contains("no app was restarted"), "{}", removed.stdout);
    assert_eq!((Fleet::of(&env.pm2), host.firewalls()), (before.clone(), vec![]));
    let again = env.palisade(&["guard", "remove", "pm2"]).ends(Exit::Done);
    assert!(again.stdout.contains("as before"), "{}", again.stdout);

    install(env);
    assert_eq!((Fleet::of(&env.pm2), host.list()["guarded"].clone()), (before, true.into()));
}

#[test]
fn a_firewall_that_is_gone_is_found_and_mended_without_a_second_daemon() {
    let host = Guarded::installed();
    let env = &host.0;
    let before = Fleet::of(&env.pm2);
    // Both at once, for a judge takes the place of its holder; and again, for one that is just being made has no name yet.
    let said = eventually("the firewall is gone", || {
        host.firewalls().into_iter().for_each(process::kill);
        let said = of_this_home(env, &["guard", "list"]);
        (said.exit == Some(i32::from(Exit::Failure.number()))).then_some(said)
    });
    assert!(said.stdout.contains("NOT guarded") && said.stdout.contains("fix: palisade guard install pm2"));
    install(env);
    assert_eq!(host.list()["guarded"], true);
    assert_eq!(Fleet::of(&env.pm2), before);
    of_this_home(env, &["guard", "list"]).ends(Exit::Done);
}

#[test]
fn a_dry_run_shows_the_steps_and_takes_none() {
    let host = Guarded::not_yet();
    let env = &host.0;
    let said = env.palisade(&["guard", "install", "pm2", "--dry-run"]).ends(Exit::Done);
    assert!(said.stdout.contains("takes the public places by a rename"), "{}", said.stdout);
    assert!(!env.pm2.home().join("private").exists());
    assert!(host.firewalls().is_empty());
    let units = env.path("units");
    let words = ["guard", "install", "pm2", "--dry-run", "--unit-folder", &units];
    let said = env.palisade(&words).ends(Exit::Done);
    assert!(said.stdout.contains("-rpc.socket"), "{}", said.stdout);
    assert!(!std::path::Path::new(&units).exists());
}

#[test]
fn a_firewall_that_does_not_start_changes_nothing() {
    let host = Guarded::not_yet();
    let env = &host.0;
    let before = Fleet::of(&env.pm2);
    let said = env.palisade(&["guard", "install", "pm2", "--firewall", "/bin/false"]).ends(Exit::Failure);
    assert!(said.stderr.contains("PAL-423"), "{}", said.stderr);
    assert_eq!(Fleet::of(&env.pm2), before);
    assert_eq!(env.pm2.list().len(), 8);
    let words = ["guard", "install", "pm2", "--pm2-home", &env.path("nowhere")];
    env.palisade(&words).ends(Exit::Failure);
}

#[test]
fn the_mode_is_edited_in_place_shown_and_recorded() {
    let host = Guarded::installed();
    let env = &host.0;
    let words = ["guard", "mode", "pm2", "enforce", "--app", "stock-alert", "--dry-run"];
    let said = env.palisade(&words).ends(Exit::Done);
    assert!(said.stdout.contains("+ mode = \"enforce\""), "{}", said.stdout);
    let said = env.palisade(&words[..6]).ends(Exit::Done);
    assert!(said.stdout.contains("revision 2"), "{}", said.stdout);
    let policy = std::fs::read_to_string(env.policy()).unwrap();
    assert_eq!(policy.matches("mode = \"enforce\"").count(), 1, "{policy}");
    assert_eq!(host.list()["modes"]["stock-alert/production"], "enforce");
    assert_eq!(host.list()["modes"]["flyer-crawler/production"], "observe");
    let acts = env.events("administered");
    assert_eq!(acts.last().unwrap()["data"]["act"], "guard-mode");
    assert_eq!(env.events("policy-changed").last().unwrap()["data"]["to"]["revision"], 2);
    env.palisade(&["guard", "mode", "pm2", "enforce", "--app", "ghost"]).ends(Exit::Usage);
    env.palisade(&["guard", "mode", "pm2", "enforce"]).ends(Exit::Done);
    assert_eq!(host.list()["modes"]["flyer-crawler/production"], "enforce");
}

#[test]
fn palisades_own_commands_work_beside_the_firewall() {
    let host = Guarded::installed();
    let env = &host.0;
    env.palisade(&["pm2", "list"]).ends(Exit::Done);
    env.palisade(&["pm2", "delete", "--app", "projectium-site", "--environment", "production"])
        .ends(Exit::Done);
    env.assert_untouched_but(&["projectium-site"]);
}

#[test]
fn the_report_tells_what_would_be_refused_and_what_is_safe_to_enforce() {
    let host = Guarded::installed();
    let env = &host.0;
    let empty = env.palisade(&["guard", "report", "pm2"]).ends(Exit::Done);
    assert!(empty.stdout.contains("no call was recorded yet"), "{}", empty.stdout);
    // A deployment under its lease, and a deletion by nobody known.
    let pm2 = env.pm2.bin().join("pm2").display().to_string();
    let deploy = ["deploy", "--app", "flyer-crawler", "--environment", "test", "--", &pm2, "delete"];
    env.palisade(&[&deploy[..], &["flyer-crawler-api-test"]].concat()).ends(Exit::Done);
    assert_eq!(env.pm2.pm2(&["delete", "projectium-site"]).exit, Some(0), "observe refuses nothing");

    let said = env.palisade(&["guard", "report", "pm2"]).ends(Exit::Done);
    assert!(said.stdout.contains("flyer-crawler/test: safe to enforce"), "{}", said.stdout);
    assert!(said.stdout.contains("projectium-site/production: not yet"), "{}", said.stdout);
    assert!(said.stdout.contains("PAL-401") && said.stdout.contains("to allow: "), "{}", said.stdout);
    let document = env.palisade(&["guard", "report", "pm2", "--json"]).ends(Exit::Done).json();
    assert!(document["replay"]["calls"].as_u64().unwrap() >= 2, "{document}");
}
