//! The login trigger: it keeps who came, and keeps nobody out.

use std::collections::BTreeMap;

use palisade_audit::{Collector, Sighting};
use palisade_dbguard::{Error, Mode, audit, login};
use palisade_testkit::{Scratch, psql};

use crate::fixture::{Jobs, named, rules, wait};
use crate::identities::stamped;

fn installed() -> Jobs {
    let jobs = Jobs::unguarded("18");
    wait(async {
        let session = jobs.connect("postgres").await;
        let there = login::fit(&session, Mode::Observe).await.unwrap();
        login::run(&session, &login::install_sql(there, Mode::Observe)).await.unwrap();
    });
    jobs
}

/// Names of the role `app` that the trigger kept, with how often.
fn kept(jobs: &Jobs) -> BTreeMap<String, u64> {
    let mut collector = Collector::default();
    wait(async {
        let session = jobs.connect("postgres").await;
        assert!(audit::logins(&session, 3600, &mut collector).await.unwrap());
    });
    let seen = collector.seen().iter();
    let apps = seen.filter_map(|(sighting, tally)| match sighting {
        Sighting::Client(client) if client.role == "app" => Some((client.app.clone(), tally.times)),
        _ => None,
    });
    apps.collect()
}

fn login_as(jobs: &Jobs, app: &str) {
    psql(&format!("{}?application_name={app}", jobs.server.url("app", "jobs")), "SELECT 1").succeeds();
}

#[test]
fn it_keeps_every_name_and_equal_logins_within_a_minute_once() {
    let jobs = installed();
    for app in ["atom-saas", "atom-saas", "atom-saas-test"] {
        login_as(&jobs, app);
    }
    let expected = [("atom-saas".to_owned(), 1), ("atom-saas-test".to_owned(), 1)];
    assert_eq!(kept(&jobs), expected.into());
    // Installed again it keeps what it has; removed, nothing of it stays.
    wait(async {
        let session = jobs.connect("postgres").await;
        login::run(&session, &login::install_sql(true, Mode::Observe)).await.unwrap();
    });
    assert_eq!(kept(&jobs).len(), 2);
    wait(async {
        let session = jobs.connect("postgres").await;
        login::run(&session, login::remove_sql()).await.unwrap();
        login::run(&session, login::remove_sql()).await.unwrap();
        assert!(audit::forget(&session).await.unwrap());
        session.run("drop the role", "DROP ROLE palisade_owner").await.unwrap();
    });
    login_as(&jobs, "atom-saas");
}

#[test]
fn however_it_is_broken_nobody_is_kept_out() {
    let jobs = installed();
    let mut holder = jobs.server.session("postgres", "jobs");
    holder.ask("BEGIN");
    holder.ask("LOCK TABLE palisade_audit.login");
    login_as(&jobs, "locked");
    holder.ask("ROLLBACK");
    jobs.admin("ALTER ROLE app SET default_transaction_read_only = on");
    login_as(&jobs, "reads-only");
    jobs.admin("ALTER ROLE app RESET default_transaction_read_only");
    for broken in [
        "REVOKE ALL ON palisade_audit.login FROM palisade_owner",
        "ALTER TABLE palisade_audit.login RENAME TO elsewhere",
        "REVOKE USAGE ON SCHEMA palisade_audit FROM palisade_owner",
    ] {
        jobs.admin(broken);
        login_as(&jobs, "broken");
    }
    let log = jobs.server.log();
    assert!(log.matches("the login trigger could not do its work").count() >= 4, "{log}");
}

#[test]
fn on_a_standby_it_is_silent() {
    let mut jobs = installed();
    let folder = Scratch::new();
    let signal = folder.write("signal", "");
    jobs.server.install("standby.signal", &signal.display().to_string());
    jobs.server.restart();
    assert_eq!(jobs.admin("SELECT pg_is_in_recovery()"), "t");
    login_as(&jobs, "reader");
    assert!(!jobs.server.log().contains("the login trigger could not"), "{}", jobs.server.log());
    let unfit = wait(async { login::fit(&jobs.connect("postgres").await, Mode::Observe).await });
    assert!(matches!(unfit, Err(Error::Rules { .. })), "{unfit:?}");
}

#[test]
fn a_role_that_may_not_and_a_server_that_cannot_are_told_so() {
    let jobs = Jobs::unguarded("15");
    let unfit = wait(async { login::fit(&jobs.connect("postgres").await, Mode::Observe).await });
    let Err(Error::Rules { problem }) = unfit else { panic!("{unfit:?}") };
    assert!(problem.contains("17") && problem.contains("palisade db audit"), "{problem}");
    let newer = Jobs::unguarded("18");
    newer.admin("GRANT CREATE ON DATABASE jobs TO app");
    let refused = wait(async {
        let session = newer.connect("app").await;
        login::run(&session, &login::install_sql(true, Mode::Observe)).await
    });
    assert!(matches!(refused, Err(Error::Forbidden { .. })), "{refused:?}");
    assert_eq!(newer.admin("SELECT to_regnamespace('palisade_audit') IS NULL"), "t");
}

/// A stamped and guarded database of production on which the trigger refuses.
fn enforcing() -> Jobs {
    let jobs = stamped("18");
    enforce(&jobs);
    jobs
}

fn enforce(jobs: &Jobs) {
    wait(async {
        let session = jobs.connect("postgres").await;
        let there = login::fit(&session, Mode::Enforce).await.unwrap();
        login::run(&session, &login::install_sql(there, Mode::Enforce)).await.unwrap();
    });
}

/// What a login under that name and role came to: nothing, or the refusal.
fn refusal(jobs: &Jobs, role: &str, app: &str) -> Option<String> {
    let said = psql(&format!("{}?application_name={app}", jobs.server.url(role, "jobs")), "SELECT 1");
    (!said.success).then_some(said.stderr)
}

#[test]
fn in_enforce_whom_the_rules_keep_out_is_refused_and_everybody_else_gets_in() {
    let jobs = enforcing();
    jobs.server.role("atom_test", "");
    jobs.admin(
        "INSERT INTO palisade.binding (role, environment) VALUES ('atom_test', 'test'); \
         INSERT INTO palisade.app (app, environment, minimum_epoch) VALUES ('atom', 'production', 42); \
         INSERT INTO palisade.quarantine (app) VALUES ('zombie')",
    );
    let before = jobs.admin("SELECT last_value FROM palisade.refused");
    for (role, app, said) in [
        ("app", "atom-saas-test", "its name atom-saas-test tells of test"),
        ("app", "atom/test@50", "it says that it is of test"),
        ("atom_test", "atom", "its role atom_test belongs to test"),
        ("app", "atom@41", "the build is of epoch 41"),
        ("app", "zombie", "quarantine 1 (app zombie"),
    ] {
        let refused = refusal(&jobs, role, app).unwrap_or_else(|| panic!("{app} got in"));
        assert!(refused.contains("this login is refused") && refused.contains(said), "{app}: {refused}");
        assert_eq!(refusal(&jobs, "postgres", app), None, "a superuser gets in as {app}");
    }
    for app in ["atom", "atom@42", "atom/production@50", ""] {
        assert_eq!(refusal(&jobs, "app", app), None, "{app}");
    }
    assert_ne!(jobs.admin("SELECT last_value FROM palisade.refused"), before, "refusals are counted");
    assert!(
        jobs.server.log().contains("PAL-335 refused: a login as role app, application_name 'atom-saas-test'")
    );
    // A member of the guard's owner gets in, and the way back is open to any superuser.
    jobs.server.role("dba", "");
    assert!(refusal(&jobs, "dba", "dba-test").is_some());
    jobs.admin("GRANT palisade_owner TO dba");
    assert_eq!(refusal(&jobs, "dba", "dba-test"), None);
    wait(async {
        let session = jobs.connect("postgres").await;
        login::run(&session, &login::install_sql(true, Mode::Observe)).await.unwrap();
        assert!(login::unwelcome(&session).await.unwrap().is_empty(), "a refused login leaves no row");
    });
    assert_eq!(refusal(&jobs, "app", "atom-saas-test"), None);
    let would = wait(async { login::unwelcome(&jobs.connect("postgres").await).await.unwrap() });
    assert_eq!(
        would.iter().map(|who| (who.app.as_str(), who.code)).collect::<Vec<_>>(),
        [("atom-saas-test", 335)]
    );
}

#[test]
fn in_enforce_too_nobody_is_kept_out_by_the_triggers_own_trouble() {
    let jobs = enforcing();
    assert!(refusal(&jobs, "app", "atom-test").is_some());
    let mut holder = jobs.server.session("postgres", "jobs");
    holder.ask("BEGIN");
    holder.ask("LOCK TABLE palisade.stamp IN ACCESS EXCLUSIVE MODE");
    assert_eq!(refusal(&jobs, "app", "atom-test"), None, "a lock that it would wait for");
    holder.ask("ROLLBACK");
    for (broken, mended) in [
        ("ALTER TABLE palisade.stamp RENAME TO elsewhere", "ALTER TABLE palisade.elsewhere RENAME TO stamp"),
        (
            "ALTER TABLE palisade.quarantine RENAME TO elsewhere",
            "ALTER TABLE palisade.elsewhere RENAME TO quarantine",
        ),
        (
            "REVOKE ALL ON palisade.quarantine FROM palisade_owner",
            "GRANT ALL ON palisade.quarantine TO palisade_owner",
        ),
        ("ALTER SCHEMA palisade OWNER TO postgres", "ALTER SCHEMA palisade OWNER TO palisade_owner"),
        ("ALTER FUNCTION palisade.me() RENAME TO gone", "ALTER FUNCTION palisade.gone() RENAME TO me"),
        (
            "ALTER FUNCTION palisade_audit.objection() RENAME TO gone",
            "ALTER FUNCTION palisade_audit.gone() RENAME TO objection",
        ),
        (
            "UPDATE palisade.stamp SET database_oid = 1",
            "UPDATE palisade.stamp SET database_oid = \
            (SELECT oid FROM pg_database WHERE datname = 'jobs')",
        ),
    ] {
        jobs.admin(broken);
        for (role, app) in [("app", "atom-test"), ("postgres", "atom-test"), ("app", "atom")] {
            assert_eq!(refusal(&jobs, role, app), None, "{broken}");
        }
        jobs.admin(mended);
        assert!(refusal(&jobs, "app", "atom-test").is_some(), "{mended}");
    }
    jobs.admin("DROP SCHEMA palisade CASCADE");
    assert_eq!(refusal(&jobs, "app", "atom-test"), None, "without guards there are no rules");
}

#[test]
fn without_its_event_trigger_whom_the_rules_keep_out_gets_in() {
    let jobs = enforcing();
    assert!(refusal(&jobs, "app", "atom-test").is_some());
    for part in ["ALTER EVENT TRIGGER palisade_login DISABLE", "DROP EVENT TRIGGER palisade_login"] {
        jobs.admin(part);
        assert_eq!(refusal(&jobs, "app", "atom-test"), None, "{part}");
    }
}

#[test]
fn what_it_cannot_refuse_by_is_no_reason_to_enforce() {
    let jobs = Jobs::unguarded("18");
    let fit = || wait(async { login::fit(&jobs.connect("postgres").await, Mode::Enforce).await });
    assert!(matches!(fit(), Err(Error::Rules { problem }) if problem.contains("there are none")));
    jobs.admin("GRANT CREATE ON DATABASE jobs TO app");
    jobs.install_as("app", "backfill_jobs", &named(), &rules()).unwrap();
    assert!(matches!(fit(), Err(Error::Rules { problem }) if problem.contains("belong to app")));
}
