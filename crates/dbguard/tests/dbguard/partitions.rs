//! Partitions, those there are and those to come.

use palisade_dbguard::partitions::repair;
use palisade_dbguard::{Error, Patience, installed, weaknesses};
use palisade_testkit::postgres;

use crate::fixture::{Jobs, named, rules, wait};
use crate::verified::damages;

const TABLE: &str = "CREATE TABLE parted (id int, day date, status text, heartbeat_at timestamp, \
    error text, cancelled_by text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day); \
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-05-01') TO ('2026-05-02'); \
    INSERT INTO parted SELECT n, '2026-05-01', 'running', timezone('UTC', now()) - interval '12 minutes' \
    FROM generate_series(1, 3) n;";

#[test]
fn partitions_now_and_later_are_guarded_however_they_are_written() {
    for version in postgres::VERSIONS {
        let jobs = Jobs::unguarded(version);
        jobs.app(TABLE).succeeds();
        jobs.install("parted", &named(), &rules()).unwrap();
        jobs.up_for_a_day();
        jobs.app(
            "CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM ('2026-05-02') TO ('2026-05-03')",
        )
        .succeeds();
        let stale = "timezone('UTC', now()) - interval '12 minutes'";
        jobs.app(&format!("INSERT INTO parted VALUES (9, '2026-05-02', 'running', {stale})")).succeeds();
        jobs.admin("UPDATE palisade.job SET entered_at = entered_at - interval '13 minutes'");
        for relation in ["parted", "parted_1", "parted_2"] {
            let cancel = format!("UPDATE {relation} SET status = 'cancelled'");
            jobs.app(&cancel).fails("PL301");
            jobs.server
                .as_role("postgres", "jobs", &format!("SET session_replication_role = replica; {cancel}"))
                .fails("PL301");
            jobs.app(&format!("DELETE FROM {relation}")).fails("PL301");
        }
        jobs.app("TRUNCATE parted").fails("PL303");
        jobs.app("TRUNCATE parted_1").fails("PL303");
        jobs.app("TRUNCATE parted_2").fails("PL303");
        jobs.app("UPDATE parted_2 SET heartbeat_at = timezone('UTC', now())").succeeds();
        jobs.app("UPDATE parted_2 SET status = 'completed'").succeeds();
        // Whoever owns the table from now on lacks a right that a new partition takes: verify says so.
        jobs.admin("CREATE ROLE next; ALTER TABLE parted OWNER TO next");
        let lacking =
            "the function palisade.rows_1 may not be put behind a new partition by the table's owner";
        assert!(damages(&jobs).iter().any(|problem| problem == lacking), "{version}");
        jobs.admin("GRANT EXECUTE ON FUNCTION palisade.rows_1() TO next");
        assert!(!damages(&jobs).iter().any(|problem| problem == lacking), "{version}");
    }
}

#[test]
fn what_cannot_be_guarded_is_refused_with_its_reason() {
    let jobs = Jobs::unguarded("15");
    jobs.app(
        "CREATE TABLE by_state (id int, status text, heartbeat_at timestamptz, error text, cancelled_by text) \
         PARTITION BY LIST (status); CREATE VIEW seen AS SELECT * FROM backfill_jobs; \
         CREATE TABLE keyless (status text, heartbeat_at timestamptz, error text, cancelled_by text); \
         CREATE TABLE ticking (id int PRIMARY KEY, status text, heartbeat_at bigint, error text, cancelled_by text)",
    )
    .succeeds();
    jobs.app(TABLE).succeeds();
    for (table, reason) in [
        ("by_state", "partitioned by status"),
        ("seen", "it is a view"),
        ("keyless", "no primary key"),
        ("ticking", "a heartbeat has to be a timestamp"),
        ("parted_1", "it is a partition"),
        ("nowhere", "no such table"),
    ] {
        let error = jobs.install(table, &named(), &rules()).unwrap_err();
        assert!(
            matches!(&error, Error::Unfit { problem, .. } if problem.contains(reason)),
            "{table}: {error}"
        );
    }
    let mut wrong = rules();
    wrong.done.push("finished".to_owned());
    let error = jobs.install("backfill_jobs", &named(), &wrong).unwrap_err();
    assert!(error.to_string().contains("its states are queued, running"), "{error}");
    wrong.done.pop();
    wrong.reason = Some("(".to_owned());
    assert!(matches!(jobs.install("backfill_jobs", &named(), &wrong), Err(Error::Rules { .. })));
    assert!(jobs.guards().is_empty(), "none of them left anything");
}

/// Each way to get a further partition, of which the last is one of a partition.
const LATER: &str = "CREATE TABLE parted_3 PARTITION OF parted FOR VALUES FROM ('2026-05-03') TO ('2026-05-04'); \
    CREATE TABLE parted_4 (LIKE parted); \
    ALTER TABLE parted ATTACH PARTITION parted_4 FOR VALUES FROM ('2026-05-04') TO ('2026-05-05'); \
    CREATE TABLE \"Parted 5\" PARTITION OF parted FOR VALUES FROM ('2026-05-05') TO ('2026-05-06') PARTITION BY LIST (id); \
    CREATE TABLE parted_5_1 PARTITION OF \"Parted 5\" FOR VALUES IN (1)";

const PARTITIONS: [&str; 4] = ["parted_3", "parted_4", "\"Parted 5\"", "parted_5_1"];

fn fill(jobs: &Jobs) {
    for day in 3..=5 {
        let row = format!("1, '2026-05-0{day}', 'running', timezone('UTC', now())");
        jobs.app(&format!("INSERT INTO parted VALUES ({row})")).succeeds();
    }
}

/// As a superuser makes it: an event trigger guards a partition in the transaction that makes it.
#[test]
fn truncate_of_a_later_partition_is_refused_and_a_migration_never_fails_for_it() {
    for version in postgres::VERSIONS {
        let jobs = Jobs::unguarded(version);
        jobs.app(TABLE).succeeds();
        let dump = || (version == "15").then(|| jobs.server.dump_as("postgres", "jobs"));
        let before = dump();
        jobs.install("parted", &named(), &rules()).unwrap();
        jobs.app(LATER).succeeds();
        fill(&jobs);
        for partition in PARTITIONS {
            let said = jobs.app(&format!("TRUNCATE {partition}"));
            assert!(said.stderr.contains("PL303"), "{version} {partition}: {said:?}");
            jobs.server
                .as_role(
                    "postgres",
                    "jobs",
                    &format!("SET session_replication_role = replica; TRUNCATE {partition}"),
                )
                .fails("PL303");
        }
        assert_eq!(damages(&jobs), [""; 0], "{version}");
        // What it cannot do it leaves, and says so in the log.
        jobs.admin("ALTER TABLE palisade.guard RENAME TO elsewhere");
        jobs.app(
            "CREATE TABLE parted_6 PARTITION OF parted FOR VALUES FROM ('2026-05-06') TO ('2026-05-07')",
        )
        .succeeds();
        assert!(jobs.server.log().contains("the guard of new partitions could not do its work"), "{version}");
        jobs.admin("ALTER TABLE palisade.elsewhere RENAME TO guard");
        assert!(
            damages(&jobs).concat().contains("palisade_truncate is missing on public.parted_6"),
            "{version}"
        );
        // Nobody else's table is its business.
        jobs.app("CREATE TABLE plain (id int); ALTER TABLE plain ADD more int; DROP TABLE plain").succeeds();
        jobs.app("DROP TABLE parted_3, parted_4, \"Parted 5\", parted_6").succeeds();
        jobs.remove("postgres", "parted", true).unwrap();
        assert_eq!(jobs.admin("SELECT count(*) FROM pg_event_trigger"), "0", "{version}");
        assert_eq!(dump(), before, "{version}");
    }
}

/// As the table's owner makes it, who cannot have an event trigger.
#[test]
fn without_a_superuser_verify_finds_a_later_partition_and_repairs_it() {
    for version in postgres::VERSIONS {
        let jobs = Jobs::unguarded(version);
        jobs.app(TABLE).succeeds();
        jobs.admin("GRANT CREATE ON DATABASE jobs TO app");
        jobs.install_as("app", "parted", &named(), &rules()).unwrap();
        let weak = wait(async {
            let session = jobs.connect("app").await;
            weaknesses(&session, &installed(&session).await.unwrap()).await.unwrap()
        });
        assert!(weak.iter().any(|weakness| weakness.fix.contains("--repair")), "{version}: {weak:?}");
        jobs.app(LATER).succeeds();
        fill(&jobs);
        jobs.app("BEGIN; TRUNCATE parted_3; ROLLBACK").succeeds();
        assert_eq!(damages(&jobs).len(), PARTITIONS.len(), "{version}");
        let mend = || wait(async { repair(&jobs.connect("app").await, Patience::default()).await.unwrap() });
        let mut covered: Vec<_> = mend().into_iter().map(|covered| covered.partition).collect();
        covered.sort_unstable();
        assert_eq!(covered, ["\"Parted 5\"", "parted_3", "parted_4", "parted_5_1"], "{version}");
        assert!(mend().is_empty(), "{version}: nothing is left to do");
        assert_eq!(damages(&jobs), [""; 0], "{version}");
        for partition in PARTITIONS {
            jobs.app(&format!("TRUNCATE {partition}")).fails("PL303");
        }
    }
}

#[test]
fn without_its_event_trigger_truncate_of_a_later_partition_does_its_harm() {
    let jobs = Jobs::unguarded("18");
    jobs.app(TABLE).succeeds();
    jobs.install("parted", &named(), &rules()).unwrap();
    jobs.admin("DROP EVENT TRIGGER palisade_partitions");
    jobs.app(LATER).succeeds();
    fill(&jobs);
    jobs.app("TRUNCATE parted_3").succeeds();
}
