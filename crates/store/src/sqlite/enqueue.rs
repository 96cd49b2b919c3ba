//! Making jobs.

use rusqlite::{OptionalExtension as _, params};

use palisade_jobs::Error;
use palisade_jobs::id::JobId;
use palisade_jobs::job::{Enqueued, NewJob, Start};

use super::engine::Store;
use super::rows::{json, ms};

/// A job that was checked, and its payload as text.
pub(super) type Checked = (NewJob, String);

pub(super) fn checked(jobs: &[NewJob]) -> Result<Vec<Checked>, Error> {
    jobs.iter().map(|job| Ok((job.clone(), job.check()?))).collect()
}

pub(super) fn enqueue(store: &Store<'_>, jobs: &[Checked]) -> Result<Vec<Enqueued>, Error> {
    jobs.iter().map(|(job, payload)| one(store, job, payload)).collect()
}

fn one(store: &Store<'_>, job: &NewJob, payload: &str) -> Result<Enqueued, Error> {
    if let Some(id) = bearer(store, job)? {
        return Ok(Enqueued { id, new: false });
    }
    known(store, job)?;
    let run_at = match job.start {
        Start::Now => store.now,
        Start::In(wait) => store.now.saturating_add(ms(wait.as_millis())),
        Start::At(moment) => ms(moment.unix_ms()),
    };
    let state = if run_at > store.now { "scheduled" } else { "ready" };
    const MAKE: &str = "INSERT INTO job (queue, state, payload, priority, enqueued_at, run_at, max_attempts, \
        unique_key, asked_reap_after_ms, by, idempotency_key) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let values = params![
        job.queue.as_str(),
        state,
        payload,
        job.priority,
        store.now,
        run_at,
        job.max_attempts,
        job.unique,
        job.reap_after.map(|span| ms(span.as_millis())),
        json(&job.by),
        job.idempotency,
    ];
    let id = store.try_to(|sql| {
        sql.prepare_cached(MAKE)?.execute(values)?;
        Ok(JobId(sql.last_insert_rowid()))
    })?;
    if let Some(key) = &job.idempotency {
        const KEEP: &str = "INSERT INTO idempotency (queue, key, job) VALUES (?1, ?2, ?3)";
        store.try_to(|sql| sql.prepare_cached(KEEP)?.execute(params![job.queue.as_str(), key, id.0]))?;
    }
    Ok(Enqueued { id, new: true })
}

/// The job that bears one of the keys already.
fn bearer(store: &Store<'_>, job: &NewJob) -> Result<Option<JobId>, Error> {
    const SPENT: &str = "SELECT job FROM idempotency WHERE queue = ?1 AND key = ?2";
    const LIVES: &str = "SELECT id FROM job WHERE queue = ?1 AND unique_key = ?2 AND ended_at IS NULL";
    for (query, key) in [(SPENT, &job.idempotency), (LIVES, &job.unique)] {
        let Some(key) = key else { continue };
        let found = store.try_to(|sql| {
            let row = params![job.queue.as_str(), key];
            sql.prepare_cached(query)?.query_row(row, |row| row.get(0)).optional()
        })?;
        if let Some(id) = found {
            return Ok(Some(JobId(id)));
        }
    }
    Ok(None)
}

/// Writes the queue down with the rules that nobody set, where it is new.
fn known(store: &Store<'_>, job: &NewJob) -> Result<(), Error> {
    const THERE: &str = "SELECT 1 FROM queue WHERE name = ?1";
    const MAKE: &str = "INSERT INTO queue (name, rules) VALUES (?1, ?2)";
    let there = store.try_to(|sql| sql.prepare_cached(THERE)?.exists([job.queue.as_str()]))?;
    if there {
        return Ok(());
    }
    let rules = json(&palisade_jobs::Queue::new(job.queue.clone()));
    store.try_to(|sql| sql.prepare_cached(MAKE)?.execute(params![job.queue.as_str(), rules])).map(drop)
}
