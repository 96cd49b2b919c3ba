//! Entries: who may claim a job of a guarded table.

use palisade_core::EnvironmentName;
use palisade_dbguard::Mode;
use palisade_dbguard::binding::{bind, bindings};

use crate::fixture::{Jobs, wait};
use crate::stamps::stamp;

const CLAIM: &str =
    "UPDATE backfill_jobs SET status = 'running', heartbeat_at = now() WHERE status = 'queued'";

fn queue(jobs: &Jobs) {
    jobs.running(0, "0 s");
    jobs.app("INSERT INTO backfill_jobs (name) VALUES ('a')").succeeds();
}

fn claims(jobs: &Jobs, name: &str) -> bool {
    queue(jobs);
    let said = jobs.app(&format!("SET application_name = '{name}'; {CLAIM}"));
    assert!(said.success || said.stderr.contains("PL335:"), "{name}: {}", said.stderr);
    assert_eq!(jobs.count("running"), usize::from(said.success), "{name}");
    said.success
}

/// What a client calls itself, and whether it may claim where this is a database of production.
const NAMES: [(&str, bool); 13] = [
    ("", true),
    ("psql", true),
    ("atom-saas", true),
    ("atom-saas@7", true),
    ("atom-saas/production", true),
    ("contest", true),
    ("latest", true),
    ("test", true),
    ("atom-saas-test", false),
    ("atom-saas-test@7", false),
    ("atom_saas_STAGING", false),
    ("atom-saas/test", false),
    ("atom-saas/staging: worker 3", false),
];

#[test]
fn a_worker_of_another_environment_cannot_claim_and_one_that_says_nothing_can() {
    let jobs = Jobs::guarded("15");
    for (name, _) in NAMES {
        assert!(claims(&jobs, name), "without a stamp nobody is foreign: {name}");
    }
    stamp(&jobs.server, "production");
    for (name, may) in NAMES {
        assert_eq!(claims(&jobs, name), may, "{name}");
    }
    queue(&jobs);
    let said = jobs.app(&format!("SET application_name = 'atom-saas-test'; {CLAIM}")).fails("PL335");
    assert!(said.contains("its name atom-saas-test tells of test"), "{said}");
    // An insertion in a running state is a claim too; beats and completions of what already runs are not.
    jobs.app("SET application_name = 'x-test'; INSERT INTO backfill_jobs (status, heartbeat_at) VALUES ('running', now())")
        .fails("PL335");
    jobs.app(CLAIM).succeeds();
    jobs.app("SET application_name = 'x-test'; UPDATE backfill_jobs SET heartbeat_at = now()").succeeds();
    jobs.app("SET application_name = 'x-test'; UPDATE backfill_jobs SET status = 'completed'").succeeds();
}

/// A setting that a provider has may be set by anybody where there is no such provider.
#[test]
fn a_session_that_says_it_is_on_another_branch_is_on_no_copy() {
    for version in palisade_testkit::postgres::VERSIONS {
        let jobs = Jobs::guarded(version);
        stamp(&jobs.server, "production");
        let says = |name: &str| format!("SET neon.branch_id = 'x'; SET application_name = '{name}'; {CLAIM}");
        queue(&jobs);
        jobs.app(&says("atom-test")).fails("PL335");
        jobs.admin("INSERT INTO palisade.binding (role, environment) VALUES ('app', 'test')");
        jobs.app(&says("atom")).fails("PL335");
        // Where the stamp names a branch, another one is a copy.
        jobs.admin("UPDATE palisade.stamp SET branch = 'br-main'");
        assert_eq!(jobs.admin("SET neon.branch_id = 'br-copy'; SELECT palisade.flaw()"), "copy", "{version}");
        assert_eq!(
            jobs.admin("SET neon.branch_id = 'br-main'; SELECT palisade.flaw() IS NULL"),
            "t",
            "{version}"
        );
    }
}

#[test]
fn in_a_database_of_test_the_names_of_test_are_at_home() {
    let jobs = Jobs::guarded("18");
    stamp(&jobs.server, "test");
    assert!(
        claims(&jobs, "atom-saas-test") && claims(&jobs, "atom-saas-testing") && claims(&jobs, "atom-saas")
    );
    assert!(!claims(&jobs, "atom-saas-staging") && !claims(&jobs, "atom-saas/production"));
}

#[test]
fn a_bound_role_counts_before_any_name() {
    let jobs = Jobs::guarded("15");
    stamp(&jobs.server, "production");
    let bound = |role: &str, to: Option<&str>| {
        wait(async {
            let session = jobs.connect("postgres").await;
            let to = to.map(|name| EnvironmentName::new(name).unwrap());
            bind(&session, role, to.as_ref()).await
        })
    };
    assert!(bound("nobody-here", Some("test")).is_err());
    assert!(bound("app", Some("test")).unwrap());
    assert!(!claims(&jobs, "atom-saas") && !claims(&jobs, "atom-saas/production"));
    jobs.app("DELETE FROM palisade.binding").fails("42501");
    assert!(bound("app", Some("production")).unwrap() && !bound("app", Some("production")).unwrap());
    assert!(claims(&jobs, "atom-saas-test"), "whoever bound the role knows better than a name");
    let listed = wait(async { bindings(&jobs.connect("postgres").await).await }).unwrap();
    assert_eq!((listed[0].role.as_str(), listed[0].environment.as_str()), ("app", "production"));
    assert!(bound("app", None).unwrap() && !bound("app", None).unwrap());
    assert!(!claims(&jobs, "atom-saas-test"));
}

#[test]
fn on_a_copy_its_own_workers_claim_and_in_observe_it_is_only_recorded() {
    let jobs = Jobs::with("18", |rules| rules.mode = Mode::Observe);
    stamp(&jobs.server, "production");
    queue(&jobs);
    jobs.app(&format!("SET application_name = 'atom-saas-test'; {CLAIM}")).succeeds();
    assert_eq!(jobs.admin("SELECT event, code FROM palisade.history"), "entry|335");
    jobs.admin("UPDATE palisade.guard SET mode = 'enforce'");
    queue(&jobs);
    jobs.server.sql("postgres", "CREATE DATABASE copy TEMPLATE jobs");
    let copy = |sql: &str| jobs.server.as_role("app", "copy", sql);
    copy(&format!("SET application_name = 'atom-saas-test'; {CLAIM}")).succeeds();
}
