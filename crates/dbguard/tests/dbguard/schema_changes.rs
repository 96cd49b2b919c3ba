//! The app's own migrations: none fails because of a guard, and none breaks a worker.

use palisade_testkit::{Psql, postgres};

use crate::fixture::{Jobs, REAPER};

#[test]
fn renamed_columns_are_followed_and_beats_pass_in_sessions_old_and_new() {
    for version in postgres::VERSIONS {
        let jobs = Jobs::guarded(version);
        jobs.running(3, "12 minutes");
        let mut old = Psql::open(&jobs.url());
        assert_eq!(old.ask("UPDATE backfill_jobs SET heartbeat_at = heartbeat_at").1, "00000");
        jobs.app("ALTER TABLE backfill_jobs RENAME status TO state").succeeds();
        jobs.app("ALTER TABLE backfill_jobs RENAME heartbeat_at TO beat").succeeds();
        let reaper = REAPER.replace("status", "state").replace("heartbeat_at", "beat");
        assert_eq!(old.ask(&reaper).1, "PL301", "{version}");
        jobs.app(&reaper).fails("PL301");
        assert_eq!(old.ask("UPDATE backfill_jobs SET beat = now()").1, "00000", "{version}");
        jobs.app("UPDATE backfill_jobs SET beat = now()").succeeds();
        jobs.app("UPDATE backfill_jobs SET state = 'completed'").succeeds();
    }
}

#[test]
fn a_changed_type_breaks_neither_the_migration_nor_a_session_that_is_open() {
    for version in postgres::VERSIONS {
        let jobs = Jobs::guarded(version);
        jobs.running(3, "12 minutes");
        let mut old = Psql::open(&jobs.url());
        assert_eq!(old.ask("UPDATE backfill_jobs SET heartbeat_at = heartbeat_at").1, "00000");
        jobs.app("ALTER TABLE backfill_jobs ALTER status DROP DEFAULT, ALTER status TYPE text").succeeds();
        jobs.app("ALTER TABLE backfill_jobs ALTER heartbeat_at TYPE timestamptz(3)").succeeds();
        assert_eq!(old.ask(REAPER).1, "PL301", "{version}");
        assert_eq!(old.ask("UPDATE backfill_jobs SET heartbeat_at = now()").1, "00000", "{version}");
        assert_eq!(old.ask("UPDATE backfill_jobs SET status = 'completed' WHERE name = 'a'").1, "00000");
        jobs.app("UPDATE backfill_jobs SET status = 'completed' WHERE name = 'b'").succeeds();
    }
}

#[test]
fn a_guard_that_is_broken_or_locked_stops_no_worker_and_still_no_reaper() {
    let jobs = Jobs::guarded("18");
    let goes_on = |worker: &str| {
        let timed = format!("SET statement_timeout = '5s'; {worker}");
        jobs.app(&timed).succeeds();
    };
    let lock = "BEGIN; LOCK TABLE palisade.history IN ACCESS EXCLUSIVE MODE";
    // What judges needs no history; without the rules nothing can be judged.
    for (broken, refusal) in [
        (lock, "PL301"),
        ("ALTER TABLE palisade.history RENAME TO elsewhere", "PL301"),
        ("BEGIN; LOCK TABLE palisade.job IN ACCESS EXCLUSIVE MODE", "PL307"),
        ("DROP TABLE palisade.guard CASCADE", "PL307"),
    ] {
        jobs.running(4, "12 minutes");
        let mut admin = jobs.server.session("postgres", "jobs");
        assert_eq!(admin.ask(broken).1, "00000");
        goes_on("UPDATE backfill_jobs SET heartbeat_at = now() WHERE name = 'd'");
        goes_on("UPDATE backfill_jobs SET status = 'completed' WHERE name = 'a'");
        goes_on("INSERT INTO backfill_jobs (name, status, heartbeat_at) VALUES ('new', 'running', now())");
        jobs.app(REAPER).fails(refusal);
        assert_eq!((jobs.count("running"), jobs.count("completed")), (4, 1), "{broken}");
        drop(admin);
        if broken.starts_with("ALTER") {
            jobs.admin("ALTER TABLE palisade.elsewhere RENAME TO history");
        }
    }
}

#[test]
fn a_broken_guard_in_observe_stops_nothing() {
    let jobs = Jobs::with("15", |rules| rules.mode = palisade_dbguard::Mode::Observe);
    jobs.running(4, "12 minutes");
    jobs.admin("ALTER TABLE palisade.history RENAME TO elsewhere");
    jobs.app(REAPER).succeeds();
    assert_eq!(jobs.count("cancelled"), 4);
    assert!(jobs.server.log().contains("could not do its work"), "{}", jobs.server.log());
}

#[test]
fn a_dropped_beat_refuses_only_what_needs_it_and_a_dropped_state_nothing() {
    let jobs = Jobs::guarded("15");
    jobs.running(4, "12 minutes");
    jobs.app("ALTER TABLE backfill_jobs DROP heartbeat_at").succeeds();
    jobs.app("UPDATE backfill_jobs SET entities = 1").succeeds();
    jobs.app("UPDATE backfill_jobs SET status = 'cancelled' WHERE name = 'a'").fails("PL307");
    jobs.app("UPDATE backfill_jobs SET status = 'completed' WHERE name = 'b'").succeeds();
    jobs.app("ALTER TABLE backfill_jobs DROP error, DROP cancelled_by").succeeds();
    jobs.app("UPDATE backfill_jobs SET status = 'completed' WHERE name = 'c'").succeeds();
    jobs.app("ALTER TABLE backfill_jobs DROP status").succeeds();
    jobs.app("UPDATE backfill_jobs SET entities = 2").succeeds();
    jobs.app("DELETE FROM backfill_jobs").succeeds();
    jobs.app("TRUNCATE backfill_jobs").succeeds();
    jobs.app("DROP TABLE backfill_jobs").succeeds();
}
