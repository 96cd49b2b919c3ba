//! Each check, trigger and right of the guard is needed: with it a deed is refused, and the same deed does its harm once that
//! one part is taken away. docs/database.md lists them all, with those of other modules.

mod parts;
mod rights;

use palisade_dbguard::script::Named;
use palisade_testkit::Psql;

use crate::fixture::{Jobs, named, rules};
use crate::identities::{begin, key_of, now_s, stamped};
use crate::stamps::stamp;
use parts::Part::{self, Piece, Sql};
use parts::{Case, IDENTITY, JUDGEMENT};
use rights::{GIVEN, LEASES, RIGHTS};

/// A database that nothing was done to yet: each case has a copy of it.
fn sound() -> Jobs {
    let jobs = Jobs::unguarded("15");
    let named = Named { own: vec!["error".to_owned()], ..named() };
    jobs.install("public.backfill_jobs", &named, &rules()).unwrap();
    jobs.up_for_a_day();
    stamp(&jobs.server, "production");
    key_of(&jobs, "atom");
    jobs.app("SELECT palisade.acquire('reaper', 'a', '1 hour')").succeeds();
    jobs.server.sql("postgres", "ALTER DATABASE jobs RENAME TO sound");
    jobs
}

/// The definition of the function of that name.
fn definition(jobs: &Jobs, name: &str) -> String {
    jobs.admin(&format!(
        "SELECT pg_get_functiondef(p.oid) FROM pg_proc p WHERE p.pronamespace = 'palisade'::regnamespace AND p.proname = '{name}'"
    ))
}

fn take(jobs: &Jobs, part: Part) {
    match part {
        Sql(sql) => drop(jobs.admin(sql)),
        Piece(name, piece, instead) => {
            let whole = definition(jobs, name);
            assert_eq!(whole.matches(piece).count(), 1, "{piece:?} in {whole}");
            jobs.admin(&whole.replace(piece, instead));
        }
    }
}

/// A call of palisade.begin whose proof is made by the server itself, with the key of that generation.
fn by_server(jobs: &Jobs, environment: &str, generation: u32, at_s: u64) -> String {
    let key = format!("palisade.key('atom', '{environment}', {generation})");
    let message = format!(
        "format(E'palisade-proof/1\\n%s\\n%s\\n%s\\n%s', palisade.database_id(), 'atom', '{environment}', {at_s})"
    );
    let mac =
        jobs.admin(&format!("SELECT encode(palisade.hmac({key}, convert_to({message}, 'UTF8')), 'hex')"));
    format!("SELECT palisade.begin('atom', '{environment}', '{at_s}-{mac}')")
}

/// The deed with its proofs, in one transaction.
fn deed(jobs: &Jobs, text: &str) -> String {
    let now = || now_s(jobs);
    let ours = |more: &str| begin(jobs, &key_of(jobs, "atom"), more);
    let said = match text.split_once('}').map(|(call, _)| &call[1..]) {
        Some("leader") => ours(", 'reaper', 1"),
        Some("seven") => ours(", 'reaper', 7"),
        Some("own") => ours(", 'reaper/backfill_jobs', 1"),
        Some("known") => ours(""),
        Some("late") => by_server(jobs, "production", 1, now() - 600),
        Some("first") => by_server(jobs, "production", 1, now()),
        Some("test") => by_server(jobs, "test", 1, now()),
        _ => return format!("BEGIN; {text}; COMMIT"),
    };
    let (_, rest) = text.split_once('}').unwrap();
    format!("BEGIN; {said}{rest}; COMMIT")
}

/// Makes the database of a case, with so many jobs that run and with what `ready` does. A copy knows that it is one: this
/// one is meant to be the database itself.
fn copy(jobs: &Jobs, (running, age): (usize, &str), ready: &str) {
    jobs.server.sql("postgres", "CREATE DATABASE jobs TEMPLATE sound");
    jobs.running(running, age);
    let own = "UPDATE palisade.stamp SET database_oid = (SELECT oid FROM pg_database WHERE datname = 'jobs')";
    jobs.admin(&format!("{own}; {ready}"));
}

/// Takes back what belongs to the server and not to the database. To drop the database would take a checkpoint.
fn put_away(jobs: &Jobs, number: usize) {
    let back =
        "ALTER ROLE app NOSUPERUSER; ALTER ROLE palisade_hand BYPASSRLS; REVOKE palisade_owner FROM app";
    jobs.server.sql("postgres", &format!("{back}; ALTER DATABASE jobs RENAME TO past_{number}"));
}

fn each_is_needed(cases: &[Case]) {
    let jobs = sound();
    for (number, &(part, taken, ready, running, text, refused)) in cases.iter().enumerate() {
        copy(&jobs, running, ready);
        let said = jobs.app(&deed(&jobs, text));
        assert!(!said.success && said.stderr.contains(&format!("{refused}:")), "with {part}: {said:?}");
        take(&jobs, taken);
        let said = jobs.app(&deed(&jobs, text));
        assert!(said.success, "without {part}: {said:?}");
        put_away(&jobs, number);
    }
}

#[test]
fn each_thing_that_a_running_job_is_judged_by_is_needed() {
    each_is_needed(JUDGEMENT);
}

#[test]
fn each_thing_that_tells_who_acts_is_needed() {
    each_is_needed(IDENTITY);
}

#[test]
fn each_thing_that_a_lease_asks_is_needed() {
    each_is_needed(LEASES);
}

#[test]
fn each_right_that_the_app_has_not_is_one_that_would_void_the_guard() {
    each_is_needed(RIGHTS);
}

#[test]
fn each_piece_that_an_installation_gives_is_one_that_good_work_needs() {
    let jobs = sound();
    for (number, (piece, taken, text, failed)) in GIVEN.iter().enumerate() {
        copy(&jobs, (5, "5 seconds"), "");
        let work = format!("{}; ROLLBACK", deed(&jobs, text).trim_end_matches("; COMMIT"));
        jobs.app(&work).succeeds();
        jobs.admin(taken);
        let said = jobs.app(&work);
        assert!(!said.success && said.stderr.contains(&format!("{failed}:")), "without {piece}: {said:?}");
        put_away(&jobs, number);
    }
}

#[test]
fn the_documented_table_names_each_part() {
    let document = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/database.md");
    let text = std::fs::read_to_string(document).unwrap();
    let (_, table) = text.split_once("## Each part is needed").unwrap();
    let parts = [JUDGEMENT, IDENTITY, LEASES, RIGHTS].concat();
    for part in parts.iter().map(|(part, ..)| part).chain(GIVEN.iter().map(|(piece, ..)| piece)) {
        assert!(table.contains(part), "{part}");
    }
}

/// Takes the lease over, and waits for nobody longer than that.
const TAKEOVER: &str =
    "SET lock_timeout = '200ms'; UPDATE palisade.lease SET term = term + 1 WHERE name = 'reaper'";

#[test]
fn without_its_lock_or_the_key_that_it_is_on_a_takeover_does_not_wait_for_who_began_before() {
    let jobs = stamped("15");
    let key = key_of(&jobs, "atom");
    let lock = Piece("begin", "FOR KEY SHARE", "");
    for part in [lock, Sql("ALTER TABLE palisade.lease DROP CONSTRAINT lease_name_term_key")] {
        jobs.admin("DELETE FROM palisade.lease");
        jobs.app("SELECT palisade.acquire('reaper', 'a', '1 hour')").succeeds();
        let whole = definition(&jobs, "begin");
        let mut leader = Psql::open(&jobs.url());
        let admin = || jobs.server.as_role("postgres", "jobs", TAKEOVER);
        let begun = |leader: &mut Psql| {
            leader.ask("BEGIN");
            assert_eq!(leader.ask(&begin(&jobs, &key, ", 'reaper', 1")).0, "proven");
        };
        begun(&mut leader);
        admin().fails("55P03");
        leader.ask("ROLLBACK");
        take(&jobs, part);
        begun(&mut leader);
        admin().succeeds();
        leader.ask("ROLLBACK");
        jobs.admin(&whole);
    }
}

#[test]
fn without_its_advisory_lock_a_slot_makes_the_next_client_wait() {
    let jobs = Jobs::guarded("15");
    let cancel = |name: &str| format!("UPDATE backfill_jobs SET status = 'cancelled' WHERE name = '{name}'");
    let second = || {
        jobs.running(2, "5 seconds");
        let mut first = Psql::open(&jobs.url());
        first.ask("BEGIN");
        assert_eq!(first.ask(&cancel("a")).1, "00000");
        let said = jobs.app(&cancel("b"));
        first.ask("ROLLBACK");
        said
    };
    second().succeeds();
    take(&jobs, Piece("take_slot", "CONTINUE WHEN NOT pg_try_advisory_xact_lock", "CONTINUE WHEN 0 ="));
    // Nobody waits longer than 200 ms: the exit that cannot be judged is refused.
    second().fails("PL307");
}
