//! Whatever weakens a guard is found.

use crate::fixture::{Jobs, wait};
use palisade_dbguard::{installed, verify};

/// What `verify` has to say.
pub(crate) fn damages(jobs: &Jobs) -> Vec<String> {
    wait(async {
        let session = jobs.connect("postgres").await;
        let guards = installed(&session).await.unwrap();
        let damages = verify(&session, &guards).await.unwrap();
        damages.into_iter().map(|damage| damage.problem).collect()
    })
}

/// Each way to weaken a guard, and a word of what is said about it.
const WEAKENED: [(&str, &str); 12] = [
    ("ALTER TABLE palisade.quarantine DISABLE TRIGGER sum_up", "palisade.watch"),
    (
        "INSERT INTO palisade.quarantine (app) VALUES ('a'); UPDATE palisade.watch SET watched = false",
        "palisade.watch",
    ),
    (
        "ALTER TABLE backfill_jobs DISABLE TRIGGER palisade_rows",
        "palisade_rows on public.backfill_jobs is disabled",
    ),
    (
        "ALTER TABLE backfill_jobs DISABLE TRIGGER palisade_truncate",
        "palisade_truncate on public.backfill_jobs is disabled",
    ),
    ("ALTER TABLE backfill_jobs ENABLE TRIGGER palisade_rows", "can be turned off by a session"),
    ("DROP TRIGGER palisade_rows ON backfill_jobs", "palisade_rows is missing"),
    (
        "CREATE OR REPLACE TRIGGER palisade_truncate BEFORE TRUNCATE ON backfill_jobs EXECUTE FUNCTION palisade.rows_1()",
        "runs another function",
    ),
    (
        "CREATE OR REPLACE FUNCTION palisade.rows_1() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "palisade.rows_1 is not the one",
    ),
    (
        "CREATE OR REPLACE FUNCTION palisade.started() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'",
        "palisade.started is not the one",
    ),
    ("ALTER TABLE backfill_jobs RENAME heartbeat_at TO beat", "the table or a column was renamed"),
    ("DROP TABLE backfill_jobs", "the table is gone, or"),
    // As a migration rebuilds a table: no trigger comes along.
    (
        "CREATE TABLE rebuilt (LIKE backfill_jobs INCLUDING ALL); DROP TABLE backfill_jobs; \
         ALTER TABLE rebuilt RENAME TO backfill_jobs",
        "the table is gone, or",
    ),
];

fn each_weakness_is_found(version: &'static str) {
    let jobs = Jobs::unguarded(version);
    jobs.install("backfill_jobs", &crate::fixture::named(), &crate::fixture::rules()).unwrap();
    assert_eq!(damages(&jobs), [""; 0]);
    jobs.server.sql("postgres", "ALTER DATABASE jobs RENAME TO sound");
    for (sql, said) in WEAKENED {
        jobs.server.sql("postgres", "CREATE DATABASE jobs TEMPLATE sound");
        jobs.admin(sql);
        let found = damages(&jobs);
        assert!(found.iter().any(|problem| problem.contains(said)), "{sql}: {found:?}");
        jobs.server.sql("postgres", "DROP DATABASE jobs");
    }
}

#[test]
fn a_sound_guard_is_sound_and_each_way_to_weaken_it_is_found() {
    each_weakness_is_found("15");
}

#[test]
fn each_way_to_weaken_it_is_found_on_18_too() {
    each_weakness_is_found("18");
}
