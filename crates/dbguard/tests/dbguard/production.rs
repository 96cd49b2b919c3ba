//! What has to go on: workers, users and the right reaper, none of which knows of Palisade.

use palisade_testkit::postgres;

use crate::fixture::{Jobs, REAPER};

fn goes_on(jobs: &Jobs) {
    jobs.running(0, "0 s");
    jobs.app("INSERT INTO backfill_jobs (name) SELECT 'job ' || n FROM generate_series(1, 40) n").succeeds();
    jobs.app("UPDATE backfill_jobs SET status = 'running', heartbeat_at = now()").succeeds();
    jobs.app("UPDATE backfill_jobs SET heartbeat_at = now(), entities = entities + 1").succeeds();
    let end = |status: &str, from: u32, to: u32| {
        jobs.app(&format!(
            "UPDATE backfill_jobs SET status = '{status}' WHERE split_part(name, ' ', 2)::int BETWEEN {from} AND {to}"
        ))
        .succeeds();
    };
    // Done and the worker's own states have no budget; a user's cancel of a beating job has.
    end("completed", 1, 10);
    end("failed", 11, 20);
    end("queued", 21, 30);
    end("cancelled", 31, 33);
    assert_eq!(
        ["completed", "failed", "queued", "cancelled", "running"].map(|s| jobs.count(s)),
        [10, 10, 10, 3, 7]
    );
}

#[test]
fn claims_beats_completions_failures_requeues_and_a_users_cancel_pass() {
    for version in postgres::VERSIONS {
        goes_on(&Jobs::guarded(version));
    }
}

#[test]
fn they_pass_through_a_transaction_pooler_too() {
    goes_on(&Jobs::guarded("15").through_a_pooler());
}

#[test]
fn a_job_that_was_silent_for_long_completes_when_its_worker_comes_back() {
    let jobs = Jobs::guarded("15");
    jobs.running(5, "30 minutes");
    jobs.app("UPDATE backfill_jobs SET status = 'completed'").succeeds();
    assert_eq!(jobs.count("completed"), 5);
}

#[test]
fn the_right_reaper_takes_what_was_silent_for_sixty_minutes_however_many_there_are() {
    for version in postgres::VERSIONS {
        let jobs = Jobs::guarded(version);
        jobs.running(8, "61 minutes");
        jobs.app(&REAPER.replace("10 minutes", "60 minutes")).succeeds();
        assert_eq!(jobs.count("cancelled"), 8);
    }
}

#[test]
fn nobody_was_silent_for_an_hour_on_a_server_that_has_just_started() {
    let jobs = Jobs::guarded("15");
    jobs.admin(
        "CREATE OR REPLACE FUNCTION palisade.started() RETURNS timestamptz LANGUAGE sql \
        AS $$ SELECT pg_postmaster_start_time() $$",
    );
    jobs.running(3, "2 hours");
    jobs.app(&REAPER.replace("10 minutes", "60 minutes")).fails("PL301");
    assert_eq!(jobs.count("running"), 3);
}

#[test]
fn between_quiet_and_old_a_reason_of_the_right_form_and_a_users_mark_pass_within_the_budget() {
    let jobs = Jobs::guarded("15");
    jobs.running(5, "12 minutes");
    jobs.app("UPDATE backfill_jobs SET status = 'cancelled', error = 'Reaper: d8d9 silent' WHERE name = 'a'")
        .succeeds();
    jobs.app("UPDATE backfill_jobs SET status = 'cancelled', cancelled_by = 'user:7' WHERE name = 'b'")
        .succeeds();
    jobs.app("UPDATE backfill_jobs SET status = 'cancelled', cancelled_by = 'cron' WHERE name = 'c'")
        .fails("PL301");
    jobs.app(
        "UPDATE backfill_jobs SET status = 'cancelled', cancelled_by = 'user:7' WHERE name IN ('c', 'd')",
    )
    .fails("PL302");
    assert_eq!((jobs.count("cancelled"), jobs.count("running")), (2, 3));
}

#[test]
fn a_job_that_was_just_claimed_is_not_old_because_of_its_last_attempts_beat() {
    let jobs = Jobs::guarded("18");
    jobs.running(0, "0 s");
    jobs.app("INSERT INTO backfill_jobs (name, heartbeat_at) VALUES ('again', now() - interval '3 hours')")
        .succeeds();
    jobs.app("UPDATE backfill_jobs SET status = 'running'").succeeds();
    jobs.admin("UPDATE palisade.job SET entered_at = entered_at - interval '12 minutes'");
    jobs.app(&REAPER.replace("10 minutes", "60 minutes")).fails("PL301");
}

#[test]
fn a_library_that_moves_a_job_by_deleting_it_and_putting_it_back_goes_on() {
    for version in postgres::VERSIONS {
        let jobs = Jobs::guarded(version);
        let moved = |to: &str| {
            format!(
                "WITH gone AS (DELETE FROM backfill_jobs RETURNING *) \
                 INSERT INTO backfill_jobs (id, name, status, heartbeat_at, error) \
                 SELECT id, name, '{to}', heartbeat_at, 'once more' FROM gone"
            )
        };
        // As pg-boss fails a job: more of them than the budget has slots.
        jobs.running(5, "5 seconds");
        jobs.app(&moved("failed")).succeeds();
        assert_eq!(jobs.count("failed"), 5, "{version}");
        // Put back as running it is the same job with the same silence.
        jobs.running(5, "12 minutes");
        jobs.app(&moved("running")).succeeds();
        jobs.app(REAPER).fails("PL301");
        jobs.app(&moved("cancelled")).fails("PL301");
        jobs.app(&moved("completed")).succeeds();
    }
}

#[test]
fn a_superuser_is_judged_like_everybody_and_can_always_open_the_guard() {
    let jobs = Jobs::guarded("18");
    jobs.running(2, "12 minutes");
    jobs.server.as_role("postgres", "jobs", REAPER).fails("PL301");
    let replica = format!("SET session_replication_role = replica; {REAPER}");
    jobs.server.as_role("postgres", "jobs", &replica).fails("PL301");
    jobs.admin("UPDATE palisade.guard SET mode = 'observe'");
    jobs.app(REAPER).succeeds();
    assert_eq!(jobs.count("cancelled"), 2);
}
