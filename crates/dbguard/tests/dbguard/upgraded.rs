//! Guards of an earlier build become those of this one, with everything that they keep, while their table is in use.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use palisade_dbguard::upgrade::{FORMAT, Standing, Upgraded, plan, standing, upgrade};
use palisade_dbguard::{Error, Patience};
use palisade_testkit::Psql;

use crate::fixture::{Jobs, REAPER, named, rules, wait};
use crate::identities::{begin, key_of};
use crate::stamps::stamp;
use crate::verified::damages;

/// What `guard install table --dry-run` of a build of each earlier format printed for the table of the fixture.
const EARLIER: [(u32, &str); 3] = [
    (1, include_str!("../earlier/format-1.sql")),
    (2, include_str!("../earlier/format-2.sql")),
    (3, include_str!("../earlier/format-3.sql")),
];

/// What the same printed for the table's owner: there is no role of the guards, and nobody becomes one.
fn as_owner(sql: &str) -> String {
    let (before, rest) = sql.split_once("DO $palisade$ BEGIN\n").unwrap();
    let (role, rest) = rest.split_once("SET LOCAL ROLE palisade_owner;\n").unwrap();
    assert!(role.contains("CREATE SCHEMA palisade AUTHORIZATION palisade_owner;"));
    let lines = rest.lines().filter(|line| {
        !line.contains(" TO palisade_owner;")
            && !line.contains("ROLE")
            && !line.starts_with("REVOKE ALL ON palisade.secret")
    });
    let rest: String = lines.map(|line| format!("{line}\n")).collect();
    format!("{before}CREATE SCHEMA palisade;\n{rest}")
}

/// What has to be there afterwards as it was before.
const KEPT: &str = "SELECT 'guard', md5(string_agg(g::text, ';')) FROM palisade.guard g \
    UNION ALL SELECT 'history', md5(string_agg(h::text, ';' ORDER BY h.id)) FROM palisade.history h WHERE h.id <= 8 \
    UNION ALL SELECT 'stamp', s::text FROM palisade.stamp s UNION ALL SELECT 'beacon', b::text FROM palisade.beacon b \
    UNION ALL SELECT 'verifier', md5(s::text) FROM palisade.secret s UNION ALL SELECT 'app', a::text FROM palisade.app a \
    UNION ALL SELECT 'lease', l::text FROM palisade.lease l UNION ALL SELECT 'binding', b::text FROM palisade.binding b \
    UNION ALL SELECT 'quarantine', q::text FROM palisade.quarantine q ORDER BY 1";

/// Every function of the guards, by all that counts about it.
const FUNCTIONS: &str = "SELECT p.oid::regprocedure, p.prosrc, p.proconfig, p.prosecdef, p.provolatile, \
    (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(coalesce(p.proacl, acldefault('f', p.proowner))) a), \
    pg_get_userbyid(p.proowner), pg_get_function_arguments(p.oid), pg_get_function_result(p.oid) \
    FROM pg_proc p WHERE p.pronamespace = 'palisade'::regnamespace ORDER BY p.oid::regprocedure::text";

fn earlier(version: &'static str, sql: &str) -> Jobs {
    let jobs = Jobs::unguarded(version);
    jobs.admin(sql);
    jobs
}

fn upgraded(jobs: &Jobs, role: &str) -> Upgraded {
    wait(async {
        let session = jobs.connect(role).await;
        let patience = Patience { attempts: 3, ..Patience::default() };
        let plan = plan(&session, patience.lock_timeout).await.unwrap();
        upgrade(&session, &plan, patience).await.unwrap()
    })
}

/// The schema as SQL, its rights at the end: in which order they were given is no difference.
fn dumped(jobs: &Jobs) -> String {
    let dump = jobs.server.dump_as("postgres", "jobs");
    let (mut rights, rest): (Vec<_>, Vec<_>) = dump.lines().partition(|line| line.starts_with("GRANT "));
    rights.sort_unstable();
    [rest, rights].concat().join("\n")
}

fn stands(jobs: &Jobs) -> Standing {
    wait(async { standing(&jobs.connect("postgres").await).await }).unwrap()
}

/// Claims, beats, fails and completes a job of its own, again and again; gives what was not done.
fn works(jobs: &Jobs, name: &str, over: &AtomicBool) -> (u32, Vec<String>) {
    let mut session = Psql::open(&jobs.url());
    let (mut rounds, mut wrong) = (0, Vec::new());
    session.ask(&format!("INSERT INTO backfill_jobs (name) VALUES ('{name}')"));
    while !over.load(Ordering::Relaxed) || rounds == 0 {
        for set in [
            "status = 'running', heartbeat_at = clock_timestamp()",
            "heartbeat_at = clock_timestamp()",
            "status = 'failed'",
            "status = 'running', heartbeat_at = clock_timestamp()",
            "status = 'completed'",
        ] {
            let (_, state) = session.ask(&format!("UPDATE backfill_jobs SET {set} WHERE name = '{name}'"));
            if state != "00000" {
                wrong.push(format!("{set}: {state}"));
            }
        }
        rounds += 1;
    }
    (rounds, wrong)
}

/// Fills what a guard of format 1 keeps: a stamp, a key, a lease, a binding, a quarantine, eight rows of history.
fn lived_in(jobs: &Jobs) {
    stamp(&jobs.server, "production");
    key_of(jobs, "atom");
    jobs.app("SELECT palisade.acquire('reaper', 'me', '1 hour')").succeeds();
    jobs.admin(
        "INSERT INTO palisade.binding (role, environment) VALUES ('nobody', 'test'); \
         INSERT INTO palisade.quarantine (app, reason) VALUES ('atom-old', 'cancels'); \
         UPDATE palisade.guard SET mode = 'observe'",
    );
    jobs.running(4, "12 minutes");
    jobs.admin("ALTER SEQUENCE palisade.history_id RESTART");
    jobs.app("UPDATE backfill_jobs SET status = 'completed' WHERE name = 'a'").succeeds();
    jobs.app(&format!("SET application_name = 'atom-saas-test'; {REAPER}")).succeeds();
    jobs.app(
        "INSERT INTO backfill_jobs (name, status, heartbeat_at) SELECT 'n' || n, 'running', now() FROM generate_series(1, 4) n",
    )
    .succeeds();
    jobs.admin("UPDATE palisade.guard SET mode = 'enforce'");
}

fn upgraded_under_load(version: &'static str) {
    for (format, sql) in EARLIER {
        upgraded_from(&earlier(version, sql), version, format);
    }
    assert_eq!(EARLIER.len() + 1, FORMAT as usize);
}

fn upgraded_from(jobs: &Jobs, version: &str, format: u32) {
    lived_in(jobs);
    assert_eq!(stands(jobs), Standing::Older(format));
    let said = damages(jobs);
    assert_eq!(said, [format!("the guards are older than this build: format {format}, and not {FORMAT}")]);
    let (kept, over) = (jobs.admin(KEPT), AtomicBool::new(false));
    let (upgraded, work) = std::thread::scope(|scope| {
        let workers = ["w1", "w2"].map(|name| {
            let (jobs, over) = (jobs, &over);
            scope.spawn(move || works(jobs, name, over))
        });
        let done = upgraded(jobs, "postgres");
        std::thread::sleep(Duration::from_millis(100));
        over.store(true, Ordering::Relaxed);
        (done, workers.map(|worker| worker.join().unwrap()))
    });
    assert!(upgraded.finished, "{version}: {upgraded:?}");
    for (rounds, wrong) in work {
        assert!(rounds > 0 && wrong.is_empty(), "{version}: {wrong:?}");
    }
    assert_eq!(jobs.admin(KEPT), kept, "{version}");
    assert_eq!((stands(jobs), damages(jobs)), (Standing::Current, vec![]), "{version}");
    // The rules hold, the key counts, and what was taken before is given back.
    jobs.up_for_a_day();
    jobs.app(
        "SET application_name = 'atom-old'; UPDATE backfill_jobs SET status = 'completed' WHERE name = 'n1'",
    )
    .fails("PL324");
    let proof = begin(jobs, &key_of(jobs, "atom"), "");
    assert_eq!(jobs.app(&proof).succeeds(), "proven");
    assert_eq!(jobs.count("cancelled"), 3);
    let wanted = palisade_dbguard::undo::Wanted { since: Duration::from_secs(3600), ..Default::default() };
    assert_eq!(crate::history::undone(jobs, &wanted).1, 3, "{version}");
    jobs.running(3, "12 minutes");
    jobs.app(REAPER).fails("PL301");
    let again = crate::upgraded::upgraded(jobs, "postgres");
    assert_eq!(again, Upgraded { attempts: 0, finished: true }, "there is nothing to do");
}

#[test]
fn guards_of_an_earlier_build_are_upgraded_in_place_under_load_on_15() {
    upgraded_under_load("15");
}

#[test]
fn guards_of_an_earlier_build_are_upgraded_in_place_under_load_on_18() {
    upgraded_under_load("18");
}

#[test]
fn an_upgraded_schema_is_the_one_that_this_build_installs() {
    let scripts =
        EARLIER.iter().flat_map(|(_, sql)| [((*sql).to_owned(), "postgres"), (as_owner(sql), "app")]);
    for (sql, role) in scripts {
        let jobs = Jobs::unguarded("15");
        jobs.admin("GRANT CREATE ON DATABASE jobs TO app");
        jobs.server.as_role(role, "jobs", &sql).succeeds();
        assert!(upgraded(&jobs, role).finished);
        let found = (jobs.admin(FUNCTIONS), dumped(&jobs));
        jobs.remove(role, "backfill_jobs", true).unwrap();
        let mut same = rules();
        same.reason = Some("^Reaper:".to_owned());
        jobs.install_as(role, "backfill_jobs", &named(), &same).unwrap();
        let fresh = (jobs.admin(FUNCTIONS), dumped(&jobs));
        for (found, fresh) in [(&found.0, &fresh.0), (&found.1, &fresh.1)] {
            let other = found.lines().zip(fresh.lines()).find(|(found, fresh)| found != fresh);
            assert!(found == fresh, "{role}: {other:?}");
        }
    }
}

#[test]
fn what_an_open_transaction_may_still_call_stays_until_it_is_over() {
    let jobs = earlier("18", EARLIER[0].1);
    jobs.admin(
        "SET ROLE palisade_owner; CREATE FUNCTION palisade.of_before() RETURNS void LANGUAGE sql AS ''",
    );
    jobs.running(2, "5 seconds");
    let mut open = Psql::open(&jobs.url());
    open.ask("BEGIN");
    open.ask("UPDATE backfill_jobs SET entities = 1 WHERE name = 'a'");
    assert!(!upgraded(&jobs, "postgres").finished);
    assert_eq!(stands(&jobs), Standing::Unfinished);
    assert_eq!(damages(&jobs), ["the upgrade is not finished: functions of before are still there"]);
    assert_eq!(open.ask("UPDATE backfill_jobs SET status = 'completed' WHERE name = 'a'").1, "00000");
    open.ask("COMMIT");
    assert!(upgraded(&jobs, "postgres").finished);
    assert_eq!((stands(&jobs), damages(&jobs)), (Standing::Current, vec![]));
    assert_eq!(jobs.admin("SELECT to_regprocedure('palisade.of_before()') IS NULL"), "t");
}

#[test]
fn nothing_is_put_beside_guards_of_another_format() {
    let jobs = earlier("15", EARLIER[0].1);
    let barred = |jobs: &Jobs| {
        wait(async { palisade_dbguard::upgrade::expect_current(&jobs.connect("postgres").await).await })
    };
    assert!(matches!(barred(&jobs), Err(Error::Format { found: 1, own: FORMAT })));
    jobs.admin(&format!("COMMENT ON SCHEMA palisade IS 'Guards of Palisade, format {}.'", FORMAT + 1));
    assert_eq!(stands(&jobs), Standing::Newer(FORMAT + 1));
    assert!(matches!(barred(&jobs), Err(Error::Format { .. })));
    let planned = wait(async {
        let session = jobs.connect("postgres").await;
        plan(&session, Duration::from_millis(200)).await
    });
    assert!(matches!(planned, Err(Error::Format { .. })), "{planned:?}");
    assert!(damages(&jobs)[0].contains("newer than this build"));
    jobs.running(2, "12 minutes");
    jobs.up_for_a_day();
    jobs.app(REAPER).fails("PL301");
}

#[test]
fn guards_of_an_earlier_build_are_removed_without_an_upgrade_too() {
    for (format, sql) in EARLIER {
        let jobs = Jobs::unguarded("15");
        let before = jobs.server.dump_as("postgres", "jobs");
        jobs.admin(sql);
        jobs.remove("postgres", "backfill_jobs", true).unwrap();
        assert_eq!(jobs.server.dump_as("postgres", "jobs"), before, "format {format}");
    }
    // And by a superuser where the table's owner installed it: there are no roles of the guards.
    let jobs = Jobs::unguarded("15");
    jobs.admin("GRANT CREATE ON DATABASE jobs TO app");
    let before = jobs.server.dump_as("postgres", "jobs");
    jobs.install_as("app", "backfill_jobs", &named(), &rules()).unwrap();
    jobs.remove("postgres", "backfill_jobs", true).unwrap();
    assert_eq!(jobs.server.dump_as("postgres", "jobs"), before);
}
