//! Who a transaction is, and what that lets it do.

use std::time::Duration;

use palisade_core::{AppName, EnvironmentName};
use palisade_dbguard::identity::{key, require, rotate};
use palisade_dbguard::proof::AppKey;
use palisade_testkit::{Psql, postgres};

use crate::fixture::{Jobs, REAPER, wait};
use crate::stamps::stamp;

/// Cancels a job that was silent for twelve minutes, as only a leader may.
const CANCEL: &str = "UPDATE backfill_jobs SET status = 'cancelled' WHERE status = 'running'";

/// A stamped database with a guarded table in which jobs have been silent for twelve minutes.
pub(crate) fn stamped(version: &'static str) -> Jobs {
    let jobs = Jobs::guarded(version);
    stamp(&jobs.server, "production");
    jobs.running(5, "12 minutes");
    jobs
}

pub(crate) fn key_of(jobs: &Jobs, app: &str) -> AppKey {
    let (app, environment) = (AppName::new(app).unwrap(), EnvironmentName::new("production").unwrap());
    wait(async { key(&jobs.connect("postgres").await, &app, &environment).await.unwrap() })
}

fn next_key(jobs: &Jobs, app: &str, grace_s: u64) -> AppKey {
    let (app, environment) = (AppName::new(app).unwrap(), EnvironmentName::new("production").unwrap());
    let grace = Duration::from_secs(grace_s);
    wait(async { rotate(&jobs.connect("postgres").await, &app, &environment, grace).await.unwrap() })
}

pub(crate) fn now_s(jobs: &Jobs) -> u64 {
    jobs.admin("SELECT extract(epoch FROM clock_timestamp())::bigint").parse().unwrap()
}

/// The call that says who a transaction is, with a proof made now; `more` follows it as further arguments.
pub(crate) fn begin(jobs: &Jobs, key: &AppKey, more: &str) -> String {
    format!("SELECT palisade.begin('{}', '{}', '{}'{more})", key.app, key.environment, key.proof(now_s(jobs)))
}

/// Takes the lease of reapers and gives its term.
fn lead(jobs: &Jobs, holder: &str) -> String {
    jobs.app(&format!("SELECT palisade.acquire('reaper', '{holder}', '1 minute')")).succeeds()
}

pub(crate) fn must_ask(jobs: &Jobs, required: bool, lease: Option<&str>) {
    wait(async { require(&jobs.connect("postgres").await, 1, required, lease).await.unwrap() });
}

/// RFC 4231: key, data and HMAC-SHA-256, in hex. Case 5 is cut to 128 bits.
const VECTORS: [(&str, &str, &str); 7] = [
    (
        "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b",
        "4869205468657265",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    ),
    (
        "4a656665",
        "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    ("aa*20", "dd*50", "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (
        "0102030405060708090a0b0c0d0e0f10111213141516171819",
        "cd*50",
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    ),
    ("0c*20", "546573742057697468205472756e636174696f6e", "a3b6167473100ee06e0c796c2955552b"),
    (
        "aa*131",
        "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a65204b6579202d2048617368204b6579204669727374",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    (
        "aa*131",
        "5468697320697320612074657374207573696e672061206c6172676572207468616e20626c6f636b2d73697a65206b657920616e642061206c6172676572207468616e20626c6f636b2d73697a6520646174612e20546865206b6579206e6565647320746f20626520686173686564206265666f7265206265696e6720757365642062792074686520484d414320616c676f726974686d2e",
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
];

fn bytes(hex: &str) -> String {
    let hex = hex.split_once('*').map_or_else(|| hex.to_owned(), |(byte, n)| byte.repeat(n.parse().unwrap()));
    format!("decode('{hex}', 'hex')")
}

#[test]
fn the_servers_hmac_gives_what_rfc_4231_says() {
    for version in postgres::VERSIONS {
        let jobs = stamped(version);
        for (key, data, expected) in VECTORS {
            let found =
                jobs.admin(&format!("SELECT encode(palisade.hmac({}, {}), 'hex')", bytes(key), bytes(data)));
            assert!(found.starts_with(expected), "{version}: {key}: {found}");
        }
    }
}

#[test]
fn a_leader_with_the_current_term_passes_and_is_recorded_and_nobody_else_gains_by_it() {
    for version in postgres::VERSIONS {
        let jobs = stamped(version);
        let key = key_of(&jobs, "atom");
        assert_eq!(lead(&jobs, "machine-1"), "1");
        let cancel_a = format!("{CANCEL} AND name = 'a'");
        jobs.app(REAPER).fails("PL301");
        // Known, and no leader: an identity alone takes nothing.
        jobs.app(&format!("BEGIN; {}; {cancel_a}; COMMIT", begin(&jobs, &key, ""))).fails("PL301");
        // In autocommit the identity ends with its own statement.
        jobs.app(&format!("{}; {cancel_a}", begin(&jobs, &key, ", 'reaper', 1"))).fails("PL301");
        let said = jobs.app(&format!("BEGIN; {}; {cancel_a}; COMMIT", begin(&jobs, &key, ", 'reaper', 1")));
        assert_eq!(said.succeeds(), "proven");
        let savepoint = format!("SAVEPOINT s; {CANCEL} AND name = 'b'; RELEASE s");
        jobs.app(&format!("BEGIN; {}; {savepoint}; COMMIT", begin(&jobs, &key, ", 'reaper', 1"))).succeeds();
        let row = "SELECT identity, lease, term, ground FROM palisade.history WHERE event = 'exit' ORDER BY id LIMIT 1";
        assert_eq!(jobs.admin(row), "atom/production|reaper|1|identity", "{version}");
        // Rolled back with its savepoint, the identity is gone.
        let gone = format!("SAVEPOINT s; {}; ROLLBACK TO s; {cancel_a}", begin(&jobs, &key, ", 'reaper', 1"));
        jobs.running(5, "12 minutes");
        jobs.app(&format!("BEGIN; {gone}; COMMIT")).fails("PL301");
    }
}

#[test]
fn an_identity_can_be_neither_forged_nor_carried_into_another_transaction() {
    let jobs = stamped("18");
    let key = key_of(&jobs, "atom");
    lead(&jobs, "machine-1");
    let mut session = Psql::open(&jobs.url());
    session.ask("BEGIN");
    session.ask(&begin(&jobs, &key, ", 'reaper', 1"));
    let (sealed, _) = session.ask("SELECT current_setting('palisade.identity')");
    assert!(sealed.len() > 64 && sealed.contains("\"proven\": true"), "{sealed}");
    session.ask("COMMIT");
    let replay = |session: &mut Psql, value: &str| {
        session.ask("BEGIN");
        assert_eq!(session.ask(&format!("SET LOCAL palisade.identity = '{value}'")).1, "00000");
        let (_, sqlstate) = session.ask(CANCEL);
        session.ask("ROLLBACK");
        sqlstate
    };
    assert_eq!(replay(&mut session, &sealed), "PL301", "the next transaction of the same process");
    assert_eq!(replay(&mut Psql::open(&jobs.url()), &sealed), "PL301", "another process");
    let forged = format!("{}{}", "0".repeat(64), &sealed[64..]);
    for value in [forged.as_str(), "", "x", &sealed[..64], &"f".repeat(64)] {
        assert_eq!(replay(&mut session, value), "PL301", "{value}");
    }
    // Within its own transaction it cannot be widened either.
    session.ask("BEGIN");
    session.ask(&begin(&jobs, &key, ""));
    let (known, _) = session.ask("SELECT current_setting('palisade.identity')");
    let widened = known.replace("\"app\"", "\"term\": 1, \"lease\": \"reaper\", \"app\"");
    assert_eq!(session.ask(&format!("SET LOCAL palisade.identity = '{widened}'")).1, "00000");
    assert_eq!(session.ask(CANCEL).1, "PL301");
}

#[test]
fn behind_a_transaction_pooler_the_next_client_has_nothing_of_it() {
    let jobs = stamped("15").through_a_pooler();
    let key = key_of(&jobs, "atom");
    lead(&jobs, "machine-1");
    let (mut leader, mut other) = (Psql::open(&jobs.url()), Psql::open(&jobs.url()));
    leader.ask("BEGIN");
    assert_eq!(leader.ask(&begin(&jobs, &key, ", 'reaper', 1")).0, "proven");
    let server = leader.ask("SELECT pg_backend_pid()").0;
    assert_eq!(leader.ask(&format!("{CANCEL} AND name = 'a'")).1, "00000");
    leader.ask("COMMIT");
    assert_eq!(other.ask("SELECT pg_backend_pid()").0, server, "both were given the same server process");
    assert_eq!(other.ask(CANCEL).1, "PL301");
    assert_eq!(leader.ask(CANCEL).1, "PL301");
    assert_eq!(jobs.count("cancelled"), 1);
}

#[test]
fn a_proof_of_another_app_environment_database_key_or_minute_does_not_count() {
    let jobs = stamped("18");
    let (key, now) = (key_of(&jobs, "atom"), now_s(&jobs));
    let ask = |app: &str, environment: &str, proof: &str| {
        jobs.app(&format!("SELECT palisade.begin('{app}', '{environment}', '{proof}')"))
    };
    assert_eq!(ask("atom", "production", &key.proof(now)).succeeds(), "proven");
    ask("other", "production", &key.proof(now)).fails("PL014");
    key_of(&jobs, "other");
    ask("other", "production", &key.proof(now)).fails("PL014");
    ask("atom", "test", &key.proof(now)).fails("PL010");
    for at in [now - 40, now + 60] {
        let said = ask("atom", "production", &key.proof(at)).fails("PL014");
        assert!(said.contains("s old by the clock"), "{said}");
    }
    let mut elsewhere = key.clone();
    elsewhere.database = "1/2".to_owned();
    ask("atom", "production", &elsewhere.proof(now)).fails("PL014");
    for proof in ["", "x", &key.proof(now)[..20], &format!("{}0", key.proof(now))] {
        ask("atom", "production", proof).fails("PL014");
    }
    // With its old key for the grace, and no longer.
    let second = next_key(&jobs, "atom", 60);
    assert_eq!(second.generation, 2);
    ask("atom", "production", &key.proof(now_s(&jobs))).succeeds();
    ask("atom", "production", &second.proof(now_s(&jobs))).succeeds();
    next_key(&jobs, "atom", 0);
    ask("atom", "production", &second.proof(now_s(&jobs))).fails("PL014");
    // A copy has the verifier, and is told by itself.
    jobs.server.sql("postgres", "CREATE DATABASE copy TEMPLATE jobs");
    let third = key_of(&jobs, "atom");
    let on_copy = format!("SELECT palisade.begin('atom', 'production', '{}')", third.proof(now_s(&jobs)));
    jobs.server.as_role("app", "copy", &on_copy).fails("PL011");
}

#[test]
fn a_stale_beacon_takes_rights_away_and_fails_no_write() {
    let jobs = stamped("15");
    let key = key_of(&jobs, "atom");
    lead(&jobs, "machine-1");
    must_ask(&jobs, true, None);
    let leader = |deed: &str| format!("BEGIN; {}; {deed}; COMMIT", begin(&jobs, &key, ", 'reaper', 1"));
    let claim = "INSERT INTO backfill_jobs (name, status, heartbeat_at) VALUES ('new', 'running', now())";
    jobs.admin("INSERT INTO palisade.beacon VALUES (true, now(), '5 min', 'agent')");
    assert_eq!(jobs.app(&leader(&format!("{CANCEL} AND name = 'a'"))).succeeds(), "proven");
    jobs.admin("UPDATE palisade.beacon SET at = now() - interval '6 min'");
    jobs.app(&leader(CANCEL)).fails("PL301");
    let said = jobs
        .app(&leader(&format!("{claim}; UPDATE backfill_jobs SET status = 'completed' WHERE name = 'b'")));
    assert_eq!(said.succeeds(), "stale");
    assert_eq!((jobs.count("completed"), jobs.count("running")), (1, 4));
    // So does a promotion, which may be an ordinary failover.
    jobs.admin("DELETE FROM palisade.beacon; UPDATE palisade.stamp SET timeline = timeline + 1");
    assert_eq!(jobs.app(&leader("SELECT 1")).succeeds(), "promoted\n1");
    jobs.app(&leader(CANCEL)).fails("PL301");
}

#[test]
fn where_identity_is_required_old_code_claims_and_ends_nothing_and_still_completes() {
    for version in postgres::VERSIONS {
        let jobs = stamped(version);
        let key = key_of(&jobs, "atom");
        must_ask(&jobs, true, None);
        let claim = "INSERT INTO backfill_jobs (name, status, heartbeat_at) VALUES ('new', 'running', now())";
        jobs.running(3, "5 seconds");
        jobs.app(claim).fails("PL321");
        jobs.app(CANCEL).fails("PL321");
        jobs.app("UPDATE backfill_jobs SET status = 'failed'").fails("PL321");
        jobs.app("UPDATE backfill_jobs SET heartbeat_at = now()").succeeds();
        jobs.app("UPDATE backfill_jobs SET status = 'completed' WHERE name = 'a'").succeeds();
        jobs.running(3, "3 hours");
        jobs.app(REAPER).fails("PL321");
        jobs.app(&format!("BEGIN; {}; {claim}; COMMIT", begin(&jobs, &key, ""))).succeeds();
        jobs.app(&format!("BEGIN; {}; {REAPER}; COMMIT", begin(&jobs, &key, ""))).succeeds();
        assert_eq!((jobs.count("running"), jobs.count("cancelled")), (1, 3), "{version}");
        must_ask(&jobs, false, None);
        jobs.app("UPDATE backfill_jobs SET status = 'failed' WHERE name = 'new'").succeeds();
    }
}

#[test]
fn a_guard_may_name_the_lease_whose_holder_may_take_its_jobs() {
    let jobs = stamped("18");
    let key = key_of(&jobs, "atom");
    must_ask(&jobs, false, Some("reaper"));
    lead(&jobs, "machine-1");
    jobs.app("SELECT palisade.acquire('mailer', 'machine-1', '1 minute')").succeeds();
    jobs.app(&format!("BEGIN; {}; {CANCEL}; COMMIT", begin(&jobs, &key, ", 'mailer', 1"))).fails("PL301");
    jobs.app(&format!("BEGIN; {}; {CANCEL}; COMMIT", begin(&jobs, &key, ", 'reaper', 1"))).succeeds();
    assert_eq!(jobs.count("cancelled"), 5);
}

#[test]
fn an_old_build_finishes_what_it_holds_and_claims_cancels_and_reaps_nothing() {
    use palisade_dbguard::identity::{apps, clear_minimum_epoch, set_minimum_epoch};
    for version in postgres::VERSIONS {
        let jobs = stamped(version);
        let (app, production) = (AppName::new("atom").unwrap(), EnvironmentName::new("production").unwrap());
        let minimum = |minimum: Option<u64>| {
            wait(async {
                let session = jobs.connect("postgres").await;
                match minimum {
                    Some(minimum) => set_minimum_epoch(&session, &app, &production, minimum).await,
                    None => clear_minimum_epoch(&session, &app, &production).await,
                }
                .unwrap();
            });
        };
        minimum(Some(7));
        let claim = "INSERT INTO backfill_jobs (name, status, heartbeat_at) VALUES ('new', 'running', now())";
        jobs.running(4, "5 seconds");
        let key = key_of(&jobs, "atom");
        // By its name, which may only lower rights, and by what it says with its proof.
        let named = |name: &str, deed: &str| format!("SET application_name = '{name}'; {deed}");
        let proven = |epoch: u64, deed: &str| {
            format!("BEGIN; {}; {deed}; COMMIT", begin(&jobs, &key, &format!(", epoch => {epoch}")))
        };
        for old in ["atom@6 worker", "atom/production@6"] {
            jobs.app(&named(old, claim)).fails("PL323");
            jobs.app(&named(old, CANCEL)).fails("PL323");
        }
        jobs.app(&proven(6, claim)).fails("PL323");
        jobs.app(&proven(6, CANCEL)).fails("PL323");
        // A higher claim in the name does not lift what the proof says.
        jobs.app(&named("atom@9", &proven(6, claim))).fails("PL323");
        jobs.app(&proven(6, "UPDATE backfill_jobs SET status = 'completed' WHERE name = 'a'")).succeeds();
        jobs.app(&named("atom@6", "UPDATE backfill_jobs SET status = 'failed' WHERE name = 'b'")).succeeds();
        // The minimum is production's. A client of another environment is refused as such.
        jobs.app(&named("atom/test@6", claim)).fails("PL335");
        jobs.app(&proven(7, &claim.replace("new", "seven"))).succeeds();
        // Silent for hours: anybody may take it but an old build.
        jobs.running(2, "3 hours");
        jobs.app(&named("atom@6", REAPER)).fails("PL323");
        // Unknown passes, is counted, and ends where identity is required.
        jobs.app(&named("atom", &claim.replace("new", "unknown"))).succeeds();
        let known = wait(async { apps(&jobs.connect("postgres").await).await.unwrap() });
        assert_eq!((known[0].minimum_epoch, known[0].unknown_epoch), (Some(7), 1), "{version}: {known:?}");
        must_ask(&jobs, true, None);
        jobs.app(&format!("BEGIN; {}; {claim}; COMMIT", begin(&jobs, &key, ""))).fails("PL321");
        minimum(None);
        jobs.app(&format!("BEGIN; {}; {claim}; COMMIT", begin(&jobs, &key, ""))).succeeds();
    }
}
