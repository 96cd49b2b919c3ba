//! What a database expects, and what only it can tell.

use palisade_audit::{Expected, Kind};
use palisade_dbguard::audit::{self, Change};
use palisade_dbguard::{Error, Mode};

use crate::fixture::{Jobs, REAPER, wait};

fn app(name: &str) -> Expected {
    Expected {
        app: name.to_owned(),
        roles: vec!["app".to_owned()],
        networks: vec!["10.0.0.0/16".parse().unwrap()],
        minimum_epoch: Some(42),
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
            let more = Expected {
                roles: vec!["app2".to_owned()],
                minimum_epoch: Some(7),
                ddl: false,
                ..app("atom-saas")
            };
            change(Change::App(more)).await.unwrap();
            change(Change::Pooler("10.0.5.5".to_owned())).await.unwrap();
            let kept = audit::expectations(&session).await.unwrap().unwrap();
            assert_eq!(kept.environment.as_deref(), Some("production"));
            let both = Expected { roles: vec!["app".to_owned(), "app2".to_owned()], ..app("atom-saas") };
            assert_eq!(kept.apps, [both], "a minimum never falls, and lists only grow");
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
    let found = wait(async {
        let session = jobs.connect("postgres").await;
        let writes = audit::writers(&session, 3600).await.unwrap();
        palisade_audit::Expectations::default().writers(&writes)
    });
    let [found] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(found.what, "backfill_jobs is written by 2 apps: atom-saas, atom-saas-test");
}
