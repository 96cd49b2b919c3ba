//! `palisade guard verify table`, again and again, with alerts.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use palisade_core::Exit;
use palisade_testkit::{Postgres, eventually, process};

use crate::env::{POLICY, TestEnv};

#[test]
fn a_guard_that_is_disabled_between_two_looks_alerts_and_one_that_is_mended_is_told() {
    let env = TestEnv::without_daemon();
    let server = Postgres::start("18");
    server.sql(
        "postgres",
        "CREATE TABLE backfill_jobs (id int PRIMARY KEY, status text, heartbeat_at timestamptz)",
    );
    let out = env.path("told");
    env.write_policy(&format!("{POLICY}\n[notify]\ncommand = [\"/bin/sh\", \"-c\", \"cat >> {out}\"]\n"));
    let url = server.admin("postgres");
    let install =
        "guard install table backfill_jobs --status status --running running --heartbeat heartbeat_at";
    let mut words: Vec<&str> = install.split(' ').collect();
    words.extend(["--database", &url]);
    env.palisade(&words).ends(Exit::Done);
    let words = ["guard", "verify", "table", "--database", &url, "--every", "1s", "--alert", "--json"];
    let mut command = env.command(&words);
    let mut watch = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    server.sql("postgres", "ALTER TABLE backfill_jobs DISABLE TRIGGER palisade_rows");
    let told = next();
    assert!(
        told.contains("\"damaged\"") && told.contains("palisade_rows") && told.contains("PAL-316"),
        "{told}"
    );
    eventually("somebody is told", || {
        let text = std::fs::read_to_string(&out).unwrap_or_default();
        (text.contains("PAL-316") && text.contains("is disabled")).then_some(())
    });
    server.sql("postgres", "ALTER TABLE backfill_jobs ENABLE ALWAYS TRIGGER palisade_rows");
    let told = next();
    assert!(told.contains("\"well again\""), "{told}");
    process::interrupt(watch.id());
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    // Nobody to tell is said before the first look.
    env.write_policy(POLICY);
    env.palisade(&words).ends(Exit::Failure);
    env.palisade(&["guard", "verify", "table", "--database", &url, "--every", "10ms"]).ends(Exit::Usage);
}
