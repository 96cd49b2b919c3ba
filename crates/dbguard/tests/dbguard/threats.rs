//! The table of threats in docs/database.md: each test that it names is there, and what it calls missed is missed. A gap
//! that closes shows here, and the table has to say so.

use std::path::Path;

use palisade_audit::{Collector, Sighting};
use palisade_dbguard::{Mode, audit, login};
use palisade_testkit::{PgBouncer, Psql, postgres, psql};

use crate::fixture::{Jobs, REAPER, wait};
use crate::identities::{begin, key_of, stamped};
use crate::verified::damages;

#[test]
fn every_test_that_the_table_of_threats_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("docs/database.md")).unwrap();
    let (_, from) = text.split_once("## Threats").unwrap();
    let (section, _) = from.split_once("\n## ").unwrap();
    let mut named = 0;
    for row in section.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let verdict = row.split('|').nth(2).unwrap_or_default();
        assert!(["stopped", "detected", "missed"].iter().any(|word| verdict.contains(word)), "{row}");
        let tests: Vec<&str> = row.split('`').filter(|word| word.contains("::")).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for test in tests {
            let (module, function) = test.split_once("::").unwrap();
            let file = root.join(format!("crates/dbguard/tests/dbguard/{module}.rs"));
            let source = std::fs::read_to_string(&file).unwrap_or_else(|_| panic!("no module {module}"));
            assert!(source.contains(&format!("fn {function}()")), "no test {test}");
            named += 1;
        }
    }
    assert!(named >= 15, "only {named} tests are named");
}

#[test]
fn the_tables_owner_turns_the_guard_off_and_verify_names_it() {
    for version in postgres::VERSIONS {
        let jobs = Jobs::guarded(version);
        jobs.running(5, "12 minutes");
        jobs.app("ALTER TABLE backfill_jobs DISABLE TRIGGER palisade_rows").succeeds();
        jobs.app(REAPER).succeeds();
        assert_eq!(jobs.count("cancelled"), 5, "missed on {version}");
        assert!(damages(&jobs).concat().contains("palisade_rows on public.backfill_jobs is disabled"));
        jobs.app("DROP TABLE backfill_jobs").succeeds();
        assert!(damages(&jobs).concat().contains("the table is gone"), "{version}");
    }
}

/// The same role sees the statements of its other sessions, a proof that is written into one among them.
#[test]
fn a_proof_that_the_same_role_reads_counts_for_the_reader_within_its_minute() {
    let jobs = stamped("18");
    let key = key_of(&jobs, "atom");
    let mut good = Psql::open(&jobs.url());
    let call = begin(&jobs, &key, "");
    assert_eq!(good.ask(&call).0, "proven");
    let seen = "SELECT query FROM pg_stat_activity WHERE query LIKE 'SELECT palisade.begin(%' AND pid <> pg_backend_pid()";
    let stolen = jobs.app(seen).succeeds();
    assert_eq!(jobs.app(&stolen).succeeds(), "proven");
    jobs.server.role("other", "");
    assert_eq!(jobs.server.as_role("other", "jobs", seen).succeeds(), "", "another role does not see it");
}

#[test]
fn behind_a_pooler_the_login_trigger_sees_the_pooler_and_not_who_came_later() {
    let jobs = stamped("18");
    wait(async {
        let session = jobs.connect("postgres").await;
        login::run(&session, &login::install_sql(false, Mode::Enforce)).await.unwrap();
    });
    let direct = psql(&format!("{}?application_name=atom-test", jobs.server.url("app", "jobs")), "SELECT 1");
    assert!(!direct.success, "directly it is refused");
    let pooler = PgBouncer::before(&jobs.server, &["app"]);
    for name in ["atom", "atom-test"] {
        psql(&format!("{}?application_name={name}", pooler.url("app", "jobs")), "SELECT 1").succeeds();
    }
    let mut collector = Collector::default();
    wait(async {
        assert!(audit::logins(&jobs.connect("postgres").await, 3600, &mut collector).await.unwrap());
    });
    let test =
        |sighting: &&Sighting| matches!(sighting, Sighting::Client(client) if client.app == "atom-test");
    assert_eq!(collector.seen().keys().filter(test).count(), 0, "missed");
    // The guard of the table sees the name in what the client does.
    jobs.running(0, "0 s");
    jobs.app("INSERT INTO backfill_jobs (name) VALUES ('a')").succeeds();
    let claim = "UPDATE backfill_jobs SET status = 'running', heartbeat_at = now()";
    psql(&format!("{}?application_name=atom-test", pooler.url("app", "jobs")), claim).fails("PL335");
}
