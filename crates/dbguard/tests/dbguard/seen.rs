//! What a guard records, and what of a refusal outlives its rollback.

use std::time::Duration;

use palisade_dbguard::{Mode, installed, report};

use crate::fixture::{Jobs, REAPER, wait};

#[test]
fn in_observe_the_stale_reaper_passes_and_is_named_with_its_statement() {
    let jobs = Jobs::with("15", |rules| rules.mode = Mode::Observe);
    jobs.running(5, "12 minutes");
    jobs.app(&format!("SET application_name = 'atom-saas-test'; {REAPER}")).succeeds();
    assert_eq!(jobs.count("cancelled"), 5);
    let report = wait(async {
        let session = jobs.connect("postgres").await;
        let guards = installed(&session).await.unwrap();
        report(&session, &guards[0], Duration::from_secs(60)).await.unwrap()
    });
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!((finding.code, finding.jobs, finding.change.as_str()), (301, 5, "running -> cancelled"));
    assert_eq!((finding.app.as_str(), finding.role.as_str()), ("atom-saas-test", "app"));
    assert_eq!(
        finding.statement,
        "UPDATE backfill_jobs SET status = ?, error = ? WHERE status = ? AND heartbeat_at < now() - interval ?"
    );
    assert!(jobs.server.log().contains("PAL-301 would be refused"), "{}", jobs.server.log());
}

#[test]
fn a_refusal_is_counted_and_in_the_log_with_its_client_though_it_rolled_back() {
    let jobs = Jobs::guarded("18");
    jobs.running(5, "12 minutes");
    let swallowed = format!("DO $$ BEGIN {REAPER}; EXCEPTION WHEN OTHERS THEN NULL; END $$");
    jobs.app(&format!("SET application_name = 'atom-saas-test'; {swallowed}")).succeeds();
    jobs.app(REAPER).fails("PL301");
    assert_eq!(jobs.admin("SELECT last_value FROM palisade.refused"), "2");
    let log = jobs.server.log();
    let line = log.lines().find(|line| line.contains("PAL-301 refused")).unwrap();
    assert!(line.contains("role app, application_name 'atom-saas-test', from 127.0.0.1"), "{line}");
}

#[test]
fn every_entry_and_exit_is_recorded_with_its_ground_and_no_value_of_a_statement() {
    let jobs = Jobs::guarded("15");
    jobs.running(0, "0 s");
    jobs.app("INSERT INTO backfill_jobs (name) VALUES ('a'); UPDATE backfill_jobs SET status = 'running', heartbeat_at = now(); \
        UPDATE backfill_jobs SET heartbeat_at = now(); UPDATE backfill_jobs SET status = 'failed', error = 'token=s3cret';")
        .succeeds();
    let events = jobs.admin("SELECT event, was, became, ground, statement FROM palisade.history ORDER BY id");
    let expected =
        "entry|queued|running||\nexit|running|failed|own|UPDATE backfill_jobs SET status = ?, error = ?";
    assert_eq!(events, expected);
}
