//! Partitions, those there are and those to come.

use palisade_dbguard::Error;
use palisade_testkit::postgres;

use crate::fixture::{Jobs, named, rules};

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
        jobs.app("UPDATE parted_2 SET heartbeat_at = timezone('UTC', now())").succeeds();
        jobs.app("UPDATE parted_2 SET status = 'completed'").succeeds();
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
