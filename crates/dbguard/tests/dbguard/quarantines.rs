//! Shutting somebody out, forks, and what is left without each of these checks.

use std::time::Duration;

use palisade_dbguard::fork::{Fork, make, may_enter_original};
use palisade_dbguard::proof::AppKey;
use palisade_dbguard::quarantine::{Who, connections, end, lift, order, quarantines, sharing};
use palisade_dbguard::stamp::renew;
use palisade_dbguard::{Error, Mode};
use palisade_testkit::{Psql, eventually, postgres};

use crate::fixture::{Jobs, wait};
use crate::identities::{begin, key_of, must_ask, stamped};
use crate::stamps::identity;

const CLAIM: &str = "INSERT INTO backfill_jobs (name, status, heartbeat_at) VALUES ('new', 'running', now())";

fn app(name: &str) -> Who {
    Who { app: Some(name.to_owned()), ..Who::default() }
}

fn shut_out(jobs: &Jobs, who: &Who) -> i32 {
    wait(async { order(&jobs.connect("postgres").await, who, Some("cancels jobs")).await.unwrap() })
}

fn let_in(jobs: &Jobs, who: &Who) -> usize {
    wait(async { lift(&jobs.connect("postgres").await, who).await.unwrap().len() })
}

#[test]
fn a_quarantined_app_is_refused_at_every_guard_and_let_in_again() {
    for version in postgres::VERSIONS {
        let jobs = Jobs::with(version, |rules| rules.mode = Mode::Observe);
        crate::stamps::stamp(&jobs.server, "production");
        jobs.running(3, "5 seconds");
        let named = |name: &str, deed: &str| jobs.app(&format!("SET application_name = '{name}'; {deed}"));
        let done = "UPDATE backfill_jobs SET status = 'completed' WHERE name = 'a'";
        let who = app("atom-test");
        shut_out(&jobs, &who);
        for name in ["atom-test", "atom-test/test@6", "atom-test worker 1"] {
            let said = named(name, CLAIM).fails("PL324");
            assert!(said.contains("app atom-test, cancels jobs"), "{said}");
            named(name, done).fails("PL324");
            named(name, "DELETE FROM backfill_jobs").fails("PL324");
        }
        named("atom-test-2", CLAIM).succeeds();
        named("atom", done).succeeds();
        // What it proves counts more than how it calls itself.
        let key = key_of(&jobs, "atom-test");
        named("atom", &begin(&jobs, &key, "")).fails("PL324");
        let listed = wait(async { quarantines(&jobs.connect("postgres").await).await.unwrap() });
        assert_eq!((listed.len(), &listed[0].who), (1, &who));
        assert_eq!((let_in(&jobs, &app("atom")), let_in(&jobs, &who), let_in(&jobs, &who)), (0, 1, 0));
        named("atom-test", &CLAIM.replace("new", "again")).succeeds();

        // A role, and a build of an app.
        let role = Who { role: Some("app".to_owned()), ..Who::default() };
        shut_out(&jobs, &role);
        named("anything", "UPDATE backfill_jobs SET status = 'failed' WHERE name = 'b'").fails("PL324");
        jobs.admin("UPDATE backfill_jobs SET status = 'failed' WHERE name = 'b'");
        let_in(&jobs, &role);
        shut_out(&jobs, &Who { build: Some("6".to_owned()), ..app("atom") });
        named("atom@6", &CLAIM.replace("new", "six")).fails("PL324");
        named("atom@7", &CLAIM.replace("new", "seven")).succeeds();
    }
}

#[test]
fn its_connections_are_ended_unless_they_may_be_a_poolers() {
    let jobs = stamped("15");
    let open = |name: &str| {
        let mut session = Psql::open(&jobs.url());
        session.ask(&format!("SET application_name = '{name}'"));
        let pid: i32 = session.ask("SELECT pg_backend_pid()").0.parse().unwrap();
        (session, pid)
    };
    let (_culprit, pid) = open("atom-test@6");
    let seen = |who: &Who| wait(async { connections(&jobs.connect("postgres").await, who).await.unwrap() });
    let found = seen(&app("atom-test"));
    assert_eq!(
        found.iter().map(|one| (one.pid, one.app.as_str())).collect::<Vec<_>>(),
        [(pid, "atom-test@6")]
    );
    assert!(found[0].others.is_empty() && seen(&app("atom")).is_empty());
    let (mut other, other_pid) = open("atom");
    let shared = seen(&app("atom-test"));
    assert_eq!(shared[0].others, ["atom"], "the same role from the same place: it may be a pooler");
    // Under another name by now, it is somebody else's.
    other.ask("SET application_name = 'renamed'");
    let mut gone = seen(&app("renamed"));
    other.ask("SET application_name = 'atom'");
    let ended = wait(async { end(&jobs.connect("postgres").await, &gone.remove(0)).await.unwrap() });
    assert!(!ended);
    assert!(wait(async { end(&jobs.connect("postgres").await, &found[0]).await.unwrap() }));
    eventually("the connection is gone", || seen(&app("atom-test")).is_empty().then_some(()));
    assert_eq!(other.ask("SELECT pg_backend_pid()").0, other_pid.to_string(), "its neighbour lives");
    other.ask("UPDATE backfill_jobs SET status = 'completed' WHERE name = 'a'");
    jobs.app(
        "SET application_name = 'atom-test'; UPDATE backfill_jobs SET status = 'completed' WHERE name = 'b'",
    )
    .succeeds();
    let shares = wait(async { sharing(&jobs.connect("postgres").await, &app("atom-test")).await.unwrap() });
    assert_eq!(shares, [("app".to_owned(), vec!["atom".to_owned()])]);
}

#[test]
fn a_physical_copy_loses_the_beacon_of_its_original() {
    let jobs = stamped("18");
    let beat = || {
        wait(async { renew(&jobs.connect("postgres").await, Duration::from_secs(2), "here").await.unwrap() });
    };
    beat();
    let key = key_of(&jobs, "atom");
    let copy = jobs.server.physical_copy();
    let stale = |url: &str| identity(url).stamp.unwrap().beacon.unwrap().is_stale();
    eventually("the copy's beacon is stale", || stale(&copy.admin("jobs")).then_some(()));
    beat();
    assert!(!stale(&jobs.server.admin("jobs")));
    assert_eq!(copy.sql("jobs", "SELECT palisade.flaw()"), "stale");
    let said = copy.as_role("app", "jobs", &begin(&jobs, &key, "")).succeeds();
    assert_eq!(said, "stale", "its identities give no rights, and no write fails");
}

#[test]
fn a_fork_is_a_database_of_its_own_that_its_role_owns_and_no_password_is_in_the_log() {
    for version in postgres::VERSIONS {
        let server = palisade_testkit::Postgres::start_with(version, &["log_statement=all"]);
        server.sql("postgres", "CREATE DATABASE jobs");
        server.role("maker", "CREATEDB CREATEROLE");
        for (by, name) in [("postgres", "fork1"), ("maker", "fork2")] {
            let target = palisade_postgres::Target::parse(&server.url(by, "jobs")).unwrap();
            let password = "unseen-7c1e";
            let fork = Fork { database: name, role: name, password, salt: [7; 16] };
            wait(async {
                let (session, _) = palisade_postgres::identify(&target).await.unwrap();
                make(&session, fork).await.unwrap();
                assert!(may_enter_original(&session, name).await.unwrap());
                let again = make(&session, fork).await.unwrap_err();
                assert!(matches!(again, Error::Fork { .. }), "{again}");
            });
            let own = target.url_of(name, password, name);
            assert_eq!(
                palisade_testkit::psql(&own, "CREATE TABLE t (); SELECT current_user").succeeds(),
                name
            );
            server.role(&format!("{name}_other"), "");
            let other = server.as_role(&format!("{name}_other"), name, "SELECT 1");
            assert!(!other.success, "{version}: only its own role and its maker get in");
            assert!(!server.log().contains(password), "{version}");
        }
    }
}

/// A check that is taken away, and who then gets through.
const CHECKS: [(&str, &str); 10] = [
    (
        "the seal",
        "CREATE OR REPLACE FUNCTION palisade.seal(content text) RETURNS text LANGUAGE sql AS $$ SELECT repeat('0', 64) $$",
    ),
    ("the identity that is required", "UPDATE palisade.guard SET identity_required = false"),
    ("the minimum epoch", "UPDATE palisade.app SET minimum_epoch = NULL"),
    ("the quarantine", "UPDATE palisade.quarantine SET lifted_at = now()"),
    (
        "the look at what a client calls itself",
        "CREATE OR REPLACE FUNCTION palisade.claimed() RETURNS text[] LANGUAGE sql AS 'SELECT ARRAY[''x'', NULL, NULL]'",
    ),
    ("the binding of a role", "DELETE FROM palisade.binding"),
    (
        "the words that tell of an environment",
        "CREATE OR REPLACE FUNCTION palisade.told(name text) RETURNS text LANGUAGE sql AS 'SELECT NULL::text'",
    ),
    (
        "the look at the proof",
        "CREATE OR REPLACE FUNCTION palisade.disproof(app text, environment text, proof text, database text) RETURNS text \
         LANGUAGE sql AS 'SELECT NULL::text'",
    ),
    ("the look at the stamp", PLACE),
    ("the look whether this is a copy", PLACE),
];

/// A place that is always sound.
const PLACE: &str = "CREATE OR REPLACE FUNCTION palisade.place(OUT id text, OUT environment text, OUT flaw text) LANGUAGE sql \
    AS $$ SELECT d.system || '/' || d.number, s.environment, NULL::text FROM palisade.database() d, palisade.stamp s $$";

/// What the check stops, made ready.
fn deed(jobs: &Jobs, key: &AppKey, check: &str) -> String {
    let as_app = |name: &str| format!("SET application_name = '{name}'; {CLAIM}");
    let cancel = "UPDATE backfill_jobs SET status = 'cancelled'; COMMIT";
    match check {
        "the seal" => format!(
            "BEGIN; SET LOCAL palisade.identity = '{}{}'; {cancel}",
            "0".repeat(64),
            r#"{"app": "x", "known": true, "proven": true, "lease": "leader", "term": 1}"#
        ),
        "the identity that is required" => {
            must_ask(jobs, true, None);
            CLAIM.to_owned()
        }
        "the minimum epoch" => {
            jobs.admin("UPDATE palisade.app SET minimum_epoch = 7");
            as_app("atom@6")
        }
        "the quarantine" => {
            shut_out(jobs, &app("atom"));
            as_app("atom")
        }
        "the look at what a client calls itself" => as_app("atom/test"),
        "the binding of a role" => {
            jobs.admin("INSERT INTO palisade.binding (role, environment) VALUES ('app', 'test')");
            CLAIM.to_owned()
        }
        "the words that tell of an environment" => as_app("atom-test"),
        "the look at the proof" => {
            format!("BEGIN; SELECT palisade.begin('x', 'production', 'y', 'reaper', 1); {cancel}")
        }
        stamped => {
            let call = begin(jobs, key, ", 'reaper', 1");
            jobs.admin(if stamped.ends_with("a copy") {
                "UPDATE palisade.stamp SET branch = 'another'"
            } else {
                "INSERT INTO palisade.beacon VALUES (true, now() - interval '1 h', '1 min', 'a')"
            });
            format!("BEGIN; {call}; {cancel}")
        }
    }
}

#[test]
fn without_one_of_these_checks_the_one_that_it_stops_gets_through() {
    let jobs = stamped("15");
    let key = key_of(&jobs, "atom");
    jobs.app("SELECT palisade.acquire('reaper', 'a', '1 hour')").succeeds();
    for (check, ablation) in CHECKS {
        jobs.running(5, "12 minutes");
        jobs.admin("UPDATE palisade.guard SET identity_required = false; DELETE FROM palisade.beacon; UPDATE palisade.stamp SET branch = ''");
        let deed = deed(&jobs, &key, check);
        let definition = "SELECT string_agg(pg_get_functiondef(p.oid) || ';', '') FROM pg_proc p \
            WHERE p.pronamespace = 'palisade'::regnamespace AND p.proname IN ('seal', 'disproof', 'place', 'claimed', 'told')";
        let before = jobs.admin(definition);
        assert!(!jobs.app(&deed).success, "{check} is there");
        jobs.admin(ablation);
        let done = jobs.app(&deed);
        assert!(done.success, "without {check}: {done:?}");
        jobs.admin(&before);
    }
}

#[test]
fn whatever_apps_and_leases_are_called_stays_a_value() {
    let jobs = stamped("18");
    let names = [
        "'; DROP TABLE backfill_jobs; --",
        "a\nb",
        "a'b",
        "a\"b",
        "\\",
        "%s",
        "$palisade$",
        "a/b@7",
        "@",
        "/",
        "",
        "\u{202e}x",
        "ü",
        &"x".repeat(5000),
        "a.b",
        ".*",
        "(",
    ];
    for name in names {
        let quoted = palisade_dbguard::quote::text(name);
        let who = Who { app: Some(name.to_owned()), ..Who::default() };
        shut_out(&jobs, &who);
        wait(async {
            let session = jobs.connect("postgres").await;
            connections(&session, &who).await.unwrap();
            sharing(&session, &who).await.unwrap();
        });
        jobs.app(&format!("SELECT palisade.begin({quoted}, 'production', {quoted})")).fails("PL014");
        jobs.app(&format!("SELECT palisade.begin('a', {quoted}, 'x')")).fails("PL010");
        let term = jobs.app(&format!("SELECT palisade.acquire({quoted}, {quoted}, '1 minute')")).succeeds();
        assert_eq!(term, "1", "{name:?}");
        jobs.app(&format!("SET application_name = {quoted}; SELECT count(*) FROM backfill_jobs")).succeeds();
        assert!(let_in(&jobs, &who) > 0, "{name:?}");
    }
    assert_eq!(jobs.count("running"), 5);
    for claim in ["a@99999999999999999999999", "a@-1", "a@1e3", "@5", "a@"] {
        jobs.admin("INSERT INTO palisade.app (app, environment, minimum_epoch) VALUES ('a', 'production', 7) ON CONFLICT DO NOTHING");
        let deed = format!(
            "SET application_name = '{claim}'; UPDATE backfill_jobs SET status = 'completed' WHERE name = 'a'"
        );
        jobs.app(&deed).succeeds();
    }
}
