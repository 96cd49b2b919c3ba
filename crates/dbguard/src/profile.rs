//! Job libraries whose tables are known: what a guard of theirs reads, and from when on the library itself rescues.
//!
//! Most of them keep the time at which an attempt began and no beat. Then nothing in a row tells a worker from a reaper
//! before the library's own rescue would come, so `quiet_after` is all but `min_age`: what a worker does passes, and a
//! cancel or a deletion is bounded by the budget.

use std::time::Duration;

use crate::quote;
use crate::table::Table;

/// What is known about the jobs table of a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// As `--profile` takes it.
    pub name: &'static str,
    /// As people write it.
    pub library: &'static str,
    /// Columns by which its table is known.
    has: &'static [&'static str],
    /// The column of states, or what is not null as long as a job runs.
    pub status: &'static str,
    /// Whether it is the latter.
    pub claimed: bool,
    /// States in which a job runs.
    pub running: &'static [&'static str],
    /// States into which it may always go.
    pub done: &'static [&'static str],
    /// States into which its worker puts it.
    pub own: &'static [&'static str],
    /// Columns of which a worker's own exit changes at least one.
    pub own_columns: &'static [&'static str],
    /// The beat, or the column that finds it; the first of these that the table has.
    beats: &'static [&'static str],
    /// Table and column of a beat that is elsewhere, in the same schema.
    elsewhere: Option<(&'static str, &'static str)>,
    /// Why a job ended.
    pub reason: Option<&'static str>,
    /// Seconds after which the library's own rescue takes a job.
    rescue: u64,
    /// What somebody who guards such a table has to know.
    pub note: &'static str,
}

/// Every known library.
pub const PROFILES: [Profile; 6] = [
    Profile {
        name: "pg-boss",
        library: "pg-boss",
        has: &["started_on", "keep_until", "retry_limit", "state"],
        status: "state",
        claimed: false,
        running: &["active"],
        done: &["completed"],
        own: &["retry", "failed"],
        own_columns: &[],
        beats: &["heartbeat_on", "started_on"],
        elsewhere: None,
        reason: None,
        rescue: 15 * 60,
        note: "it fails a job after expire_seconds, 15 minutes unless a queue says more: give --min-age as long as the \
               longest and --quiet-after a second less",
    },
    Profile {
        name: "graphile-worker",
        library: "graphile-worker",
        has: &["locked_at", "locked_by", "run_at", "attempts", "max_attempts", "task_id"],
        status: "locked_at",
        claimed: true,
        running: &["claimed"],
        done: &["DELETE"],
        own: &["free"],
        own_columns: &["run_at", "attempts"],
        beats: &["locked_at"],
        elsewhere: None,
        reason: Some("last_error"),
        rescue: 4 * 3600,
        note: "it completes a job by deleting it, so deletions pass; unlocking a running job without failing it is bounded \
               by the budget for 4 hours, after which the library does it itself",
    },
    Profile {
        name: "river",
        library: "River",
        has: &["attempted_at", "attempted_by", "max_attempts", "state", "unique_key"],
        status: "state",
        claimed: false,
        running: &["running"],
        done: &["completed"],
        own: &["retryable", "discarded", "available", "scheduled"],
        own_columns: &["errors", "scheduled_at", "finalized_at"],
        beats: &["attempted_at"],
        elsewhere: None,
        reason: None,
        rescue: 3600,
        note: "a River client whose RescueStuckJobsAfter is shorter than the hour writes what a worker's failure writes, and \
               passes; workers that cancel their own jobs need --own with cancelled in it",
    },
    Profile {
        name: "oban",
        library: "Oban",
        has: &["attempted_at", "attempted_by", "discarded_at", "worker", "state"],
        status: "state",
        claimed: false,
        running: &["executing"],
        done: &["completed"],
        own: &["retryable", "discarded", "scheduled"],
        own_columns: &["errors", "scheduled_at"],
        beats: &["attempted_at"],
        elsewhere: None,
        reason: None,
        rescue: 3600,
        note: "only Lifeline puts a running job back to available: before the hour it is bounded by the budget; workers that \
               cancel their own jobs need --own with cancelled in it",
    },
    Profile {
        name: "good_job",
        library: "GoodJob",
        has: &["active_job_id", "performed_at", "finished_at", "locked_by_id"],
        status: "locked_by_id",
        claimed: true,
        running: &["claimed"],
        done: &["DELETE"],
        own: &["free"],
        own_columns: &[],
        beats: &["locked_by_id"],
        elsewhere: Some(("good_job_processes", "updated_at")),
        reason: Some("error"),
        rescue: 5 * 60,
        note: "a finished job and one that was let go look alike here: what is refused is TRUNCATE and a change of key; the \
               rest is recorded",
    },
    Profile {
        name: "solid_queue",
        library: "Solid Queue",
        has: &["job_id", "process_id", "created_at"],
        status: "process_id",
        claimed: true,
        running: &["claimed"],
        done: &["DELETE"],
        own: &["free"],
        own_columns: &[],
        beats: &["process_id"],
        elsewhere: Some(("solid_queue_processes", "last_heartbeat_at")),
        reason: None,
        rescue: 5 * 60,
        note: "guard solid_queue_claimed_executions: a finished job and a pruned one are both deleted from it; what is refused \
               is TRUNCATE and a change of key, the rest is recorded",
    },
];

impl Profile {
    /// The one that somebody named.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PROFILES.iter().find(|profile| profile.name == name)
    }

    /// The one whose columns the table has.
    #[must_use]
    pub fn of(table: &Table) -> Option<&'static Self> {
        PROFILES.iter().find(|profile| {
            let known = profile.has.iter().all(|name| has(table, name));
            known && (profile.has.len() > 3 || table.name == "solid_queue_claimed_executions")
        })
    }

    /// The column of the beat, or the one that finds it.
    #[must_use]
    pub fn beat(&self, table: &Table) -> &'static str {
        self.beats.iter().find(|name| has(table, name)).unwrap_or(&self.beats[0])
    }

    /// Where the beat is, as `TABLE.COLUMN`, if not in the table itself.
    #[must_use]
    pub fn elsewhere(&self, table: &Table) -> Option<String> {
        let (name, column) = self.elsewhere?;
        Some(format!("{}.{}.{column}", quote::name(&table.schema), quote::name(name)))
    }

    /// From when on the library itself takes a job from its worker.
    #[must_use]
    pub fn min_age(&self) -> Duration {
        Duration::from_secs(self.rescue)
    }

    /// Until when whatever looks like its worker passes: there is no gap before the library's own rescue.
    #[must_use]
    pub fn quiet_after(&self) -> Duration {
        Duration::from_secs(self.rescue - 1)
    }
}

fn has(table: &Table, name: &str) -> bool {
    table.columns.iter().any(|column| column.name == name)
}
