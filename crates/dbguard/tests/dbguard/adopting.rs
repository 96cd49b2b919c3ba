//! Putting a guard behind a table in use, and taking it away again.

use palisade_dbguard::script::Named;
use palisade_dbguard::{Error, Mode};
use palisade_testkit::{Psql, postgres};

use crate::fixture::{Jobs, REAPER, named, rules};

/// Everything in the catalogue that an app could notice, but for oids.
const CATALOGUE: &str = "SELECT 'table', c.oid::regclass::text, c.relkind::text, coalesce(c.relacl::text, '') \
    FROM pg_class c WHERE c.relnamespace::regnamespace::text NOT LIKE 'pg\\_%' AND c.relnamespace <> 'information_schema'::regnamespace \
    UNION ALL SELECT 'trigger', t.tgrelid::regclass::text, t.tgname, t.tgenabled::text FROM pg_trigger t WHERE NOT t.tgisinternal \
    UNION ALL SELECT 'schema', n.nspname, '', '' FROM pg_namespace n WHERE n.nspname NOT LIKE 'pg\\_%' \
    UNION ALL SELECT 'function', p.oid::regprocedure::text, '', '' FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace \
    UNION ALL SELECT 'depends', d.classid::regclass::text, d.refclassid::regclass::text, count(*)::text FROM pg_depend d \
    GROUP BY 2, 3 ORDER BY 1, 2, 3, 4";

#[test]
fn a_removed_guard_leaves_the_schema_as_it_found_it() {
    for version in postgres::VERSIONS {
        for role in ["postgres", "app"] {
            let jobs = Jobs::unguarded(version);
            jobs.admin("GRANT CREATE ON DATABASE jobs TO app");
            let before = jobs.admin(CATALOGUE);
            let dump = (version == "15").then(|| jobs.server.dump_as("postgres", "jobs"));
            jobs.install_as(role, "backfill_jobs", &named(), &rules()).unwrap();
            jobs.running(2, "12 minutes");
            jobs.app(REAPER).fails("PL301");
            assert_ne!(jobs.admin(CATALOGUE), before);
            jobs.remove(role, "backfill_jobs", true).unwrap();
            jobs.app(REAPER).succeeds();
            if let Some(dump) = dump {
                assert_eq!(jobs.server.dump_as("postgres", "jobs"), dump, "{role}");
            }
            let settled = |catalogue: String| catalogue.replace("{postgres=arwdDxtm/postgres}", "");
            assert_eq!(
                settled(jobs.admin(CATALOGUE).replace(&owner_only(&jobs), "")),
                settled(before),
                "{version} {role}"
            );
        }
    }
}

/// What GRANT and REVOKE leave where there was nothing: the owner's own rights, written out.
fn owner_only(jobs: &Jobs) -> String {
    jobs.admin("SELECT acldefault('r', 'app'::regrole)::text")
}

#[test]
fn installing_again_changes_the_rules_and_keeps_the_history() {
    let jobs = Jobs::with("15", |rules| rules.mode = Mode::Observe);
    jobs.running(2, "12 minutes");
    jobs.app("UPDATE backfill_jobs SET status = 'cancelled' WHERE name = 'a'").succeeds();
    jobs.guard(|rules| rules.budget.jobs = 1);
    assert_eq!(jobs.guards().len(), 1);
    jobs.app(REAPER).fails("PL301");
    assert_eq!(jobs.admin("SELECT count(*) FROM palisade.history WHERE code = 301"), "1");
    assert_eq!(jobs.admin("SELECT count(*) FROM palisade.slot"), "1");
    assert_eq!(
        jobs.admin("SELECT string_agg(what, '; ' ORDER BY at) FROM palisade.change"),
        "installed, mode observe; rules changed, mode enforce"
    );
}

#[test]
fn a_table_in_use_is_neither_blocked_nor_changed_and_the_guard_comes_when_it_is_free() {
    let jobs = Jobs::unguarded("18");
    let mut writer = Psql::open(&jobs.url());
    writer.ask("BEGIN");
    writer.ask("INSERT INTO backfill_jobs (name) VALUES ('open')");
    let other = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut session = Psql::open(&jobs.url());
            session.ask("SET statement_timeout = '3s'");
            (0..20)
                .map(|_| session.ask("INSERT INTO backfill_jobs (name) VALUES (NULL)").1)
                .collect::<Vec<_>>()
        });
        let error = jobs.install("backfill_jobs", &named(), &rules()).unwrap_err();
        assert!(matches!(error, Error::Busy { attempts: 3, .. }), "{error}");
        other.join().unwrap()
    });
    assert!(other.iter().all(|sqlstate| sqlstate == "00000"), "{other:?}");
    assert!(jobs.guards().is_empty());
    writer.ask("COMMIT");
    jobs.install("backfill_jobs", &named(), &rules()).unwrap();
}

#[test]
fn a_role_that_may_not_is_told_so_and_leaves_nothing() {
    let jobs = Jobs::unguarded("15");
    jobs.server.role("other", "");
    let error = jobs.install_as("other", "backfill_jobs", &named(), &rules()).unwrap_err();
    assert!(matches!(error, Error::Forbidden { .. }), "{error}");
    assert_eq!(jobs.admin("SELECT to_regnamespace('palisade') IS NULL"), "t");
}

#[test]
fn names_and_states_with_every_kind_of_quote_are_guarded_verified_and_removed() {
    let jobs = Jobs::unguarded("15");
    let states = r"E'it''s {id} \\ \' running'";
    jobs.app(&format!(
        "CREATE TABLE \"Job's \"\"{{id}}\"\" $x$\" (\"I d\" int, \"k;--\" text, \
         \"State {{running}}\" text, \"beat\"\"\" timestamptz, PRIMARY KEY (\"I d\", \"k;--\")); \
         INSERT INTO \"Job's \"\"{{id}}\"\" $x$\" VALUES (1, 'a', {states}, now() - interval '12 minutes')"
    ))
    .succeeds();
    let named = Named { status: "State {running}".to_owned(), beat: "beat\"".to_owned(), ..Named::default() };
    let mut rules = rules();
    rules.running = vec![r"it's {id} \ ' running".to_owned()];
    (rules.reason, rules.mark) = (None, None);
    let table = "\"Job's \"\"{id}\"\" $x$\"";
    jobs.install(table, &named, &rules).unwrap();
    let done = format!("UPDATE {table} SET \"State {{running}}\" = 'cancelled'");
    let said = jobs.app(&done).fails("PL301");
    assert!(said.contains("(1,a)"), "{said}");
    let damages = crate::verified::damages(&jobs);
    assert_eq!(damages, [""; 0]);
    jobs.remove("postgres", table, true).unwrap();
    jobs.app(&done).succeeds();
    jobs.app("CREATE TABLE sly (id int PRIMARY KEY, \"a$palisade$b\" text, heartbeat_at timestamptz)")
        .succeeds();
    let named =
        Named { status: "a$palisade$b".to_owned(), beat: "heartbeat_at".to_owned(), ..Named::default() };
    assert!(matches!(jobs.install("sly", &named, &rules), Err(Error::Unfit { .. })));
}

#[test]
fn the_app_can_still_dump_its_own_database() {
    let jobs = Jobs::unguarded("15");
    let before = jobs.server.dump_as("app", "jobs");
    jobs.guard(|_| {});
    let after = jobs.server.dump_as("app", "jobs");
    assert!(after.len() > before.len() && after.contains("palisade_rows"), "{after}");
}

#[test]
fn where_a_superuser_installs_no_code_of_the_app_runs_as_superuser() {
    let jobs = Jobs::guarded("15");
    let owners = jobs.admin(
        "SELECT DISTINCT r.rolname, r.rolsuper, r.rolcanlogin FROM pg_proc p JOIN pg_roles r \
        ON r.oid = p.proowner WHERE p.pronamespace = 'palisade'::regnamespace",
    );
    assert_eq!(owners, "palisade_hand|f|f\npalisade_owner|f|f");
    for sql in [
        "DELETE FROM palisade.history",
        "SELECT palisade.started()",
        "UPDATE palisade.guard SET mode = 'observe'",
    ] {
        jobs.app(sql).fails("42501");
    }
}
