//! Beats: back a little is recorded, back a lot and into the future is refused.

use palisade_testkit::Psql;

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

/// The WAL records that a statement's transaction writes, each with its bytes. What the server writes beside them is not the
/// transaction's: images of whole pages, and what it tells its standbys.
fn records(jobs: &Jobs, app: &mut Psql, sql: &str) -> Vec<String> {
    let from = jobs.admin("SELECT pg_current_wal_flush_lsn()");
    assert_eq!(app.ask(sql).1, "00000", "{sql}");
    let written = jobs.admin(&format!(
        "SELECT resource_manager, record_type, record_length - fpi_length FROM pg_get_wal_records_info('{from}', \
         pg_current_wal_flush_lsn()) WHERE xid <> '0' AND resource_manager <> 'XLOG'"
    ));
    written.lines().map(str::to_owned).collect()
}

fn beats_write_what_they_wrote_without_a_guard(version: &'static str) {
    // Nobody else has a transaction here.
    let jobs = Jobs::unguarded_with(version, &["autovacuum=off"]);
    jobs.admin("CREATE EXTENSION pg_walinspect");
    // The log keeps those bytes of a row that changed: each job gets the same moments.
    let at = |age: &str| jobs.admin(&format!("SELECT date_trunc('second', now()) - interval '{age}'"));
    let moments = ["60 seconds", "50 seconds", "40 seconds", "30 seconds"].map(at);
    jobs.app(&format!(
        "INSERT INTO backfill_jobs (name, status, heartbeat_at) SELECT chr(96 + n), 'running', '{}' FROM generate_series(1, 2) n",
        moments[0]
    ))
    .succeeds();
    let mut app = jobs.server.session("app", "jobs");
    let mut beaten = |name: &str| {
        let beat = |moment: &String| {
            format!("UPDATE backfill_jobs SET heartbeat_at = '{moment}' WHERE name = '{name}'")
        };
        // The first one writes pages whole.
        assert_eq!(app.ask(&beat(&moments[1])).1, "00000");
        moments[2..].iter().map(|moment| records(&jobs, &mut app, &beat(moment))).collect::<Vec<_>>()
    };
    let without = beaten("a");
    assert!(without.iter().all(|one| one.len() == 2), "a row and a commit: {without:?}");
    jobs.guard(|_| {});
    let with = beaten("b");
    assert_eq!(with, without);
    // What a trigger writes would be seen: an exit has a row in the history.
    let exit = records(&jobs, &mut app, "UPDATE backfill_jobs SET status = 'completed' WHERE name = 'b'");
    assert!(exit.len() > 4, "{exit:?}");
}

#[test]
fn a_beat_writes_the_same_wal_records_with_a_guard_as_without_on_15() {
    beats_write_what_they_wrote_without_a_guard("15");
}

#[test]
fn a_beat_writes_the_same_wal_records_with_a_guard_as_without_on_18() {
    beats_write_what_they_wrote_without_a_guard("18");
}
