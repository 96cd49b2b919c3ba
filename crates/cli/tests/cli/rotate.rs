//! `palisade db rotate`, on a real server.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use palisade_core::Exit;
use palisade_testkit::{Postgres, Scratch, psql};

use crate::said::Said;

#[test]
fn a_role_is_rotated_and_no_secret_is_left_anywhere_but_in_its_file() {
    let (home, server) = (Scratch::new(), Postgres::start_with("18", &["log_statement=all"]));
    server.role("app", "");
    server.sql("postgres", "CREATE DATABASE jobs");
    server.sql("jobs", "GRANT CREATE ON SCHEMA public TO app");
    let table =
        "CREATE TABLE backfill_jobs (id int PRIMARY KEY, status text, heartbeat_at timestamptz, note text)";
    server.as_role("app", "jobs", table).succeeds();
    let url = server.admin("jobs");
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
        command.args(words).env_clear().env("HOME", home.path()).env("PALISADE_DATABASE_URL", &url);
        Said::from(command.output().unwrap())
    };
    let install =
        "guard install table backfill_jobs --status status --running running --heartbeat heartbeat_at";
    run(&install.split(' ').collect::<Vec<_>>()).ends(Exit::Done);
    run(&["db", "rotate", "restrict", "app"]).ends(Exit::Usage);
    let file = home.join("app2.password").display().to_string();
    let begin = ["db", "rotate", "begin", "app", "--to", "app2", "--password-file", &file];
    let shown = run(&[&begin[..], &["--dry-run"]].concat()).ends(Exit::Done);
    assert!(shown.stdout.contains("CREATE ROLE \"app2\" LOGIN"), "{}", shown.stdout);
    assert_eq!(server.sql("jobs", "SELECT to_regrole('app2') IS NULL"), "t", "a dry run makes nothing");
    run(&begin).ends(Exit::Done);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    let password = std::fs::read_to_string(&file).unwrap().trim().to_owned();
    assert_eq!((mode, password.len()), (0o600, 48));
    assert!(!server.log().contains(&password), "the server never saw it");
    run(&begin).ends(Exit::Usage);
    assert_eq!(
        std::fs::read_to_string(&file).unwrap().trim(),
        password,
        "a file that is there is left alone"
    );
    let new = server.url("app2", "jobs").replace("test-only", &password);
    psql(&new, "UPDATE backfill_jobs SET status = 'queued'").succeeds();
    // Somebody still uses the old role: the step names it, and waits for a person's word.
    let mut open = server.session("app", "jobs");
    open.ask("SET application_name = 'atom-saas-test'");
    let barred = run(&["db", "rotate", "restrict", "app"]).ends(Exit::Refused);
    assert!(
        barred.stderr.contains("PAL-355") && barred.stderr.contains("atom-saas-test from 127.0.0.1"),
        "{}",
        barred.stderr
    );
    let status = run(&["db", "rotate", "status"]).ends(Exit::Done).stdout;
    assert!(status.contains("app to app2: prepared") && status.contains("atom-saas-test"), "{status}");
    assert_eq!(status.matches("app (claimed)").count(), 1, "one table: {status}");
    let planned = run(&["db", "rotate", "restrict", "app", "--dry-run"]).ends(Exit::Done);
    assert!(
        planned.stderr.contains("would hit: atom-saas-test")
            && planned.stdout.contains("REVOKE UPDATE, DELETE")
    );
    run(&["db", "rotate", "restrict", "app", "--confirm", "app"]).ends(Exit::Done);
    let (_, state) = open.ask("UPDATE backfill_jobs SET status = 'cancelled'");
    assert_eq!(state, "42501");
    psql(&new, "UPDATE backfill_jobs SET status = 'queued'").succeeds();
    run(&["db", "rotate", "retire", "app", "--confirm", "app", "--terminate"]).ends(Exit::Done);
    assert!(!server.as_role("app", "jobs", "SELECT 1").success);
    let listed = run(&["db", "expect", "list"]).ends(Exit::Done).stdout;
    assert!(listed.contains("retired      app"), "{listed}");
    for word in ["retired", "restricted"] {
        let undone = run(&["db", "rotate", "undo", "app", "--json"]).ends(Exit::Done).json();
        assert_eq!(undone["step"], word);
    }
    server.as_role("app", "jobs", "UPDATE backfill_jobs SET status = 'queued'").succeeds();
    run(&["db", "rotate", "undo", "app", "--json", "--confirm", "app"]).ends(Exit::Done);
    assert_eq!(server.sql("jobs", "SELECT to_regrole('app2') IS NULL"), "t");
    // Without a file the password is printed, once.
    let printed = run(&["db", "rotate", "begin", "app", "--to", "app3", "--json"]).ends(Exit::Done).json();
    let password = printed["password"].as_str().unwrap();
    psql(&server.url("app3", "jobs").replace("test-only", password), "SELECT 1").succeeds();
}
