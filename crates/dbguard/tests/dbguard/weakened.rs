//! Rights that void a guard are told, and so is a function that runs otherwise than it was made.

use palisade_dbguard::{installed, weaknesses};

use crate::fixture::{Jobs, named, rules, wait};
use crate::verified::damages;

fn weak(jobs: &Jobs) -> Vec<String> {
    wait(async {
        let session = jobs.connect("postgres").await;
        let guards = installed(&session).await.unwrap();
        let found = weaknesses(&session, &guards).await.unwrap();
        found.into_iter().map(|weakness| format!("{}: {}", weakness.table, weakness.problem)).collect()
    })
}

/// What somebody does, and a word of what is said then.
const VOIDED: [(&str, &str); 5] = [
    ("CREATE ROLE other LOGIN; GRANT TRIGGER ON backfill_jobs TO other", "other may add triggers"),
    ("CREATE ROLE other LOGIN; GRANT palisade_owner TO other", "other can change the guards themselves"),
    (
        "CREATE ROLE other LOGIN; GRANT UPDATE ON palisade.guard TO other",
        "other can change the guards themselves",
    ),
    ("CREATE ROLE other LOGIN; GRANT app TO other", "app, other can act as its owner app"),
    (
        "UPDATE backfill_jobs SET status = 'running', heartbeat_at = now(); UPDATE backfill_jobs SET status = 'failed'",
        "postgres is a superuser and wrote guarded tables",
    ),
];

/// What is done to a function, and a word of what is said about it.
const OTHERWISE: [(&str, &str); 6] = [
    ("GRANT EXECUTE ON FUNCTION palisade.truncate_1() TO PUBLIC", "may be put behind a table of anybody's"),
    ("ALTER FUNCTION palisade.rows_1() OWNER TO palisade_owner", "belongs to another role"),
    ("ALTER FUNCTION palisade.rows_1() SECURITY INVOKER", "runs with the rights of whoever writes"),
    ("ALTER FUNCTION palisade.enforces(integer) RESET search_path", "has another search_path"),
    ("ALTER FUNCTION palisade.take_slot OWNER TO postgres", "belongs to another role"),
    (
        "CREATE FUNCTION palisade.enforces(text) RETURNS boolean LANGUAGE sql SET search_path = pg_catalog, pg_temp AS 'SELECT true'",
        "is there more than once",
    ),
];

fn each_is_told(version: &'static str) {
    let jobs = Jobs::unguarded(version);
    jobs.install("backfill_jobs", &named(), &rules()).unwrap();
    assert_eq!(weak(&jobs), ["backfill_jobs: app can act as its owner app, who may disable the guard"]);
    jobs.admin("CREATE ROLE nobody_logs_in; ALTER TABLE backfill_jobs OWNER TO nobody_logs_in; INSERT INTO backfill_jobs (name) VALUES ('a')");
    assert_eq!(weak(&jobs), [""; 0], "an owner that nobody logs in as");
    assert_eq!(damages(&jobs), [""; 0]);
    jobs.server.sql("postgres", "ALTER DATABASE jobs RENAME TO sound");
    for (sql, said) in VOIDED.into_iter().chain(OTHERWISE) {
        jobs.server.sql("postgres", "CREATE DATABASE jobs TEMPLATE sound");
        if said.contains("owner app") {
            jobs.admin("ALTER TABLE backfill_jobs OWNER TO app");
        }
        jobs.admin(sql);
        let found = [weak(&jobs), damages(&jobs)].concat();
        assert!(found.iter().any(|problem| problem.contains(said)), "{sql}: {found:?}");
        jobs.server.sql("postgres", "DROP DATABASE jobs");
        jobs.server.sql("postgres", "DROP ROLE IF EXISTS other");
    }
}

#[test]
fn each_right_that_voids_a_guard_is_told_on_15() {
    each_is_told("15");
}

#[test]
fn each_right_that_voids_a_guard_is_told_on_18() {
    each_is_told("18");
}
