//! 2026-05-04: a stale app with production's credentials cancels jobs after ten minutes of silence.

use palisade_testkit::postgres;

use crate::fixture::{Jobs, REAPER};

/// The same deed in every form that SQL has for it, and the error that ends it; `None` where the client swallows it.
fn forms() -> Vec<(&'static str, String, Option<&'static str>)> {
    let set = "SET status = 'cancelled', error = 'Abandoned (server restart or timeout)'";
    let silent = "status = 'running' AND heartbeat_at < now() - interval '10 minutes'";
    let swallowed = |body: &str| format!("DO $$ DECLARE job record; BEGIN {body} END $$");
    vec![
        ("autocommit", REAPER.to_owned(), Some("PL301")),
        (
            "a larger transaction",
            format!("BEGIN; INSERT INTO backfill_jobs (name) VALUES ('new'); {REAPER}; COMMIT"),
            Some("PL301"),
        ),
        (
            "a CTE",
            format!(
                "WITH silent AS (SELECT id FROM backfill_jobs WHERE {silent}), gone AS \
            (UPDATE backfill_jobs j {set} FROM silent s WHERE j.id = s.id RETURNING j.id) SELECT count(*) FROM gone"
            ),
            Some("PL301"),
        ),
        (
            "MERGE",
            format!(
                "MERGE INTO backfill_jobs j USING (SELECT id FROM backfill_jobs WHERE {silent}) s \
            ON j.id = s.id WHEN MATCHED THEN UPDATE {set}"
            ),
            Some("PL301"),
        ),
        (
            "ON CONFLICT",
            format!(
                "INSERT INTO backfill_jobs (id) SELECT id FROM backfill_jobs WHERE {silent} \
            ON CONFLICT (id) DO UPDATE {set}"
            ),
            Some("PL301"),
        ),
        ("a swallowed error", swallowed(&format!("{REAPER}; EXCEPTION WHEN OTHERS THEN NULL;")), None),
        (
            "row by row",
            swallowed(&format!(
                "FOR job IN SELECT id FROM backfill_jobs WHERE {silent} LOOP BEGIN \
            UPDATE backfill_jobs {set} WHERE id = job.id; EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP;"
            )),
            None,
        ),
        ("another name for it", REAPER.replace("'cancelled'", "'failed'"), Some("PL301")),
        (
            "two hops",
            format!("UPDATE backfill_jobs SET status = 'queued' WHERE {silent}; {REAPER}"),
            Some("PL301"),
        ),
        (
            "a faked silence",
            format!(
                "UPDATE backfill_jobs SET heartbeat_at = now() - interval '2 hours' WHERE {silent}; {REAPER}"
            ),
            Some("PL304"),
        ),
        (
            "no silence at all",
            format!("UPDATE backfill_jobs SET heartbeat_at = NULL WHERE {silent}"),
            Some("PL304"),
        ),
        ("a deletion", format!("DELETE FROM backfill_jobs WHERE {silent}"), Some("PL301")),
        (
            "deleted and put back",
            format!(
                "WITH gone AS (DELETE FROM backfill_jobs WHERE {silent} RETURNING id, name) \
            INSERT INTO backfill_jobs (id, name, status) SELECT id, name, 'cancelled' FROM gone"
            ),
            Some("PL301"),
        ),
        ("a truncation", "TRUNCATE backfill_jobs".to_owned(), Some("PL303")),
        (
            "another key",
            format!("UPDATE backfill_jobs SET id = gen_random_uuid() WHERE {silent}"),
            Some("PL306"),
        ),
        ("triggers turned off", format!("SET session_replication_role = replica; {REAPER}"), Some("42501")),
    ]
}

fn refused_in_every_form(jobs: &Jobs) {
    for (form, sql, error) in forms() {
        jobs.running(5, "12 minutes");
        let said = jobs.app(&sql);
        match error {
            Some(error) => {
                assert!(
                    !said.success && said.stderr.contains(&format!("{error}:")),
                    "{form}: {}",
                    said.stderr
                );
            }
            None => assert!(said.success, "{form}: {}", said.stderr),
        }
        assert_eq!(jobs.count("running"), 5, "{form}");
    }
}

#[test]
fn unguarded_the_stale_reaper_cancels_every_job() {
    for version in postgres::VERSIONS {
        let jobs = Jobs::unguarded(version);
        jobs.running(5, "12 minutes");
        jobs.app(REAPER).succeeds();
        assert_eq!((jobs.count("running"), jobs.count("cancelled")), (0, 5), "{version}");
    }
}

#[test]
fn the_stale_reaper_with_productions_credentials_is_refused_in_every_form_on_15() {
    refused_in_every_form(&Jobs::guarded("15"));
}

#[test]
fn the_stale_reaper_with_productions_credentials_is_refused_in_every_form_on_18() {
    refused_in_every_form(&Jobs::guarded("18"));
}

#[test]
fn the_stale_reaper_is_refused_in_every_form_through_a_transaction_pooler_on_15() {
    refused_in_every_form(&Jobs::guarded("15").through_a_pooler());
}

#[test]
fn the_stale_reaper_is_refused_in_every_form_through_a_transaction_pooler_on_18() {
    refused_in_every_form(&Jobs::guarded("18").through_a_pooler());
}

#[test]
fn a_refusal_says_what_was_refused_why_and_how_to_go_on() {
    let jobs = Jobs::guarded("18");
    jobs.running(1, "12 minutes");
    let said = jobs.app(&format!("SET application_name = 'atom-saas-test'; {REAPER}")).fails("PL301");
    for part in [
        "running -> cancelled refused: its last heartbeat is 0h 12m",
        "the rule is 01:00:00 in public.backfill_jobs",
        "role app, application_name 'atom-saas-test', from 127.0.0.1",
        "This statement changed nothing.",
        "palisade explain PAL-301",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
