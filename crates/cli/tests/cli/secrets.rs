//! No secret of an app, of the caller or of the daemon is written anywhere but into a restore bundle.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use palisade_core::Exit;
use palisade_testkit::scratch::random_hex;
use palisade_testkit::{App, EightApps, Pm2};
use serde_json::json;

use crate::env::{TestEnv, crawler};
use crate::said::Said;

/// A host on which everything that could hold a secret holds one.
struct Secretive {
    env: TestEnv,
    /// What they are called, and the secrets.
    canaries: Vec<(String, String)>,
    said: Vec<(String, Said)>,
}

fn canary(what: &str) -> (String, String) {
    (what.to_owned(), format!("CANARY{}", random_hex(12)))
}

impl Secretive {
    fn new() -> Self {
        let pm2 = Pm2::home_only("7.0.4");
        let daemon = canary("the daemon's own environment");
        let started = pm2.pm2_with(&["ping"], &[("DAEMON_TOKEN", &daemon.1)]);
        assert_eq!(started.exit, Some(0), "{}", started.stderr);
        let args = canary("an app's arguments");
        let mut canaries = vec![daemon, args.clone(), canary("the caller"), canary("a command's arguments")];
        let apps = EightApps::NAMES.map(|name| {
            let value = canary(name);
            let app = App::sleep(name)
                .env("DATABASE_URL", &format!("postgres://app:{}@db/{name}", value.1))
                .set("script", json!("/bin/sh"))
                .set("args", json!(["-c", "exec sleep 100000", "sh", format!("--token={}", args.1)]));
            canaries.push(value);
            app
        });
        pm2.start_apps(&apps);
        Self { env: TestEnv::around(pm2), canaries, said: Vec::new() }
    }

    fn secret(&self, what: &str) -> &str {
        &self.canaries.iter().find(|(name, _)| name == what).unwrap().1
    }

    /// Runs a command with a secret in the caller's environment, and keeps what it said.
    fn run(&mut self, words: &[&str]) {
        let token = self.secret("the caller").to_owned();
        let said = self.env.palisade_with(words, &[("API_TOKEN", &token)]);
        self.said.push((words.join(" "), said));
    }

    /// Every command once, the ones that fail or are refused too.
    fn workout(&mut self) {
        let plan = self.env.path("plan.json");
        let token = format!("--token={}", self.secret("a command's arguments"));
        let runs: Vec<Vec<&str>> = vec![
            vec!["config", "check"],
            vec!["config", "show", "--origin", "--json"],
            vec!["pm2", "list"],
            vec!["pm2", "list", "--json"],
            vec!["pm2", "snapshot", "--json"],
            vec!["pm2", "snapshots"],
            crawler(&["pm2", "delete", "--dry-run", "--json"]),
            crawler(&["pm2", "delete", "--json", "stock-alert"]),
            crawler(&["pm2", "delete", "all"]),
            crawler(&["pm2", "plan", "delete", "--out", &plan]),
            vec!["pm2", "apply", &plan, "--json"],
            vec!["pm2", "runbook"],
            vec!["pm2", "runbook", "--json"],
            vec!["pm2", "restore", "--dry-run", "--json"],
            vec!["pm2", "restore", "--json"],
            crawler(&["pm2", "stop"]),
            crawler(&["pm2", "restart", "--update-env", "--json"]),
            crawler(&["pm2", "reload"]),
            crawler(&["pm2", "delete"]),
            vec!["pm2", "restore"],
            vec!["pm2", "reconcile", "--json"],
            [&crawler(&["deploy"])[..], &["--", "true", &token]].concat(),
            [&crawler(&["deploy", "--json"])[..], &["--", "./not-there", &token]].concat(),
            vec!["init", "--dry-run"],
            vec!["doctor"],
            vec!["doctor", "--json"],
            vec!["lease", "list"],
            vec!["journal", "tail"],
            vec!["journal", "show", "1"],
            vec!["journal", "verify"],
            vec!["journal", "export"],
        ];
        for words in runs {
            self.run(&words);
        }
    }

    fn leak_in(&self, bytes: &[u8]) -> Option<&str> {
        let holds = |value: &str| bytes.windows(value.len()).any(|window| window == value.as_bytes());
        self.canaries.iter().find(|(_, value)| holds(value)).map(|(what, _)| what.as_str())
    }

    /// Files below Palisade's own folders, bundles apart.
    fn files(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let mut all = Vec::new();
        for folder in [self.env.state(), self.env.policy().parent().unwrap().to_owned()] {
            walk(&folder, &mut all);
        }
        let bundles = self.env.state().join("bundles");
        all.into_iter().partition(|path| path.parent() == Some(&bundles))
    }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn canonical_redaction_no_value_leaves_the_bundle() {
    let mut host = Secretive::new();
    host.workout();
    let done = host.said.iter().filter(|(_, said)| said.exit == Some(0)).count();
    assert!(done >= 25, "the workout does its work: {:#?}", host.said);
    for (words, said) in &host.said {
        for text in [&said.stdout, &said.stderr] {
            assert_eq!(host.leak_in(text.as_bytes()), None, "palisade {words} says: {text}");
        }
    }
    let (bundles, others) = host.files();
    for path in &others {
        assert_eq!(host.leak_in(&fs::read(path).unwrap()), None, "{} holds it", path.display());
    }
    assert_eq!(host.leak_in(&fs::read(host.env.path("plan.json")).unwrap()), None, "the plan file holds it");
    assert!(others.len() > 10 && !bundles.is_empty(), "there is something to look at: {others:?}");
    for bundle in &bundles {
        assert!(host.leak_in(&fs::read(bundle).unwrap()).is_some(), "a bundle is for values");
    }
}

#[test]
fn bundles_are_for_their_owner_only() {
    let env = TestEnv::new();
    env.palisade(&["pm2", "snapshot"]).ends(Exit::Done);
    let folder = env.state().join("bundles");
    assert_eq!(mode(&folder), 0o700);
    let mut bundles = Vec::new();
    walk(&folder, &mut bundles);
    assert_eq!(bundles.len(), 1);
    assert_eq!(mode(&bundles[0]), 0o600);
    assert_eq!(mode(&env.state()) & 0o077, 0, "and so is the folder around it");
}

#[test]
fn a_snapshot_says_whether_its_bundle_is_there_to_restore_from() {
    let env = TestEnv::new();
    env.palisade(&crawler(&["pm2", "delete"])).ends(Exit::Done);
    let kept = || env.palisade(&["pm2", "snapshots", "--json"]).ends(Exit::Done).json();
    assert_eq!(kept()[0]["restorable"], true);
    fs::remove_dir_all(env.state().join("bundles")).unwrap();
    assert_eq!(kept()[0]["restorable"], false);
    let said = env.palisade(&["pm2", "restore", "--json"]).ends(Exit::Failure).json();
    assert_eq!(said["code"], "PAL-116", "{said}");
}
