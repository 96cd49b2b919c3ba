//! What happened to a job, and giving it back.

use std::time::Duration;

use palisade_dbguard::undo::{Now, Wanted, undo, undoable};
use palisade_dbguard::{Table, installed, story};

use crate::fixture::{Jobs, REAPER, wait};

/// What can be undone, as `key: state`, and then the keys that were given back.
fn undone(jobs: &Jobs, wanted: &Wanted) -> (Vec<Now>, usize) {
    wait(async {
        let session = jobs.connect("postgres").await;
        let guards = installed(&session).await.unwrap();
        let table = Table::find(&session, "backfill_jobs").await.unwrap();
        let targets = undoable(&session, &guards[0], &table, wanted).await.unwrap();
        let given = undo(&session, &guards[0], &table, &targets, wanted).await.unwrap();
        (targets.iter().map(|target| target.now).collect(), given.len())
    })
}

fn by(app: &str) -> Wanted {
    Wanted { since: Duration::from_secs(3600), app: Some(app.to_owned()), ..Wanted::default() }
}

/// Five silent jobs, of which the stale reaper takes all, in the name of its app.
fn reaped(version: &'static str) -> Jobs {
    let jobs = Jobs::with(version, |rules| rules.mode = palisade_dbguard::Mode::Observe);
    jobs.running(5, "12 minutes");
    jobs.app("UPDATE backfill_jobs SET error = 'slow'").succeeds();
    // Row by row in subtransactions, in another time zone: how it was done does not matter.
    let reaper = format!(
        "SET application_name = 'atom-saas-test'; SET timezone = 'Asia/Tokyo'; DO $$ DECLARE job record; BEGIN \
         FOR job IN SELECT id FROM backfill_jobs LOOP BEGIN {REAPER} AND id = job.id; \
         EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$"
    );
    jobs.app(&reaper).succeeds();
    assert_eq!(jobs.count("cancelled"), 5);
    jobs
}

#[test]
fn what_a_stale_reaper_took_is_given_back_with_its_old_reason_unless_somebody_changed_it_since() {
    for version in palisade_testkit::postgres::VERSIONS {
        let jobs = reaped(version);
        jobs.app("UPDATE backfill_jobs SET entities = 7 WHERE name = 'a'").succeeds();
        jobs.app("DELETE FROM backfill_jobs WHERE name = 'b'").succeeds();
        assert_eq!(undone(&jobs, &by("atom-saas")), (vec![], 0), "another app did nothing");
        let (mut states, given) = undone(&jobs, &by("atom-saas-test"));
        states.sort_by_key(|now| format!("{now:?}"));
        assert_eq!(states, [Now::Changed, Now::Gone, Now::Untouched, Now::Untouched, Now::Untouched]);
        assert_eq!((given, jobs.count("running"), jobs.count("cancelled")), (3, 3, 1), "{version}");
        assert_eq!(
            jobs.admin("SELECT count(*) FROM backfill_jobs WHERE status = 'running' AND error = 'slow'"),
            "3"
        );
        let (_, again) = undone(&jobs, &by("atom-saas-test"));
        assert_eq!(again, 0, "{version}: what was given back is not given back again");
    }
}

#[test]
fn jobs_can_go_back_to_the_queue_instead() {
    let jobs = reaped("18");
    let (_, given) = undone(&jobs, &Wanted { to: Some("queued".to_owned()), ..by("atom-saas-test") });
    assert_eq!((given, jobs.count("queued")), (5, 5));
    assert_eq!(
        jobs.admin("SELECT count(*) FROM palisade.history WHERE event = 'undo' AND became = 'queued'"),
        "5"
    );
}

#[test]
fn a_job_tells_who_took_it_from_where_and_how_old_its_beat_was() {
    let jobs = reaped("15");
    let key = jobs.admin("SELECT id FROM backfill_jobs WHERE name = 'c'");
    let events = wait(async {
        let session = jobs.connect("postgres").await;
        let guards = installed(&session).await.unwrap();
        story(&session, &guards[0], &key).await.unwrap()
    });
    let last = &events[0];
    assert_eq!(
        (last.event.as_str(), last.became.as_deref(), last.code),
        ("exit", Some("cancelled"), Some(301))
    );
    assert_eq!(
        (last.app.as_str(), last.role.as_str(), last.address.as_str()),
        ("atom-saas-test", "app", "127.0.0.1")
    );
    assert_eq!(last.reason.as_deref(), Some("Abandoned (server restart or timeout)"));
    assert!(last.age.as_deref().unwrap().starts_with("00:12:"), "{last:?}");
}
