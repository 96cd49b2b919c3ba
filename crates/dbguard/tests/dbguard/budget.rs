//! The budget: durable, shared by all clients, and nobody waits for it.

use palisade_testkit::{Psql, postgres};

use crate::fixture::Jobs;

fn cancel(name: &str) -> String {
    format!("UPDATE backfill_jobs SET status = 'cancelled' WHERE name = '{name}'")
}

#[test]
fn a_loop_that_swallows_its_errors_takes_no_more_than_the_budget() {
    for version in postgres::VERSIONS {
        let jobs = Jobs::guarded(version);
        jobs.running(8, "5 seconds");
        let fresh = "DO $$ DECLARE job record; BEGIN FOR job IN SELECT id FROM backfill_jobs LOOP BEGIN \
            UPDATE backfill_jobs SET status = 'cancelled' WHERE id = job.id; \
            EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$";
        jobs.app(fresh).succeeds();
        jobs.app(fresh).succeeds();
        assert_eq!((jobs.count("cancelled"), jobs.count("running")), (3, 5), "{version}");
        jobs.admin("UPDATE palisade.slot SET taken_at = taken_at - interval '11 minutes'");
        jobs.app(fresh).succeeds();
        assert_eq!(jobs.count("running"), 2, "{version}: the window is over");
    }
}

#[test]
fn one_statement_over_the_budget_is_refused_whole_and_gives_its_slots_back() {
    let jobs = Jobs::guarded("15");
    jobs.running(4, "5 seconds");
    jobs.app("UPDATE backfill_jobs SET status = 'cancelled'").fails("PL302");
    assert_eq!(jobs.count("running"), 4);
    jobs.app("UPDATE backfill_jobs SET status = 'cancelled' WHERE name <> 'a'").succeeds();
    assert_eq!(jobs.count("running"), 1);
}

#[test]
fn a_slot_in_an_open_transaction_counts_as_used_and_nobody_waits_for_it() {
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        let jobs = Jobs::guarded("18");
        jobs.running(6, "5 seconds");
        let (mut first, mut second) = (Psql::open(&jobs.url()), Psql::open(&jobs.url()));
        second.ask("SET statement_timeout = '5s'");
        first.ask(&format!("BEGIN ISOLATION LEVEL {level}"));
        for name in ["a", "b"] {
            assert_eq!(first.ask(&cancel(name)).1, "00000", "{level}");
        }
        second.ask(&format!("BEGIN ISOLATION LEVEL {level}"));
        assert_eq!(second.ask(&cancel("c")).1, "00000", "{level}: the third slot");
        second.ask("SAVEPOINT s");
        assert_eq!(
            second.ask(&cancel("d")).1,
            "PL302",
            "{level}: neither a wait nor an error that is not ours"
        );
        second.ask("ROLLBACK TO s");
        // What rolls back gives its slots back at once, also to a transaction that began before.
        first.ask("ROLLBACK");
        assert_eq!(second.ask(&cancel("d")).1, "00000", "{level}");
        second.ask("COMMIT");
        assert_eq!(jobs.count("cancelled"), 2, "{level}");
    }
}

#[test]
fn a_slot_that_was_taken_since_a_transaction_began_to_look_is_not_an_error_of_ours() {
    let jobs = Jobs::guarded("15");
    jobs.running(6, "5 seconds");
    let mut early = Psql::open(&jobs.url());
    early.ask("BEGIN ISOLATION LEVEL REPEATABLE READ");
    early.ask("SELECT count(*) FROM backfill_jobs");
    jobs.app(&cancel("a")).succeeds();
    jobs.app(&cancel("b")).succeeds();
    assert_eq!(early.ask(&cancel("c")).1, "00000", "the third slot");
    assert_eq!(early.ask(&cancel("d")).1, "PL302");
}
