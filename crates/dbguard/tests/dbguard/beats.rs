//! Beats: back a little is recorded, back a lot and into the future is refused.

use crate::fixture::{Jobs, REAPER};

fn beat(jobs: &Jobs, to: &str) -> palisade_testkit::psql::Said {
    jobs.app(&format!("UPDATE backfill_jobs SET heartbeat_at = now() - interval '{to}'"))
}

#[test]
fn a_clock_that_is_a_little_off_is_recorded_and_the_highest_beat_counts() {
    let jobs = Jobs::guarded("15");
    jobs.running(1, "10 seconds");
    beat(&jobs, "50 seconds").succeeds();
    beat(&jobs, "65 seconds").succeeds();
    // One minute below the highest beat, not below the last one.
    beat(&jobs, "100 seconds").fails("PL304");
    beat(&jobs, "-30 seconds").succeeds();
    beat(&jobs, "-90 seconds").fails("PL305");
    assert_eq!(jobs.admin("SELECT count(*) FROM palisade.history WHERE event = 'set-back'"), "2");
}

#[test]
fn small_steps_back_do_not_make_a_job_old() {
    let jobs = Jobs::guarded("18");
    jobs.running(1, "59 minutes 30 seconds");
    beat(&jobs, "60 minutes 20 seconds").succeeds();
    jobs.app(&REAPER.replace("10 minutes", "60 minutes")).succeeds();
    jobs.running(1, "58 minutes 30 seconds");
    beat(&jobs, "59 minutes 20 seconds").succeeds();
    jobs.app(&REAPER.replace("10 minutes", "59 minutes")).fails("PL301");
}

#[test]
fn a_job_cannot_be_claimed_with_a_beat_from_the_future_and_stay_fresh_for_ever() {
    let jobs = Jobs::guarded("15");
    jobs.running(1, "12 minutes");
    jobs.app(
        "INSERT INTO backfill_jobs (status, heartbeat_at) VALUES ('running', now() + interval '1 hour')",
    )
    .fails("PL305");
    // One that lay there before the guard came says nothing about its worker.
    jobs.running(1, "-9 hours");
    jobs.app("UPDATE backfill_jobs SET status = 'cancelled'").fails("PL301");
    beat(&jobs, "0 seconds").succeeds();
    jobs.app("UPDATE backfill_jobs SET status = 'cancelled'").succeeds();
}
