//! What a database expects, and what only it can tell.

use std::collections::BTreeMap;

use palisade_audit::{Client, Expected, Kind, Sighting};
use palisade_dbguard::audit::{self, Change};
use palisade_dbguard::identity;
use palisade_dbguard::{Error, Mode};

use crate::fixture::{Jobs, REAPER, wait};
use crate::identities::stamped;

fn app(name: &str) -> Expected {
    Expected {
        app: name.to_owned(),
        roles: vec!["app".to_owned()],
        networks: vec!["10.0.0.0/16".parse().unwrap()],
        ddl: true,
        writes: vec!["backfill_jobs".to_owned()],
    }
}

#[test]
fn expectations_are_kept_added_to_and_taken_back() {
    for version in palisade_testkit::postgres::VERSIONS {
        let jobs = Jobs::unguarded(version);
        wait(async {
            let session = jobs.connect("postgres").await;
            assert_eq!(audit::expectations(&session).await.unwrap(), None);
            let change = async |what| audit::change(&session, &what).await;
            change(Change::Environment("production".to_owned())).await.unwrap();
            change(Change::App(app("atom-saas"))).await.unwrap();
            let more = Expected { roles: vec!["app2".to_owned()], ddl: false, ..app("atom-saas") };
            change(Change::App(more)).await.unwrap();
            change(Change::Pooler("10.0.5.5".to_owned())).await.unwrap();
            let kept = audit::expectations(&session).await.unwrap().unwrap();
            assert_eq!(kept.environment.as_deref(), Some("production"));
            let both = Expected { roles: vec!["app".to_owned(), "app2".to_owned()], ..app("atom-saas") };
            assert_eq!(kept.apps, [both], "lists only grow");
            assert_eq!(kept.poolers.len(), 1);
            change(Change::NoApp("atom-saas".to_owned())).await.unwrap();
            change(Change::NoPooler("10.0.5.5".to_owned())).await.unwrap();
            for unknown in [Change::NoApp("atom-saas".to_owned()), Change::NoPooler("10.0.5.5".to_owned())] {
                assert!(matches!(change(unknown).await, Err(Error::Rules { .. })));
            }
            assert!(audit::remember(&session, ["a@1", "a@2", "", "b"].into_iter()).await.unwrap());
            let known = audit::expectations(&session).await.unwrap().unwrap().known.unwrap();
            assert_eq!(known, ["a".to_owned(), "b".to_owned()].into());
        });
        assert_eq!(jobs.admin("SELECT count(*) FROM palisade_audit.change"), "6");
        jobs.app("DELETE FROM palisade_audit.app").fails("42501");
    }
}

#[test]
fn a_minimum_epoch_has_one_home_which_guard_and_audit_read() {
    for version in palisade_testkit::postgres::VERSIONS {
        let jobs = stamped(version);
        jobs.server.role("nobody", "");
        wait(async {
            let session = jobs.connect("postgres").await;
            audit::change(&session, &Change::App(app("atom"))).await.unwrap();
            let (atom, production) = ("atom".parse().unwrap(), "production".parse().unwrap());
            identity::set_minimum_epoch(&session, &atom, &production, 42).await.unwrap();
            identity::set_minimum_epoch(&session, &atom, &"test".parse().unwrap(), 90).await.unwrap();
            let kept = audit::expectations(&session).await.unwrap().unwrap();
            assert_eq!(kept.minimums, [("atom".to_owned(), 42)].into(), "{version}: only this environment's");
            let old = Client {
                app: "atom/production@41".to_owned(),
                role: "app".to_owned(),
                database: "jobs".to_owned(),
                address: "10.0.0.7".to_owned(),
            };
            let kinds = |client: Client| -> Vec<Kind> {
                let found = kept.judge(&Sighting::Client(client), &BTreeMap::new());
                found.into_iter().map(|finding| finding.kind).collect()
            };
            assert!(kinds(old.clone()).contains(&Kind::OldBuild), "{version}");
            assert!(
                !kinds(Client { app: "atom@42".to_owned(), ..old }).contains(&Kind::OldBuild),
                "{version}"
            );
            // A role that may not read it judges without it.
            assert!(audit::minimums(&jobs.connect("nobody").await).await.unwrap().is_empty());
        });
        // The same number is what the guard asks for.
        jobs.running(1, "12 minutes");
        let claim =
            "UPDATE backfill_jobs SET status = 'completed'; UPDATE backfill_jobs SET status = 'running'";
        jobs.app(&format!("SET application_name = 'atom@41'; {claim}")).fails("PL323");
        jobs.app(&format!("SET application_name = 'atom@42'; {claim}")).succeeds();
    }
}

#[test]
fn an_app_may_not_say_who_is_expected() {
    let jobs = Jobs::unguarded("15");
    let refused = wait(async {
        let session = jobs.connect("app").await;
        audit::change(&session, &Change::Environment("test".to_owned())).await
    });
    assert!(matches!(refused, Err(Error::Forbidden { .. })), "{refused:?}");
}

#[test]
fn a_changed_schema_is_told_once_and_then_known() {
    let jobs = Jobs::unguarded("18");
    let look = || {
        wait(async {
            let session = jobs.connect("postgres").await;
            audit::schema_changed(&session).await.unwrap()
        })
    };
    wait(async {
        let session = jobs.connect("postgres").await;
        audit::change(&session, &Change::Environment("production".to_owned())).await.unwrap();
    });
    assert_eq!(look(), None, "the first look has nothing to compare with");
    assert_eq!(look(), None);
    for changed in [
        "ALTER TABLE backfill_jobs ADD extra int",
        "ALTER TABLE backfill_jobs ALTER entities SET DEFAULT 7",
        "ALTER TABLE backfill_jobs ADD CHECK (entities >= 0)",
        "DROP TABLE backfill_jobs",
    ] {
        jobs.app(changed).succeeds();
        assert_eq!(look().map(|finding| finding.kind), Some(Kind::Ddl), "{changed}");
        assert_eq!(look(), None, "{changed}");
    }
    // Without the schema that was known there is nothing that differs from it.
    jobs.app("CREATE TABLE one_more (id int)").succeeds();
    jobs.admin("UPDATE palisade_audit.database SET schema_hash = NULL");
    assert_eq!(look(), None);
}

#[test]
fn two_apps_that_write_one_guarded_table_are_named() {
    let jobs = Jobs::with("15", |rules| rules.mode = Mode::Observe);
    jobs.running(2, "12 minutes");
    jobs.app(
        "SET application_name = 'atom-saas'; UPDATE backfill_jobs SET status = 'completed' WHERE name = 'a'",
    )
    .succeeds();
    jobs.app(&format!("SET application_name = 'atom-saas-test'; {REAPER}")).succeeds();
    let look = || {
        wait(async {
            let session = jobs.connect("postgres").await;
            let writes = audit::writers(&session, 3600).await.unwrap();
            palisade_audit::Expectations::default().writers(&writes)
        })
    };
    let found = look();
    let [found] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(found.what, "backfill_jobs is written by 2 apps: atom-saas, atom-saas-test");
    // Our own reaper and undo are no app, but not everybody who calls himself so is ours.
    jobs.admin("UPDATE palisade.history SET app = 'palisade' WHERE app = 'atom-saas-test'");
    assert_eq!(look().len(), 1);
    jobs.app("SELECT palisade.acquire('reaper/public.backfill_jobs', 'me', '1 minute')").succeeds();
    assert_eq!(look(), []);
    jobs.admin(
        "DELETE FROM palisade.lease; UPDATE palisade.history SET role = 'postgres' WHERE app = 'palisade'",
    );
    assert_eq!(look(), []);
    jobs.admin("UPDATE palisade.history SET app = 'atom-saas-test', role = 'app' WHERE app = 'palisade'");
    assert_eq!(look().len(), 1);
    // Without the rows of the second there is one, and without a guard nobody keeps who writes.
    jobs.admin("DELETE FROM palisade.history WHERE app = 'atom-saas-test'");
    assert_eq!(look(), []);
    jobs.remove("postgres", "backfill_jobs", true).unwrap();
    assert_eq!(look(), []);
}
