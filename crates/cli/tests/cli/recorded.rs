//! Each act on a database is in the journal, as intent and outcome.

use palisade_core::Exit;
use palisade_testkit::Postgres;

use crate::env::TestEnv;

const TABLE: &str = "CREATE TABLE backfill_jobs (id int PRIMARY KEY, status text, heartbeat_at timestamptz, error text); \
    INSERT INTO backfill_jobs VALUES (1, 'running', now() - interval '12 minutes', NULL)";

const INSTALL: &str = "guard install table backfill_jobs --status status --running running --heartbeat heartbeat_at \
    --done completed --own queued,failed";

/// Command lines, and the act that each leaves in the journal; `PASSWORD` and `KEY` are files.
const ACTS: [(&str, &str); 18] = [
    (INSTALL, "table-install"),
    ("db stamp --environment production", "stamp"),
    ("db undo backfill_jobs --since 1h", "undo"),
    ("guard mode table backfill_jobs enforce", "table-mode"),
    ("guard upgrade table", "table-upgrade"),
    ("db key create --app atom --environment production --key KEY", "key"),
    ("db epoch set 412 --app atom --environment production", "epoch"),
    ("db bind atom_test test", "bind"),
    ("guard require-identity table backfill_jobs on", "require-identity"),
    ("quarantine atom-saas-test --reason stale", "quarantine"),
    ("quarantine atom-saas-test --lift", "quarantine-lift"),
    ("db rotate begin app --to app2 --password-file PASSWORD", "rotate"),
    ("db rotate undo app --confirm app", "rotate"),
    ("guard install login --mode observe", "login-trigger"),
    ("guard install login --mode enforce", "login-trigger"),
    ("guard remove login", "login-trigger"),
    ("db fork jobs_test --environment test --url-file URL", "fork"),
    ("guard remove table backfill_jobs", "table-remove"),
];

/// A host under a policy, and a server with the database `jobs`.
fn host() -> (TestEnv, Postgres, String) {
    let (env, server) = (TestEnv::without_daemon(), Postgres::start("18"));
    server.role("app", "");
    server.role("atom_test", "");
    server.sql("postgres", "CREATE DATABASE jobs");
    server.sql("jobs", TABLE);
    let url = server.admin("jobs");
    (env, server, url)
}

#[test]
fn each_act_on_a_database_is_an_intent_and_an_outcome_without_a_secret() {
    let (env, server, url) = host();
    let place = |word: &str| match word {
        "KEY" | "PASSWORD" | "URL" => env.path(word),
        word => word.to_owned(),
    };
    // The first of them makes the journal.
    let acts = || if env.state().join("journal").exists() { env.events("administered") } else { Vec::new() };
    for (line, act) in ACTS {
        let words: Vec<String> = line.split_whitespace().map(place).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let before = acts().len();
        env.palisade_with(&words, &[("PALISADE_DATABASE_URL", &url)]).ends(Exit::Done);
        if act == "stamp" {
            server.sql("jobs", "UPDATE backfill_jobs SET status = 'cancelled'");
        }
        let records = acts().split_off(before);
        let (first, last) = (&records[0], records.last().unwrap());
        for (record, phase) in [(first, "begun"), (last, "done")] {
            assert_eq!(
                (&record["data"]["act"], &record["data"]["phase"]),
                (&act.into(), &phase.into()),
                "{line}"
            );
            assert_eq!(record["op"], first["op"], "{line}");
            let place = record["data"]["home"].as_str().unwrap();
            assert!(place.contains("database jobs ("), "{line}: {place}");
        }
    }
    let journal = env.palisade(&["journal", "export"]).ends(Exit::Done).stdout;
    let read = |name: &str| std::fs::read_to_string(env.path(name)).unwrap();
    let fork = read("URL");
    let secrets = [
        read("PASSWORD").trim().to_owned(),
        fork.split(':').nth(2).unwrap().split('@').next().unwrap().to_owned(),
        read("KEY").lines().find_map(|line| line.strip_prefix("key ")).unwrap().to_owned(),
        "test-only".to_owned(),
        "SCRAM-SHA-256".to_owned(),
    ];
    for secret in secrets {
        assert!(!secret.is_empty() && !journal.contains(&secret), "{secret}");
    }
    env.palisade(&["journal", "verify"]).ends(Exit::Done);
}

#[test]
fn what_fails_is_recorded_as_failed_and_a_damaged_journal_ends_each_act_before_it_begins() {
    let (env, server, url) = host();
    let run = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        env.palisade_with(&words, &[("PALISADE_DATABASE_URL", &url)])
    };
    run(INSTALL).ends(Exit::Done);
    server.sql("postgres", "CREATE DATABASE taken");
    run("db fork taken --environment test").ends(Exit::Failure);
    let last = env.events("administered").pop().unwrap();
    assert_eq!((&last["data"]["act"], &last["data"]["phase"]), (&"fork".into(), &"failed".into()));
    std::fs::write(env.state().join("journal/head"), "garbage").unwrap();
    for line in [
        "guard mode table backfill_jobs enforce",
        "guard remove table backfill_jobs",
        "guard upgrade table",
        "db fork jobs_test --environment test",
        INSTALL,
    ] {
        run(line).ends(Exit::Journal);
    }
    assert_eq!(server.sql("jobs", "SELECT mode FROM palisade.guard"), "observe");
    assert_eq!(server.sql("jobs", "SELECT count(*) FROM pg_database WHERE datname = 'jobs_test'"), "0");
    // What only takes rights away goes on, and says that it is in no journal.
    let said = run("quarantine atom-saas-test --reason stale").ends(Exit::Done);
    assert!(said.stderr.contains("not in the journal"), "{}", said.stderr);
}
