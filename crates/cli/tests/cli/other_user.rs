//! A daemon of another user: what its permissions bar is said to be barred, and is not taken for dead.
//!
//! To act as another user takes root.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use palisade_core::Exit;
use palisade_testkit::{App, Scratch};

use crate::env::TestEnv;
use crate::said::Said;

const NOBODY: u32 = 65534;

/// Runs the binary as [`NOBODY`], with a home of its own, against the daemon of `env`.
fn as_nobody(env: &TestEnv, words: &[&str]) -> Said {
    as_nobody_with(env, words, |command, home| {
        command.env("HOME", home).env_remove("XDG_CONFIG_HOME").env_remove("XDG_STATE_HOME");
    })
}

/// Runs the binary as [`NOBODY`] with the variables of `env`, but for what `change` does with a home of its own.
fn as_nobody_with(env: &TestEnv, words: &[&str], change: impl FnOnce(&mut Command, &Path)) -> Said {
    let place = Scratch::new();
    assert_eq!(place.path().metadata().unwrap().uid(), 0, "run this as root: it takes another user");
    let (binary, home) = (place.join("palisade"), place.join("home"));
    fs::copy(env!("CARGO_BIN_EXE_palisade"), &binary).unwrap();
    fs::create_dir(&home).unwrap();
    chown(&home, Some(NOBODY), Some(NOBODY)).unwrap();
    for path in [place.path(), &binary, &home] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&binary).args(words);
    env.surround(&mut command);
    command.current_dir("/").stdin(Stdio::null());
    change(&mut command, &home);
    command.output().unwrap().into()
}

#[track_caller]
fn assert_barred_by(said: Said, barrier: &str) {
    let said = said.ends(Exit::Unreachable);
    for text in ["PAL-005", "may not connect", barrier, "belongs to uid 0", "run this as uid 0"] {
        assert!(said.stderr.contains(text), "no {text:?} in {}", said.stderr);
    }
    assert!(!said.stderr.contains("no PM2 daemon"), "it is not dead: {}", said.stderr);
}

#[test]
fn a_folder_that_may_not_be_entered_is_named_and_the_daemon_not_called_dead() {
    let env = TestEnv::with(&[App::sleep("stock-alert")]);
    let home = env.pm2.home();
    assert_barred_by(as_nobody(&env, &["pm2", "list"]), &format!("{} has mode 0700", home.display()));

    fs::set_permissions(home, Permissions::from_mode(0o755)).unwrap();
    let socket = env.pm2.rpc_socket();
    fs::set_permissions(&socket, Permissions::from_mode(0o600)).unwrap();
    assert_barred_by(as_nobody(&env, &["pm2", "list"]), &format!("{} has mode 0600", socket.display()));

    fs::set_permissions(&socket, Permissions::from_mode(0o666)).unwrap();
    as_nobody(&env, &["pm2", "list"]).ends(Exit::Done);
}

#[test]
fn doctor_sees_the_daemons_of_other_users() {
    let env = TestEnv::with(&[App::sleep("stock-alert")]);
    let found = as_nobody(&env, &["doctor", "--json"]).ends(Exit::Failure).json();
    let here = format!("of another user (uid 0) at {}", env.pm2.home().display());
    let sees = |what: &str| {
        found.as_array().unwrap().iter().any(|found| found["what"].as_str().unwrap().contains(what))
    };
    assert!(sees(&here), "{found:#}");
    assert!(sees("may not connect"), "{found:#}");
}

#[test]
fn a_journal_of_another_user_is_told_as_such_and_not_called_absent() {
    let env = TestEnv::without_daemon();
    env.palisade(&["deploy", "--app", "stock-alert", "--environment", "production", "--", "true"])
        .ends(Exit::Done);
    let read = |words: &[&str]| as_nobody_with(&env, words, |_, _| {});
    let said = read(&["journal", "tail"]).ends(Exit::Journal);
    assert!(said.stderr.contains("cannot be read"), "{}", said.stderr);
    assert!(said.stderr.contains("fix: run this as the user whose journal it is"), "{}", said.stderr);
    let doctor = read(&["doctor"]).stdout;
    assert_eq!(
        doctor.matches("whose journal it is").count(),
        doctor.matches("the journal cannot be read").count()
    );
    assert_eq!(doctor.matches("journal/head").count(), 1, "what is said once is enough: {doctor}");
}
