//! What happened to a job, and giving it back.

use std::time::Duration;

use palisade_core::Intended;
use palisade_dbguard::prune::{KEPT, prune};
use palisade_dbguard::undo::{Now, Wanted, undo, undoable};
use palisade_dbguard::{Table, installed, story};

use palisade_testkit::postgres;

use crate::fixture::{Jobs, REAPER, wait};

/// What can be undone, as `key: state`, and then the keys that were given back.
pub(crate) fn undone(jobs: &Jobs, wanted: &Wanted) -> (Vec<Now>, usize) {
    wait(async {
        let session = jobs.connect("postgres").await;
        let guards = installed(&session).await.unwrap();
        let table = Table::find(&session, "backfill_jobs").await.unwrap();
        let targets = undoable(&session, &guards[0], &table, wanted).await.unwrap();
        let given =
            undo(&session, &guards[0], &table, &targets, wanted, &Intended::without_journal()).await.unwrap();
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

/// Rows of the history as a guard wrote them so many days ago.
fn recorded(jobs: &Jobs, days: u32, rows: u32) {
    jobs.admin(&format!(
        "INSERT INTO palisade.history (day, at, guard, key, event) \
         SELECT ((extract(epoch FROM now())::bigint / 86400 - {days}) % 32)::smallint, now() - interval '{days} days', 1, \
         '{days}', 'exit' FROM generate_series(1, {rows})"
    ));
}

fn days(jobs: &Jobs) -> String {
    jobs.admin("SELECT string_agg(DISTINCT key, ' ' ORDER BY key) FROM palisade.history")
}

fn pruned(jobs: &Jobs, dry: bool) -> Vec<String> {
    let done = wait(async { prune(&jobs.connect("postgres").await, KEPT, dry).await }).unwrap();
    done.into_iter().map(|day| day.done).collect()
}

#[test]
fn thirty_days_are_kept_and_what_is_older_goes_without_anybody_waiting() {
    for version in postgres::VERSIONS {
        let jobs = Jobs::guarded(version);
        // Thirty-two days ago is the same place in the ring as today.
        for days in [32, 31, 29, 1, 0] {
            recorded(&jobs, days, 3);
        }
        let mut plan = pruned(&jobs, true);
        plan.sort();
        assert_eq!(plan, ["would be cleared of old rows", "would be emptied"], "{version}");
        assert_eq!(days(&jobs), "0 1 29 31 32");
        let mut reader = jobs.server.session("postgres", "jobs");
        reader.ask("BEGIN");
        reader.ask("SELECT count(*) FROM palisade.history");
        // Whoever reads is not disturbed, and keeps nothing else from going.
        assert!(pruned(&jobs, false).contains(&"in use: left for the next time".to_owned()), "{version}");
        assert_eq!(days(&jobs), "0 1 29 31", "{version}");
        reader.ask("COMMIT");
        assert_eq!(pruned(&jobs, false), ["emptied"], "{version}");
        assert_eq!(days(&jobs), "0 1 29", "{version}");
        assert!(pruned(&jobs, false).is_empty(), "{version}");
        jobs.app("SELECT * FROM palisade.prune('1 day', false)").fails("42501");
    }
}

#[test]
fn a_guard_writes_to_the_place_of_its_day_and_no_search_of_the_history_judges() {
    let jobs = Jobs::guarded("15");
    jobs.running(3, "12 minutes");
    jobs.app("UPDATE backfill_jobs SET status = 'completed' WHERE name = 'a'").succeeds();
    let place = jobs.admin(
        "SELECT tableoid::regclass = format('palisade.history_%s', lpad(((extract(epoch FROM now())::bigint / 86400) % 32)::text, \
         2, '0'))::regclass FROM palisade.history",
    );
    assert_eq!(place, "t");
    // A claim counts as a beat also where the history was emptied, and the job's row goes with it.
    jobs.app("INSERT INTO backfill_jobs (name, status, heartbeat_at) VALUES ('x', 'running', now() - interval '3 hours')")
        .succeeds();
    jobs.admin("DELETE FROM palisade.history; UPDATE palisade.job SET entered_at = entered_at - interval '12 minutes'");
    jobs.app("UPDATE backfill_jobs SET status = 'cancelled' WHERE name = 'x'").fails("PL301");
    jobs.app("UPDATE backfill_jobs SET status = 'completed' WHERE name = 'x'").succeeds();
    assert_eq!(jobs.admin("SELECT count(*) FROM palisade.job"), "0");
}
