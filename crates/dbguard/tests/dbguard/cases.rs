//! The cases that the rules before PM2 answer too, put to the guard in PostgreSQL.

use palisade_testkit::cases::{CASES, Deed};
use palisade_testkit::postgres;

use crate::fixture::{Jobs, REAPER};
use crate::identities::{must_ask, stamped};

const CLAIM: &str =
    "UPDATE backfill_jobs SET status = 'running', heartbeat_at = now() WHERE status = 'queued'";

fn queue(jobs: &Jobs) {
    jobs.running(0, "0 s");
    jobs.app("INSERT INTO backfill_jobs (name) VALUES ('a')").succeeds();
}

/// Four beating jobs, of which the budget's three were cancelled; the statement that takes the last.
fn over_budget(jobs: &Jobs) -> String {
    jobs.running(4, "5 seconds");
    let cancel = |name: &str| format!("UPDATE backfill_jobs SET status = 'cancelled' WHERE name = '{name}'");
    for name in ["a", "b", "c"] {
        jobs.app(&cancel(name)).succeeds();
    }
    cancel("d")
}

/// What is done, on a database of production whose guard refuses.
fn deed(jobs: &Jobs, deed: Deed) -> String {
    let claim_as = |name: &str| {
        queue(jobs);
        format!("SET application_name = '{name}'; {CLAIM}")
    };
    match deed {
        Deed::Own => claim_as("atom/production@8"),
        Deed::Foreign => claim_as("atom/test@8"),
        Deed::StaleBuild => claim_as("atom@6"),
        Deed::UnknownBuild => {
            must_ask(jobs, true, None);
            claim_as("atom")
        }
        Deed::Everything => {
            jobs.running(5, "5 seconds");
            "TRUNCATE backfill_jobs".to_owned()
        }
        Deed::OverBudget => over_budget(jobs),
        Deed::AfterTheWindow => {
            let last = over_budget(jobs);
            jobs.admin("UPDATE palisade.slot SET taken_at = taken_at - interval '11 minutes'");
            last
        }
        Deed::Observed => {
            jobs.running(5, "12 minutes");
            jobs.admin("UPDATE palisade.guard SET mode = 'observe'");
            REAPER.to_owned()
        }
        Deed::Opened => {
            jobs.running(5, "12 minutes");
            jobs.admin("ALTER TABLE backfill_jobs DISABLE TRIGGER palisade_rows");
            REAPER.to_owned()
        }
    }
}

#[test]
fn the_guard_answers_every_case_that_the_rules_before_pm2_answer() {
    for version in postgres::VERSIONS {
        let jobs = stamped(version);
        jobs.admin(
            "INSERT INTO palisade.app (app, environment, minimum_epoch) VALUES ('atom', 'production', 7)",
        );
        for case in CASES {
            jobs.admin("UPDATE palisade.guard SET mode = 'enforce', identity_required = false");
            let said = jobs.app(&deed(&jobs, case.deed));
            match case.database {
                Some(code) => drop(said.fails(&format!("PL{code}"))),
                None => drop(said.succeeds()),
            }
        }
    }
}
