//! Who was refused is known though the refusal rolled back, as far as this server allows.

use palisade_dbguard::refused::{Channel, Refused, refused};
use palisade_testkit::psql;

use crate::fixture::{Jobs, REAPER, wait};

fn told(jobs: &Jobs, role: &str, sees: bool) -> (Channel, Vec<Refused>) {
    wait(async { refused(&jobs.connect(role).await, 3600, sees).await }).unwrap()
}

fn names(list: &[Refused]) -> Vec<(u16, &str, &str, &str)> {
    list.iter().map(|one| (one.code, one.app.as_str(), one.role.as_str(), one.address.as_str())).collect()
}

const TEST: &str = "SET application_name = 'atom-saas-test'";

#[test]
fn from_the_servers_log_every_refusal_is_attributed_in_each_format() {
    for (version, destination) in [("15", "stderr"), ("15", "csvlog"), ("18", "jsonlog")] {
        let destination = format!("log_destination={destination}");
        let settings = ["logging_collector=on", "log_directory=log", &destination];
        let jobs = Jobs::guarded_with(version, &settings);
        jobs.running(5, "12 minutes");
        // It swallows the error, rolls back and leaves: still it is named.
        let swallowed = format!("{TEST}; DO $$ BEGIN {REAPER}; EXCEPTION WHEN OTHERS THEN NULL; END $$");
        jobs.app(&swallowed).succeeds();
        jobs.app(&format!("{TEST}; BEGIN; SAVEPOINT s; {REAPER}")).fails("PL301");
        let found = palisade_testkit::eventually("the log is written", || {
            let (channel, list) = told(&jobs, "postgres", true);
            assert_eq!(channel, Channel::Log);
            list.iter().any(|one| one.times == 2).then_some(list)
        });
        assert_eq!(names(&found), [(301, "atom-saas-test", "app", "127.0.0.1")], "{version} {destination}");
        assert!(!found[0].last.is_empty());
    }
}

#[test]
fn without_the_log_a_session_bears_its_mark_until_it_ends_and_the_count_stays() {
    for version in palisade_testkit::postgres::VERSIONS {
        let jobs = Jobs::guarded(version);
        jobs.running(5, "12 minutes");
        let mut stale = jobs.server.session("app", "jobs");
        stale.ask(TEST);
        for _ in 0..3 {
            assert_eq!(stale.ask(REAPER).1, "PL301");
        }
        jobs.app(&format!("SET application_name = 'gone'; {REAPER}")).fails("PL301");
        let (channel, list) = told(&jobs, "postgres", true);
        assert_eq!(
            (channel, names(&list)),
            (Channel::Sessions, vec![(301, "atom-saas-test", "app", "127.0.0.1")])
        );
        // The app's own role sees its own sessions, which is what a managed database has.
        let (channel, list) = told(&jobs, "app", false);
        assert_eq!((channel, list.len()), (Channel::OwnSessions, 1));
        drop(stale);
        palisade_testkit::eventually("the session ends", || {
            told(&jobs, "postgres", true).1.is_empty().then_some(())
        });
        assert_eq!(jobs.admin("SELECT last_value FROM palisade.refused"), "4");
    }
}

#[test]
fn the_count_does_not_go_back_when_the_server_crashes() {
    for version in palisade_testkit::postgres::VERSIONS {
        let mut jobs = Jobs::guarded(version);
        jobs.running(5, "12 minutes");
        let mut last: i64 = 0;
        for _ in 0..3 {
            for _ in 0..5 {
                jobs.app(REAPER).fails("PL301");
            }
            let before: i64 = jobs.admin("SELECT last_value FROM palisade.refused").parse().unwrap();
            assert!(before >= last + 5, "{before} after {last}");
            // A refusal is rolled back, so nobody waits for the disk: the server's WAL writer brings it there soon.
            let written = "SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn()";
            palisade_testkit::eventually("it is on disk", || (jobs.admin(written) == "t").then_some(()));
            jobs.server.crash();
            last = jobs.admin("SELECT last_value FROM palisade.refused").parse().unwrap();
            assert!(last >= before, "{last} after {before}");
        }
    }
}

#[test]
fn a_mark_never_makes_the_app_wait() {
    let jobs = Jobs::guarded("18");
    jobs.running(5, "12 minutes");
    // Whoever takes the same lock for itself only takes the mark away.
    let mut holder = jobs.server.session("app", "jobs");
    holder.ask("SELECT pg_advisory_lock(hashtext('palisade.refused'), 301)");
    let refused = psql(&format!("{}?options=-cstatement_timeout%3D5s", jobs.url()), REAPER);
    refused.fails("PL301");
}
