//! Rows to values and back.

use rusqlite::{OptionalExtension as _, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use palisade_core::{QueueName, Timestamp};
use palisade_jobs::claim::{Checkpoint, Terms};
use palisade_jobs::id::{Incarnation, JobId, Token};
use palisade_jobs::job::{Job, Note};
use palisade_jobs::rules::Running;
use palisade_jobs::{Error, EventKind, Queue, State};

use super::engine::Store;

/// Milliseconds of the store's clock as a moment.
pub(super) fn moment(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(u64::try_from(ms).unwrap_or(0))
}

/// A moment or a span as the store keeps it.
pub(super) fn ms(ms: impl TryInto<i64>) -> i64 {
    ms.try_into().unwrap_or(i64::MAX)
}

/// A value of ours as JSON. None of them can fail: they have no maps with other keys than text.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A column that holds what [`json`] wrote.
pub(super) fn parsed<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| damaged(&error.to_string()))
}

/// A column that holds a word or a name.
pub(super) fn word<T: std::str::FromStr<Err: std::fmt::Display>>(
    row: &Row<'_>,
    column: &str,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error: T::Err| damaged(&error.to_string()))
}

fn damaged(problem: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, problem.to_owned().into())
}

pub(super) const JOB: &str = "SELECT id, queue, state, payload, priority, enqueued_at, run_at, attempts, \
    max_attempts, token, worker, cancel, progress, \
    CASE state WHEN 'running' THEN trouble END AS trouble, reason, by FROM job";

/// A row of [`JOB`], without its checkpoint.
pub(super) fn job(row: &Row<'_>) -> rusqlite::Result<Job> {
    Ok(Job {
        id: JobId(row.get("id")?),
        queue: word(row, "queue")?,
        state: word(row, "state")?,
        payload: parsed(row, "payload")?,
        priority: row.get("priority")?,
        enqueued_at: moment(row.get("enqueued_at")?),
        run_at: moment(row.get("run_at")?),
        attempts: row.get("attempts")?,
        max_attempts: row.get("max_attempts")?,
        token: row.get::<_, Option<i64>>("token")?.map(Token),
        worker: row.get("worker")?,
        cancel_requested: row.get("cancel")?,
        progress: row.get("progress")?,
        checkpoint: None,
        trouble: row.get("trouble")?,
        reason: row.get("reason")?,
        by: parsed::<Note>(row, "by")?,
    })
}

/// What the end of an attempt is judged by.
pub(super) struct Held {
    pub(super) queue: QueueName,
    pub(super) incarnation: Incarnation,
    pub(super) running: Running,
}

impl Store<'_> {
    /// The claim on a job, if it is still that one.
    pub(super) fn held(&self, job: JobId, token: Token) -> Result<Option<Held>, Error> {
        const HELD: &str = "SELECT queue, incarnation, attempts, max_attempts, cancel, reason FROM job \
            WHERE id = ?1 AND token = ?2 AND state = 'running'";
        let held = |row: &Row<'_>| {
            Ok(Held {
                queue: word(row, "queue")?,
                incarnation: Incarnation::from_text(&row.get::<_, String>("incarnation")?),
                running: Running {
                    attempt: row.get("attempts")?,
                    max_attempts: row.get("max_attempts")?,
                    cancel_requested: row.get("cancel")?,
                    cancel_reason: row.get("reason")?,
                },
            })
        };
        self.try_to(|sql| sql.prepare_cached(HELD)?.query_row(params![job.0, token.0], held).optional())
    }

    /// The last checkpoints of a job, newest first.
    pub(super) fn checkpoints(&self, job: JobId) -> Result<Vec<Checkpoint>, Error> {
        const LAST: &str = "SELECT sequence, key, sha256, bytes FROM checkpoint WHERE job = ?1 \
            ORDER BY sequence DESC";
        let checkpoint = |row: &Row<'_>| {
            Ok(Checkpoint {
                sequence: unsigned(row.get("sequence")?),
                key: row.get("key")?,
                sha256: row.get("sha256")?,
                bytes: unsigned(row.get("bytes")?),
            })
        };
        self.try_to(|sql| sql.prepare_cached(LAST)?.query_map([job.0], checkpoint)?.collect())
    }

    /// Writes into the history of a job.
    pub(super) fn note(
        &self,
        job: JobId,
        token: Option<Token>,
        kind: &EventKind,
        by: Option<&Note>,
    ) -> Result<(), Error> {
        const NOTE: &str = "INSERT INTO event (job, at, token, kind, by) VALUES (?1, ?2, ?3, ?4, ?5)";
        let values = params![job.0, self.now, token.map(|token| token.0), json(kind), by.map(json)];
        self.try_to(|sql| sql.prepare_cached(NOTE)?.execute(values)).map(drop)
    }

    /// The rules of a queue; those that nobody set where it is new.
    pub(super) fn queue(&self, name: &QueueName) -> Result<Queue, Error> {
        const RULES: &str = "SELECT rules FROM queue WHERE name = ?1";
        let found = self.try_to(|sql| {
            sql.prepare_cached(RULES)?.query_row([name.as_str()], |row| parsed(row, "rules")).optional()
        })?;
        Ok(found.unwrap_or_else(|| Queue::new(name.clone())))
    }

    /// Runs SQL; what fails is told as an error of this store.
    pub(super) fn try_to<T>(
        &self,
        work: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        work(self.sql).map_err(|error| self.failed(&error))
    }
}

/// A count that the store keeps as a signed number.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The terms of a running row.
pub(super) fn terms(row: &Row<'_>) -> rusqlite::Result<Terms> {
    Ok(Terms {
        beat_every_ms: unsigned(row.get("beat_every_ms")?),
        reap_after_ms: unsigned(row.get("reap_after_ms")?),
        self_fence_ms: unsigned(row.get("self_fence_ms")?),
    })
}

/// Where a job that may run again stands: its time may not have come.
pub(super) fn waiting(state: State, run_at: i64, now: i64) -> State {
    if state == State::Ready && run_at > now { State::Scheduled } else { state }
}
