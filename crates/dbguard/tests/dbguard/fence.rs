//! A takeover between a leader's check and its commit, while somebody else holds the job's row.

use palisade_dbguard::proof::AppKey;
use palisade_testkit::{Psql, eventually, postgres};

use crate::fixture::Jobs;
use crate::identities::{begin, key_of, stamped};

const LEVELS: [&str; 3] = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"];

const CANCEL: &str = "UPDATE backfill_jobs SET status = 'cancelled' WHERE name = 'a'";

/// Takes the lease over though its time is not up: what happens when clocks, or a person, say so.
const TAKEOVER: &str = "UPDATE palisade.lease SET term = term + 1, holder = 'machine-2', \
    expires_at = clock_timestamp() + interval '1 minute' WHERE name = 'reaper'";

/// Whether a server process waits for a lock.
fn waits(jobs: &Jobs, pid: &str) -> bool {
    jobs.admin(&format!(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event_type = 'Lock'"
    )) == "1"
}

fn pid(session: &mut Psql) -> String {
    session.ask("SELECT pg_backend_pid()").0
}

fn takeover_waits(jobs: &Jobs, key: &AppKey, level: &str) {
    jobs.running(5, "12 minutes");
    jobs.admin("DELETE FROM palisade.lease");
    jobs.app("SELECT palisade.acquire('reaper', 'machine-1', '1 minute')").succeeds();
    let (mut leader, mut third) = (Psql::open(&jobs.url()), Psql::open(&jobs.url()));
    let mut usurper = jobs.server.session("postgres", "jobs");
    let (leader_pid, usurper_pid) = (pid(&mut leader), pid(&mut usurper));
    third.ask("BEGIN");
    assert_eq!(third.ask("SELECT FROM backfill_jobs WHERE name = 'a' FOR UPDATE").1, "00000");
    leader.ask(&format!("BEGIN ISOLATION LEVEL {level}"));
    assert_eq!(leader.ask(&begin(jobs, key, ", 'reaper', 1")).0, "proven");
    leader.send(CANCEL);
    eventually("the leader waits for the job", || waits(jobs, &leader_pid).then_some(()));
    // A renewal waits for nobody; a takeover does.
    assert_eq!(jobs.app("SELECT palisade.renew('reaper', 'machine-1', 1, '1 minute')").succeeds(), "t");
    usurper.send(TAKEOVER);
    eventually("the takeover waits for the leader", || waits(jobs, &usurper_pid).then_some(()));
    third.ask("COMMIT");
    assert_eq!(leader.answer().1, "00000", "{level}");
    assert_eq!(jobs.admin("SELECT term FROM palisade.lease"), "1", "{level}: not before the commit");
    assert_eq!(leader.ask("COMMIT").1, "00000", "{level}");
    assert_eq!(usurper.answer().1, "00000");
    assert_eq!((jobs.count("cancelled"), jobs.admin("SELECT term FROM palisade.lease").as_str()), (1, "2"));
}

/// The takeover was first and has not committed: who began with the old term waits, and learns that it is over.
fn deposed_while_waiting(jobs: &Jobs, key: &AppKey, level: &str) {
    jobs.running(5, "12 minutes");
    jobs.admin("DELETE FROM palisade.lease");
    jobs.app("SELECT palisade.acquire('reaper', 'machine-1', '1 minute')").succeeds();
    let mut leader = Psql::open(&jobs.url());
    let mut usurper = jobs.server.session("postgres", "jobs");
    let leader_pid = pid(&mut leader);
    usurper.ask("BEGIN");
    assert_eq!(usurper.ask(TAKEOVER).1, "00000");
    leader.ask(&format!("BEGIN ISOLATION LEVEL {level}"));
    leader.send(&begin(jobs, key, ", 'reaper', 1"));
    eventually("the old leader waits", || waits(jobs, &leader_pid).then_some(()));
    usurper.ask("COMMIT");
    let expected = if level == "READ COMMITTED" { "PL322" } else { "40001" };
    assert_eq!(leader.answer().1, expected, "{level}");
    assert_eq!(leader.ask(CANCEL).1, "25P02", "nothing of the transaction goes on");
    leader.ask("ROLLBACK");
    // Its snapshot was older than the takeover: no later look may bring the old term back.
    leader.ask(&format!("BEGIN ISOLATION LEVEL {level}"));
    assert_eq!(leader.ask(&begin(jobs, key, ", 'reaper', 1")).1, "PL322");
    leader.ask("ROLLBACK");
    assert_eq!(jobs.count("cancelled"), 0);
}

fn fence_holds(version: &'static str) {
    let jobs = stamped(version);
    let key = key_of(&jobs, "atom");
    for level in LEVELS {
        takeover_waits(&jobs, &key, level);
        deposed_while_waiting(&jobs, &key, level);
    }
}

#[test]
fn a_deposed_leader_is_refused_and_a_takeover_waits_for_who_began_before() {
    fence_holds("15");
}

#[test]
fn the_fence_holds_on_18_too() {
    fence_holds("18");
}

#[test]
fn a_snapshot_from_before_a_takeover_does_not_bring_the_old_term_back() {
    for version in postgres::VERSIONS {
        let jobs = stamped(version);
        let key = key_of(&jobs, "atom");
        jobs.app("SELECT palisade.acquire('reaper', 'machine-1', '1 minute')").succeeds();
        let mut leader = Psql::open(&jobs.url());
        leader.ask("BEGIN ISOLATION LEVEL REPEATABLE READ");
        leader.ask("SELECT count(*) FROM backfill_jobs");
        jobs.admin(TAKEOVER);
        assert_eq!(leader.ask(&begin(&jobs, &key, ", 'reaper', 1")).1, "40001", "{version}");
    }
}

#[test]
fn a_lease_has_one_holder_and_its_term_only_grows() {
    let jobs = stamped("15");
    let ask = |sql: &str| jobs.app(&format!("SELECT {sql}")).succeeds();
    assert_eq!(ask("palisade.acquire('reaper', 'a', '1 minute')"), "1");
    assert_eq!(ask("palisade.acquire('reaper', 'b', '1 minute')"), "", "somebody holds it");
    assert_eq!(ask("palisade.renew('reaper', 'a', 1, '1 minute')"), "t");
    assert_eq!(ask("palisade.renew('reaper', 'a', 2, '1 minute')"), "f");
    assert_eq!(ask("palisade.release('reaper', 'a', 2)"), "f");
    assert_eq!(ask("palisade.release('reaper', 'a', 1)"), "t");
    assert_eq!(ask("palisade.renew('reaper', 'a', 1, '1 minute')"), "f", "what was released is over");
    assert_eq!(ask("palisade.acquire('reaper', 'b', '1 minute')"), "2");
    jobs.admin("UPDATE palisade.lease SET expires_at = clock_timestamp() - interval '1 s'");
    let key = key_of(&jobs, "atom");
    jobs.app(&begin(&jobs, &key, ", 'reaper', 2")).fails("PL322");
    assert_eq!(ask("palisade.acquire('reaper', 'a', '1 minute')"), "3");
    jobs.app(&begin(&jobs, &key, ", 'reaper'")).fails("PL322");
    jobs.app(&begin(&jobs, &key, ", term => 3")).fails("PL322");
}

/// Someone else's term: read from the table, or guessed.
#[test]
fn a_term_is_renewed_and_released_only_by_who_took_it() {
    for version in postgres::VERSIONS {
        let jobs = stamped(version);
        jobs.server.role("mailer", "");
        assert_eq!(jobs.app("SELECT palisade.acquire('reaper', 'machine-1', '1 minute')").succeeds(), "1");
        let until = jobs.admin("SELECT expires_at FROM palisade.lease");
        for holder in ["machine-2", "MACHINE-1", ""] {
            for deed in [
                format!("renew('reaper', '{holder}', 1, '1 hour')"),
                format!("release('reaper', '{holder}', 1)"),
            ] {
                assert_eq!(jobs.app(&format!("SELECT palisade.{deed}")).succeeds(), "f", "{version} {deed}");
            }
        }
        // The right name and term, by another role.
        for deed in ["renew('reaper', 'machine-1', 1, '1 hour')", "release('reaper', 'machine-1', 1)"] {
            let said = jobs.server.as_role("mailer", "jobs", &format!("SELECT palisade.{deed}")).succeeds();
            assert_eq!(said, "f", "{version} {deed}");
        }
        assert_eq!(
            jobs.admin("SELECT expires_at FROM palisade.lease"),
            until,
            "{version}: nobody touched it"
        );
        assert_eq!(jobs.app("SELECT palisade.renew('reaper', 'machine-1', 1, '1 hour')").succeeds(), "t");
        assert_eq!(jobs.app("SELECT palisade.release('reaper', 'machine-1', 1)").succeeds(), "t");
        let said = jobs
            .server
            .as_role("mailer", "jobs", "SELECT palisade.acquire('reaper', 'm', '1 minute')")
            .succeeds();
        assert_eq!(said, "2", "{version}: a free one is anybody's");
        assert_eq!(jobs.admin("SELECT role FROM palisade.lease"), "mailer");
    }
}
