//! A rotation, step by step and back.

use palisade_dbguard::rotate::{self, Plan, Step};
use palisade_dbguard::{Error, Mode};
use palisade_postgres::Session;
use palisade_testkit::psql::Said;
use palisade_testkit::{Psql, psql};

use crate::fixture::{Jobs, REAPER, wait};

/// A guard that only records, and an app that does not own its table: what the rotation takes is what stops.
fn jobs(version: &'static str) -> Jobs {
    let jobs = Jobs::with(version, |rules| rules.mode = Mode::Observe);
    jobs.running(3, "12 minutes");
    jobs
}

fn planned<T>(jobs: &Jobs, plan: impl AsyncFnOnce(&Session) -> Result<T, Error>) -> Result<T, Error> {
    wait(async { plan(&jobs.connect("postgres").await).await })
}

fn carried_out(jobs: &Jobs, plan: &Plan) {
    wait(async { rotate::carry_out(&jobs.connect("postgres").await, plan).await }).unwrap();
}

fn begin(jobs: &Jobs) {
    let plan = planned(jobs, async |session| {
        let verifier = palisade_postgres::scram_verifier("new-password");
        rotate::prepare(session, "app", "app2", &verifier).await
    });
    carried_out(jobs, &plan.unwrap());
}

fn restrict(jobs: &Jobs) -> Result<Plan, Error> {
    planned(jobs, async |session| rotate::restrict(session, "app", None).await)
}

fn undo(jobs: &Jobs) -> Step {
    let (plan, step) = planned(jobs, async |session| rotate::undo(session, "app").await).unwrap();
    carried_out(jobs, &plan);
    step
}

/// What the good code says, which has the new role.
fn new(jobs: &Jobs, sql: &str) -> Said {
    let url = jobs.server.url("app2", "jobs").replace("test-only", "new-password");
    psql(&url, sql)
}

const WORK: &str = "UPDATE backfill_jobs SET heartbeat_at = now() WHERE name = 'a'; \
    SELECT count(*) FROM backfill_jobs; INSERT INTO backfill_jobs (name) VALUES (gen_random_uuid()::text)";

fn goes_step_by_step(version: &'static str) {
    let jobs = jobs(version);
    let before = jobs.server.sql("jobs", RIGHTS);
    begin(&jobs);
    new(&jobs, WORK).succeeds();
    jobs.app(WORK).succeeds();
    assert!(matches!(restrict(&jobs), Ok(plan) if plan.notes.len() == 1), "the app owns its table");
    carried_out(&jobs, &restrict(&jobs).unwrap());
    new(&jobs, WORK).succeeds();
    jobs.app(REAPER).fails("42501");
    for deed in [
        "DELETE FROM backfill_jobs",
        "TRUNCATE backfill_jobs",
        "ALTER TABLE backfill_jobs DISABLE TRIGGER ALL",
    ] {
        jobs.app(deed).fails("42501");
    }
    jobs.app("SELECT count(*) FROM backfill_jobs; UPDATE backfill_jobs SET entities = 7").succeeds();
    assert!(matches!(restrict(&jobs), Err(Error::Rules { .. })), "twice");
    let retire = planned(&jobs, async |session| rotate::retire(session, "app", true).await).unwrap();
    carried_out(&jobs, &retire);
    assert!(!jobs.app("SELECT 1").success);
    new(&jobs, WORK).succeeds();
    // And all the way back.
    assert_eq!(undo(&jobs), Step::Retired);
    jobs.app("SELECT 1").succeeds();
    jobs.app(REAPER).fails("42501");
    assert_eq!(undo(&jobs), Step::Restricted);
    jobs.app(WORK).succeeds();
    new(&jobs, WORK).succeeds();
    assert_eq!(undo(&jobs), Step::Prepared);
    assert!(!new(&jobs, "SELECT 1").success);
    assert_eq!(jobs.server.sql("jobs", RIGHTS), before, "what the app may do is what it was");
    jobs.app(REAPER).succeeds();
}

/// Owner and rights of the table, however they were granted.
const RIGHTS: &str = "SELECT pg_get_userbyid(relowner), has_table_privilege('app', oid, 'UPDATE'), \
    has_table_privilege('app', oid, 'DELETE'), has_table_privilege('app', oid, 'TRUNCATE'), \
    has_table_privilege('app', oid, 'INSERT'), has_table_privilege('app', oid, 'SELECT') \
    FROM pg_class WHERE relname = 'backfill_jobs'";

#[test]
fn a_rotation_goes_step_by_step_and_each_step_is_undone() {
    goes_step_by_step("15");
}

#[test]
fn a_rotation_goes_step_by_step_on_18_too() {
    goes_step_by_step("18");
}

#[test]
fn rights_that_come_from_elsewhere_bar_the_step_and_nothing_is_kept() {
    let jobs = jobs("15");
    begin(&jobs);
    jobs.admin("CREATE ROLE writers; GRANT UPDATE ON backfill_jobs TO writers; GRANT writers TO app");
    let plan = restrict(&jobs).unwrap();
    let barred = wait(async { rotate::carry_out(&jobs.connect("postgres").await, &plan).await });
    let Err(Error::Barred { problem, .. }) = barred else { panic!("{barred:?}") };
    assert!(problem.contains("UPDATE of status"), "{problem}");
    assert_eq!(
        jobs.admin("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'backfill_jobs'"),
        "app"
    );
    assert_eq!(jobs.admin("SELECT step FROM palisade_audit.rotation"), "prepared");
    jobs.app(WORK).succeeds();
}

#[test]
fn a_role_that_it_can_become_bars_the_step_too() {
    let jobs = jobs("15");
    begin(&jobs);
    jobs.admin("CREATE ROLE keepers NOLOGIN; ALTER ROLE app NOINHERIT; GRANT keepers TO app");
    let plan = planned(&jobs, async |session| rotate::restrict(session, "app", Some("keepers")).await);
    let barred = wait(async { rotate::carry_out(&jobs.connect("postgres").await, &plan.unwrap()).await });
    assert!(matches!(barred, Err(Error::Barred { .. })), "app may say SET ROLE keepers: {barred:?}");
    jobs.admin("REVOKE keepers FROM app");
    let plan = planned(&jobs, async |session| rotate::restrict(session, "app", Some("keepers")).await);
    carried_out(&jobs, &plan.unwrap());
    jobs.app(REAPER).fails("42501");
}

/// A plan that lacks the statement at that place.
fn without(plan: &Plan, at: usize) -> Plan {
    let mut plan = plan.clone();
    plan.statements.remove(at);
    plan
}

/// What a role may do with the table and in its schema, however it was granted.
fn rights(jobs: &Jobs, role: &str) -> String {
    jobs.admin(&format!(
        "SELECT string_agg(has_table_privilege('{role}', 'backfill_jobs', p)::text, ' ') || \
         has_schema_privilege('{role}', 'public', 'CREATE') || has_column_privilege('{role}', 'other', 'b', 'UPDATE') \
         || has_table_privilege('{role}', 'palisade.guard', 'SELECT') || pg_has_role('{role}', 'readers', 'MEMBER') \
         FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p"
    ))
}

#[test]
fn each_statement_of_a_rotations_beginning_is_needed() {
    let jobs = jobs("15");
    jobs.admin(
        "CREATE TABLE other (a int, b int); GRANT UPDATE (b) ON other TO app; CREATE ROLE readers; GRANT readers TO app",
    );
    let prepared =
        || planned(&jobs, async |session| rotate::prepare(session, "app", "app2", "x").await).unwrap();
    carried_out(&jobs, &prepared());
    assert_eq!(rights(&jobs, "app2"), rights(&jobs, "app"));
    undo(&jobs);
    let table = "\"public\".\"backfill_jobs\"";
    let plan = prepared();
    let needed = |statement: &str| {
        let of = [
            "ON TABLE public.backfill_jobs",
            "ON SCHEMA public",
            "(b) ON TABLE public.other",
            "palisade.guard",
            "GRANT readers",
        ];
        statement.contains(table) || of.iter().any(|of| statement.contains(of))
    };
    let places: Vec<_> = (0..plan.statements.len()).filter(|at| needed(&plan.statements[*at])).collect();
    assert!(places.len() >= 10, "{:?}", plan.statements);
    for at in places {
        let plan = prepared();
        carried_out(&jobs, &without(&plan, at));
        let lacks = rights(&jobs, "app2") != rights(&jobs, "app");
        assert!(lacks || plan.statements[at].contains("USAGE ON SCHEMA public"), "{}", plan.statements[at]);
        undo(&jobs);
    }
}

#[test]
fn each_statement_that_restricts_a_role_is_needed_and_the_look_afterwards_sees_what_is_missing() {
    for owns in [true, false] {
        let jobs = jobs("15");
        if !owns {
            jobs.admin("ALTER TABLE backfill_jobs OWNER TO postgres; GRANT ALL ON backfill_jobs TO app");
        }
        begin(&jobs);
        let plan = restrict(&jobs).unwrap();
        let place = |text: &str| plan.statements.iter().position(|statement| statement.contains(text));
        let carry =
            |plan: &Plan| wait(async { rotate::carry_out(&jobs.connect("postgres").await, plan).await });
        // What takes rights away: without it the step is not kept, and by hand its harm is done.
        let taken = if owns { "OWNER TO" } else { "REVOKE UPDATE, DELETE, TRUNCATE" };
        let lacks = without(&plan, place(taken).unwrap());
        assert!(matches!(carry(&lacks), Err(Error::Barred { .. })), "{owns}");
        let deed = if owns {
            format!(
                "ALTER TABLE backfill_jobs DISABLE TRIGGER ALL; GRANT UPDATE ON backfill_jobs TO app; {REAPER}"
            )
        } else {
            REAPER.to_owned()
        };
        let by_hand = |plan: &Plan, deed: &str| {
            jobs.admin(&format!("BEGIN; {} SET LOCAL ROLE app; {deed}; ROLLBACK", plan.sql()));
        };
        by_hand(&lacks, &deed);
        let whole = format!("BEGIN; {} SET LOCAL ROLE app; {deed}; ROLLBACK", plan.sql());
        jobs.server.as_role("postgres", "jobs", &whole).fails("42501");
        // What leaves it the rest: without it the old code could not even finish.
        let rest = "SELECT count(*) FROM backfill_jobs; UPDATE backfill_jobs SET entities = 7";
        by_hand(&plan, rest);
        let given = without(&plan, place("GRANT UPDATE (").unwrap());
        let said = format!("BEGIN; {} SET LOCAL ROLE app; {rest}; ROLLBACK", given.sql());
        jobs.server.as_role("postgres", "jobs", &said).fails("42501");
        // And the record of the step, by which the way back is found.
        let unrecorded = without(&plan, place("INSERT INTO palisade_audit.rotation").unwrap());
        carry(&unrecorded).unwrap();
        assert_eq!(jobs.admin("SELECT step FROM palisade_audit.rotation"), "prepared");
    }
}

#[test]
fn each_statement_that_retires_a_role_is_needed() {
    let jobs = jobs("15");
    begin(&jobs);
    carried_out(&jobs, &restrict(&jobs).unwrap());
    let retire = || planned(&jobs, async |session| rotate::retire(session, "app", true).await).unwrap();
    let place =
        |text: &str| retire().statements.iter().position(|statement| statement.contains(text)).unwrap();
    let (login, sessions) = (place("NOLOGIN"), place("pg_terminate_backend"));
    carried_out(&jobs, &without(&retire(), login));
    jobs.app("SELECT 1").succeeds();
    undo(&jobs);
    let mut open = Psql::open(&jobs.url());
    assert_eq!(open.ask("SELECT 1").0, "1");
    carried_out(&jobs, &without(&retire(), sessions));
    assert_eq!(open.ask("SELECT 1").0, "1", "a session that is there goes on");
    assert!(!jobs.app("SELECT 1").success);
}

#[test]
fn whoever_uses_the_old_role_is_named_by_session_and_by_history() {
    let jobs = jobs("18");
    jobs.app(&format!("SET application_name = 'atom-saas-test'; {REAPER}")).succeeds();
    let mut open = jobs.server.session("app", "jobs");
    open.ask("SET application_name = 'atom-saas'");
    let users = planned(&jobs, async |session| rotate::users(session, "app", 3600).await).unwrap();
    let names: Vec<_> = users.iter().map(|user| (user.app.as_str(), user.sessions, user.writes)).collect();
    assert_eq!(names, [("atom-saas", 1, 0), ("atom-saas-test", 0, 3)]);
    assert_eq!(planned(&jobs, async |session| rotate::users(session, "nobody", 3600).await).unwrap(), []);
}

#[test]
fn settings_columns_memberships_and_partitions_come_along_and_odd_names_are_only_names() {
    let jobs = jobs("15");
    jobs.admin(
        "CREATE ROLE readers; GRANT readers TO app; ALTER ROLE app SET search_path = public, \"x y\"; \
         ALTER ROLE app IN DATABASE jobs SET work_mem = '8MB'; CREATE TABLE other (a int, b int); \
         GRANT UPDATE (b) ON other TO app; CREATE SCHEMA \"o'dd\"; GRANT USAGE ON SCHEMA \"o'dd\" TO app; \
         CREATE SEQUENCE s; GRANT USAGE ON SEQUENCE s TO app WITH GRANT OPTION",
    );
    let odd = "a\"b'; DROP TABLE other; --";
    let plan = planned(&jobs, async |session| rotate::prepare(session, "app", odd, "x").await).unwrap();
    carried_out(&jobs, &plan);
    let role = odd.replace('\'', "''");
    let has = jobs.admin(&format!(
        "SELECT pg_has_role('{role}', 'readers', 'MEMBER'), has_column_privilege('{role}', 'other', 'b', 'UPDATE'), \
         has_column_privilege('{role}', 'other', 'a', 'UPDATE'), has_schema_privilege('{role}', 'o''dd', 'USAGE'), \
         has_sequence_privilege('{role}', 's', 'USAGE WITH GRANT OPTION')"
    ));
    assert_eq!(has, "t|t|f|t|t");
    let set = jobs.admin(&format!(
        "SELECT string_agg(array_to_string(setconfig, ';'), ';' ORDER BY setconfig::text) FROM pg_db_role_setting s \
         JOIN pg_roles r ON r.oid = s.setrole WHERE rolname = '{role}'"
    ));
    assert_eq!(set, "search_path=public, \"x y\";work_mem=8MB");
    for (old, new) in [("postgres", "p2"), ("nobody", "n2"), ("app", "readers"), ("app", "")] {
        let refused = planned(&jobs, async |session| rotate::prepare(session, old, new, "x").await);
        assert!(matches!(refused, Err(Error::Rules { .. })), "{old} {new}: {refused:?}");
    }
}
