//! The login trigger: it keeps who came, and keeps nobody out.

use std::collections::BTreeMap;

use palisade_audit::{Collector, Sighting};
use palisade_dbguard::{Error, audit, login};
use palisade_testkit::{Scratch, psql};

use crate::fixture::{Jobs, wait};

fn installed() -> Jobs {
    let jobs = Jobs::unguarded("18");
    wait(async {
        let session = jobs.connect("postgres").await;
        let there = login::fit(&session).await.unwrap();
        login::run(&session, &login::install_sql(there)).await.unwrap();
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
        login::run(&session, &login::install_sql(login::fit(&session).await.unwrap())).await.unwrap();
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
    let unfit = wait(async { login::fit(&jobs.connect("postgres").await).await });
    assert!(matches!(unfit, Err(Error::Rules { .. })), "{unfit:?}");
}

#[test]
fn a_role_that_may_not_and_a_server_that_cannot_are_told_so() {
    let jobs = Jobs::unguarded("15");
    let unfit = wait(async { login::fit(&jobs.connect("postgres").await).await });
    assert!(matches!(unfit, Err(Error::Unfit { .. })), "{unfit:?}");
    let newer = Jobs::unguarded("18");
    newer.admin("GRANT CREATE ON DATABASE jobs TO app");
    let refused = wait(async {
        let session = newer.connect("app").await;
        login::run(&session, &login::install_sql(login::fit(&session).await.unwrap())).await
    });
    assert!(matches!(refused, Err(Error::Forbidden { .. })), "{refused:?}");
    assert_eq!(newer.admin("SELECT to_regnamespace('palisade_audit') IS NULL"), "t");
}
