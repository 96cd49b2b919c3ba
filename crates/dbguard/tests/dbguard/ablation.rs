//! Each part of the guard is needed: without it, the deed that it stops does its harm.

use palisade_dbguard::Mode;

use crate::fixture::{Jobs, REAPER};

/// A part that is taken away, and the deed that then succeeds for five jobs that were silent for twelve minutes.
const PARTS: [(&str, &str, &str); 7] = [
    ("the trigger", "DROP TRIGGER palisade_rows ON backfill_jobs", REAPER),
    ("the trigger for TRUNCATE", "DROP TRIGGER palisade_truncate ON backfill_jobs", "TRUNCATE backfill_jobs"),
    ("the age", "UPDATE palisade.guard SET min_age = '10 min'", REAPER),
    (
        "the time until a worker is quiet",
        "UPDATE palisade.guard SET quiet_after = '15 min', own = '{cancelled}'",
        REAPER,
    ),
    (
        "the watch over beats",
        "CREATE OR REPLACE FUNCTION palisade.stay(rule integer, key text, became_key text, state text, \
         beat timestamptz, became_beat timestamptz) RETURNS void LANGUAGE sql AS ''",
        "UPDATE backfill_jobs SET heartbeat_at = now() - interval '2 hours'; \
         UPDATE backfill_jobs SET status = 'cancelled'",
    ),
    (
        "the look at what was put back",
        "UPDATE palisade.guard SET done = '{DELETE}'",
        "DELETE FROM backfill_jobs",
    ),
    ("the mode", "UPDATE palisade.guard SET mode = 'observe'", REAPER),
];

#[test]
fn without_one_of_its_parts_the_deed_that_it_stops_does_its_harm() {
    let jobs = Jobs::unguarded("15");
    for (part, ablation, deed) in PARTS {
        jobs.guard(|_| {});
        jobs.running(5, "12 minutes");
        assert!(!jobs.app(deed).success, "{part} is there");
        assert_eq!(jobs.count("running"), 5, "{part} is there");
        jobs.admin(ablation);
        jobs.app(deed).succeeds();
        assert_eq!(jobs.count("running"), 0, "{part} is gone");
        jobs.remove("postgres", "backfill_jobs", true).unwrap();
    }
}

#[test]
fn without_the_budget_a_loop_takes_everything() {
    let jobs = Jobs::guarded("18");
    let fresh = "DO $$ DECLARE job record; BEGIN FOR job IN SELECT id FROM backfill_jobs LOOP BEGIN \
        UPDATE backfill_jobs SET status = 'cancelled' WHERE id = job.id; \
        EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$";
    jobs.running(8, "5 seconds");
    jobs.app(fresh).succeeds();
    assert_eq!(jobs.count("running"), 5);
    jobs.admin(
        "CREATE OR REPLACE FUNCTION palisade.take_slot(g palisade.guard) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    );
    jobs.app(fresh).succeeds();
    assert_eq!(jobs.count("running"), 0);
}

#[test]
fn a_trigger_of_the_app_that_changes_the_state_is_judged_by_what_it_makes() {
    let jobs = Jobs::guarded("15");
    jobs.app(
        "CREATE FUNCTION flip() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN NEW.status := ''cancelled''; RETURN NEW; END'; \
         CREATE TRIGGER zzz BEFORE UPDATE ON backfill_jobs FOR EACH ROW EXECUTE FUNCTION flip()",
    )
    .succeeds();
    jobs.running(2, "12 minutes");
    jobs.app("UPDATE backfill_jobs SET entities = 1").fails("PL301");
    assert_eq!(jobs.count("running"), 2);
}

#[test]
fn an_operator_of_the_app_in_its_search_path_changes_no_judgement() {
    let jobs = Jobs::with("18", |rules| rules.mode = Mode::Enforce);
    jobs.app(
        "CREATE SCHEMA sly; CREATE FUNCTION sly.yes(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false'; \
         CREATE OPERATOR sly.= (LEFTARG = text, RIGHTARG = text, FUNCTION = sly.yes)",
    )
    .fails("42501");
    jobs.admin("GRANT CREATE ON DATABASE jobs TO app");
    jobs.app(
        "CREATE SCHEMA sly; CREATE FUNCTION sly.yes(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false'; \
         CREATE OPERATOR sly.= (LEFTARG = text, RIGHTARG = text, FUNCTION = sly.yes); \
         CREATE FUNCTION sly.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT pg_catalog.now() + interval ''2 hours'''",
    )
    .succeeds();
    jobs.running(3, "12 minutes");
    jobs.app(&format!("SET search_path = sly, pg_temp, public, pg_catalog; {REAPER}")).fails("PL301");
    let shadow = "CREATE TEMP TABLE pg_class (oid oid); CREATE TEMP TABLE guard (id int);";
    jobs.app(&format!("{shadow} {REAPER}")).fails("PL301");
    assert_eq!(jobs.count("running"), 3);
}
