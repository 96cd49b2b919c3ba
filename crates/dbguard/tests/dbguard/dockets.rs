//! A guarded table as a reaper's docket: tables of many shapes, and a reason where there is little room for it.

use std::time::Duration;

use palisade_core::Intended;
use palisade_dbguard::reaper::{Jobs as Docketed, Settings};
use palisade_dbguard::script::Named;
use palisade_dbguard::{Rules, history, installed};
use palisade_jobs::Note;
use palisade_jobs::reaper::{Condemned, Ground, Silence};
use palisade_lease::{Held, Holder, Name, Term};
use palisade_postgres::{Target, identify};
use palisade_reaper::{Answer, Docket as _};
use palisade_testkit::eventually;

use super::fixture::{Jobs, named, rules, wait};

const MACHINE: &str = "9f2c01aa9f2c01aa";

fn settings(table: &str) -> Settings {
    let by = Note {
        app: Some("janitor".parse().unwrap()),
        environment: Some("production".parse().unwrap()),
        version: Some("palisade 0.1.0".to_owned()),
        host: "web-1".to_owned(),
        pid: 4242,
        machine_id: MACHINE.to_owned(),
    };
    Settings {
        table: table.to_owned(),
        reap_after: None,
        beat_every: Duration::from_secs(60),
        to: Some("queued".to_owned()),
        key: None,
        by,
    }
}

fn under() -> Held {
    Held { name: Name::new("reaper/t").unwrap(), term: Term::new(7), holder: Holder::new("a").unwrap() }
}

async fn docket(jobs: &Jobs, table: &str) -> Docketed {
    let target = Target::parse(&jobs.server.url("postgres", "jobs")).unwrap();
    let (session, identity) = identify(&target).await.unwrap();
    Docketed::find(target, session, &identity, settings(table)).await.unwrap()
}

/// As the rule would condemn each of them but the last, which never beat: the guard lets nobody take that one by silence.
async fn take_all(docket: &mut Docketed) -> Vec<Answer> {
    let look = docket.look().await.unwrap();
    let silence = Silence {
        silent_ms: 7_204_000,
        threshold_ms: 3_600_000,
        longer: 1,
        seen_ms: 7_204_000,
        sweeps: 1440,
        population: 12,
        suspects: 3,
    };
    let condemned: Vec<_> = look
        .subjects
        .into_iter()
        .filter(|subject| &*subject.key != "3")
        .map(|subject| Condemned {
            key: subject.key,
            counter: subject.counter,
            ground: Ground::Silence(silence),
        })
        .collect();
    let (wanted, _) = docket.wanted(&condemned, &under()).await.unwrap();
    docket.take(&wanted, &under(), &Intended::without_journal()).await.unwrap()
}

/// A guarded table of three running jobs, with this type of states and this type of reasons.
fn table(jobs: &Jobs, name: &str, state: &str, beat: &str, reason: &str, rows: u32) {
    jobs.admin(&format!(
        "CREATE TABLE {name} (id int PRIMARY KEY, status {state} NOT NULL, heartbeat_at {beat}, error {reason}); \
         INSERT INTO {name} SELECT n, CASE WHEN n <= 3 THEN 'running' ELSE 'completed' END::{state}, \
         CASE n WHEN 3 THEN NULL ELSE now() - interval '2 hours' END, NULL FROM generate_series(1, {rows}) n; \
         CREATE INDEX ON {name} (status); ANALYZE {name}"
    ));
    let named = Named { mark: None, ..named() };
    jobs.install(&format!("public.{name}"), &named, &Rules { mark: None, ..rules() }).unwrap();
}

fn lease(jobs: &Jobs) {
    jobs.up_for_a_day();
    jobs.admin(
        "INSERT INTO palisade.lease (name, term, holder, acquired_at, expires_at) \
         VALUES ('reaper/t', 7, 'a', now(), now() + interval '1 hour')",
    );
}

#[test]
fn a_reason_is_as_long_as_its_column_lets_it_be_and_still_names_the_reaper() {
    let jobs = Jobs::unguarded("15");
    jobs.admin("CREATE DOMAIN remark AS varchar(100)");
    let columns = [
        ("usual", "varchar(200)", 200),
        ("short", "varchar(70)", 70),
        ("least", "character(32)", 32),
        ("own", "remark", 100),
    ];
    columns.iter().for_each(|(name, kind, _)| table(&jobs, name, "text", "timestamptz", kind, 3));
    lease(&jobs);
    wait(async {
        for (name, _, room) in columns {
            let mut docket = docket(&jobs, &format!("public.{name}")).await;
            assert_eq!(take_all(&mut docket).await, [Answer::Taken; 2], "{name}");
            let said = jobs.admin(&format!("SELECT error FROM {name} WHERE id = 1"));
            assert!(said.starts_with("reaped") && said.chars().count() <= room, "{name}: {said}");
            assert!(said.ends_with(&format!("Reaper: {MACHINE}")), "{name}: {said}");
        }
        let usual = jobs.admin("SELECT error FROM usual WHERE id = 1");
        assert!(
            usual.contains("silent 2h 0m 4s (rule 1h 0m 0s); by janitor (production) on web-1"),
            "{usual}"
        );
        // The shorter forms say enough for the history to be verified.
        let session = jobs.connect("postgres").await;
        for guard in installed(&session).await.unwrap() {
            let exits = history::exits(&session, &guard).await.unwrap();
            assert_eq!(exits.len(), 2);
            assert_eq!(history::check(&exits, 3_600_000), [], "{}", guard.table);
        }
    });
}

#[test]
fn states_and_beats_of_each_type_are_found_by_an_index_and_taken() {
    let jobs = Jobs::unguarded("15");
    jobs.admin("CREATE DOMAIN state AS text");
    let shapes = [
        ("of_enum", "job_status", "timestamptz(3)"),
        ("of_varchar", "varchar(12)", "timestamp"),
        ("of_char", "character(12)", "timestamptz"),
        ("of_domain", "state", "timestamptz"),
    ];
    shapes.iter().for_each(|(name, state, beat)| table(&jobs, name, state, beat, "text", 5000));
    lease(&jobs);
    for (name, ..) in shapes {
        let scans = format!("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = '{name}'");
        let before = jobs.admin(&scans);
        wait(async {
            let mut docket = docket(&jobs, &format!("public.{name}")).await;
            assert_eq!(docket.look().await.unwrap().subjects.len(), 3, "{name}");
            assert_eq!(take_all(&mut docket).await, [Answer::Taken; 2], "{name}");
        });
        // A session's counts are there once it has ended.
        let counted = format!("SELECT idx_scan >= 4 FROM pg_stat_user_tables WHERE relname = '{name}'");
        eventually("its scans are counted", || (jobs.admin(&counted) == "t").then_some(()));
        assert_eq!(jobs.admin(&scans), before, "{name}: the whole table was read");
        assert_eq!(jobs.admin(&format!("SELECT count(*) FROM {name} WHERE status = 'queued'")), "2");
    }
}

#[test]
fn a_rule_that_changes_while_a_reaper_runs_is_followed() {
    let jobs = Jobs::guarded("15");
    jobs.running(2, "2 hours");
    wait(async {
        let mut docket = docket(&jobs, "public.backfill_jobs").await;
        let after = |look: palisade_reaper::Look<_, _>| look.subjects[0].reap_after.as_secs();
        assert_eq!(after(docket.look().await.unwrap()), 3_600);
        jobs.admin(
            "UPDATE palisade.guard SET min_age = '3 hours', mode = 'observe'; \
             INSERT INTO palisade.change (guard, what) SELECT id, 'by hand' FROM palisade.guard",
        );
        assert_eq!((after(docket.look().await.unwrap()), docket.is_observed()), (10_800, true));
        // One that is gone is a fault of each look, and not a table without a rule.
        jobs.admin(
            "DELETE FROM palisade.guard; INSERT INTO palisade.change (guard, what) VALUES (1, 'by hand')",
        );
        let gone = docket.look().await.unwrap_err().to_string();
        assert!(gone.contains("has no guard"), "{gone}");
        assert!(docket.look().await.is_err());
    });
}
