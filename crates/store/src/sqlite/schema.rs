//! The tables, and how they grow from version to version.
//!
//! A version only adds. What it makes superfluous goes two versions later, so that a client of the version before
//! goes on working beside it, and one of two before is refused.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use palisade_jobs::Error;

/// The version that this client writes.
const VERSION: i64 = 3;

/// What each version adds, from 1.
const STEPS: [&str; 3] = [FIRST, SECOND, THIRD];

const FIRST: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO meta VALUES ('schema', 0), ('id', lower(hex(randomblob(8)))), ('token', 0);

CREATE TABLE job (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    state TEXT NOT NULL,
    payload TEXT NOT NULL,
    priority INTEGER NOT NULL,
    enqueued_at INTEGER NOT NULL,
    run_at INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    unique_key TEXT,
    asked_reap_after_ms INTEGER,
    by TEXT NOT NULL,
    token INTEGER,
    incarnation TEXT,
    worker TEXT,
    beat_every_ms INTEGER,
    reap_after_ms INTEGER,
    self_fence_ms INTEGER,
    cancel INTEGER NOT NULL DEFAULT 0,
    progress INTEGER,
    trouble TEXT,
    reason TEXT,
    ended_at INTEGER
);
CREATE INDEX job_ready ON job (queue, priority, id) WHERE state = 'ready';
CREATE INDEX job_due ON job (run_at) WHERE state IN ('scheduled', 'retrying', 'handover');
CREATE INDEX job_running ON job (incarnation) WHERE state = 'running';
CREATE INDEX job_running_queue ON job (queue) WHERE state = 'running';
CREATE INDEX job_ended ON job (queue, ended_at) WHERE ended_at IS NOT NULL;
CREATE UNIQUE INDEX job_unique ON job (queue, unique_key) WHERE unique_key IS NOT NULL AND ended_at IS NULL;

CREATE TABLE idempotency (queue TEXT NOT NULL, key TEXT NOT NULL, job INTEGER NOT NULL, PRIMARY KEY (queue, key))
    WITHOUT ROWID;
CREATE TABLE checkpoint (
    job INTEGER NOT NULL, sequence INTEGER NOT NULL, key TEXT NOT NULL, sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL, PRIMARY KEY (job, sequence)
) WITHOUT ROWID;
CREATE TABLE event (
    number INTEGER PRIMARY KEY AUTOINCREMENT, job INTEGER NOT NULL, at INTEGER NOT NULL, token INTEGER,
    kind TEXT NOT NULL, by TEXT
);
CREATE INDEX event_job ON event (job, number);
CREATE TABLE worker (
    incarnation TEXT PRIMARY KEY, worker TEXT NOT NULL, registered_at INTEGER NOT NULL,
    beat INTEGER NOT NULL DEFAULT 0, beat_at INTEGER, suspect INTEGER NOT NULL DEFAULT 0,
    gone INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE taken (
    incarnation TEXT NOT NULL, token INTEGER NOT NULL, job INTEGER NOT NULL, PRIMARY KEY (incarnation, token)
) WITHOUT ROWID;
CREATE TABLE schedule (name TEXT PRIMARY KEY, next_at INTEGER, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE queue (name TEXT PRIMARY KEY, rules TEXT NOT NULL) WITHOUT ROWID;
";

/// What one reaper leaves to the next, and the rules of queues as they were.
const SECOND: &str = "
CREATE TABLE silence (
    incarnation TEXT PRIMARY KEY, timeline TEXT NOT NULL, beat INTEGER NOT NULL, silent_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE queue_change (
    queue TEXT NOT NULL, revision INTEGER NOT NULL, at INTEGER NOT NULL, rules TEXT NOT NULL, by TEXT,
    PRIMARY KEY (queue, revision)
) WITHOUT ROWID;
";

/// Which key a job was made with, and by when the progress of one that runs has to change.
const THIRD: &str = "
ALTER TABLE job ADD COLUMN idempotency_key TEXT;
ALTER TABLE job ADD COLUMN progress_deadline_ms INTEGER;
";

/// Brings the tables up to this version. The caller has the turn.
pub(super) fn migrate(
    sql: &Connection,
    path: &Path,
    name: &str,
    failed: impl Fn(rusqlite::Error) -> Error,
) -> Result<(), Error> {
    let found = version(sql).map_err(&failed)?;
    if found > VERSION + 1 {
        return Err(Error::Version(format!(
            "{name} has tables of version {found}, and this palisade serves up to {}: install the newer palisade \
             that made them; nothing was changed",
            VERSION + 1
        )));
    }
    if found == 0 && holds_foreign_tables(sql).map_err(&failed)? {
        return Err(Error::Version(format!(
            "{} is a database of something else: name another file; nothing was changed",
            path.display()
        )));
    }
    sql.execute_batch(crate::lease::sqlite::TABLE).map_err(&failed)?;
    for (number, step) in (1..).zip(STEPS).filter(|(number, _)| *number > found) {
        let raise = format!("UPDATE meta SET value = {number} WHERE name = 'schema'");
        sql.execute_batch(&format!("BEGIN IMMEDIATE; {step} {raise}; COMMIT")).map_err(|error| {
            // Without effect where none has begun.
            drop(sql.execute_batch("ROLLBACK"));
            failed(error)
        })?;
    }
    Ok(())
}

fn version(sql: &Connection) -> rusqlite::Result<i64> {
    let there = sql.table_exists(None, "meta")?;
    if !there {
        return Ok(0);
    }
    let version =
        sql.query_row("SELECT value FROM meta WHERE name = 'schema'", [], |row| row.get(0)).optional()?;
    Ok(version.unwrap_or(0))
}

fn holds_foreign_tables(sql: &Connection) -> rusqlite::Result<bool> {
    sql.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table')", [], |row| row.get(0))
}
