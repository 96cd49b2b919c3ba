//! Giving out jobs.

use std::time::Duration;

use rusqlite::{OptionalExtension as _, Row, params};

use palisade_jobs::claim::{Ask, Claim, Terms};
use palisade_jobs::id::{JobId, Token};
use palisade_jobs::{Error, EventKind, Queue, Worker};

use super::engine::Store;
use super::rows::{ms, parsed, unsigned};

pub(super) fn claim(store: &Store<'_>, ask: &Ask) -> Result<Vec<Claim>, Error> {
    let worker = known(store, ask)?;
    let queue = store.queue(&ask.queue)?;
    if queue.paused {
        return Ok(Vec::new());
    }
    let most = free(store, &queue, ask.most)?;
    let first = first(store, &queue, most)?;
    first.into_iter().map(|ready| give(store, ready, ask, &queue, &worker)).collect()
}

/// The worker, if it may still claim.
fn known(store: &Store<'_>, ask: &Ask) -> Result<Worker, Error> {
    const WHO: &str = "SELECT worker FROM worker WHERE incarnation = ?1 AND NOT gone";
    let found = store.try_to(|sql| {
        let who = [ask.incarnation.as_str()];
        sql.prepare_cached(WHO)?.query_row(who, |row| parsed(row, "worker")).optional()
    })?;
    found.ok_or_else(|| Error::Stranger(ask.incarnation.clone()))
}

/// How many more may run.
fn free(store: &Store<'_>, queue: &Queue, most: u16) -> Result<u32, Error> {
    let Some(limit) = queue.concurrency else { return Ok(u32::from(most)) };
    const RUN: &str = "SELECT count(*) FROM job WHERE queue = ?1 AND state = 'running'";
    let run: u32 =
        store.try_to(|sql| sql.prepare_cached(RUN)?.query_row([queue.name.as_str()], |row| row.get(0)))?;
    Ok(limit.saturating_sub(run).min(u32::from(most)))
}

struct Ready {
    id: JobId,
    payload: String,
    attempts: u16,
    max_attempts: u16,
    asked: Option<Duration>,
}

fn first(store: &Store<'_>, queue: &Queue, most: u32) -> Result<Vec<Ready>, Error> {
    const FIRST: &str = "SELECT id, payload, attempts, max_attempts, asked_reap_after_ms FROM job \
        WHERE queue = ?1 AND state = 'ready' ORDER BY priority, id LIMIT ?2";
    let ready = |row: &Row<'_>| {
        Ok(Ready {
            id: JobId(row.get("id")?),
            payload: row.get("payload")?,
            attempts: row.get("attempts")?,
            max_attempts: row.get("max_attempts")?,
            asked: row
                .get::<_, Option<i64>>("asked_reap_after_ms")?
                .map(|span| Duration::from_millis(unsigned(span))),
        })
    };
    store.try_to(|sql| {
        sql.prepare_cached(FIRST)?.query_map(params![queue.name.as_str(), most], ready)?.collect()
    })
}

fn give(store: &Store<'_>, ready: Ready, ask: &Ask, queue: &Queue, worker: &Worker) -> Result<Claim, Error> {
    const NEXT: &str = "UPDATE meta SET value = value + 1 WHERE name = 'token' RETURNING value";
    let token = Token(store.try_to(|sql| sql.prepare_cached(NEXT)?.query_row([], |row| row.get(0)))?);
    let terms = queue.terms.lengthened(ready.asked.max(ask.reap_after));
    let attempt = ready.attempts.saturating_add(1);
    take(store, ready.id, token, attempt, (terms, queue.progress_deadline_ms), worker)?;
    let (name, reap_after_ms) = (worker.name.clone(), terms.reap_after_ms);
    let event = EventKind::Claimed { attempt, worker: name, reap_after_ms };
    store.note(ready.id, Some(token), &event, Some(&worker.by))?;
    Ok(Claim {
        job: ready.id,
        token,
        attempt,
        max_attempts: ready.max_attempts,
        payload: ready.payload,
        checkpoints: store.checkpoints(ready.id)?,
        terms,
    })
}

fn take(
    store: &Store<'_>,
    job: JobId,
    token: Token,
    attempt: u16,
    (terms, deadline_ms): (Terms, Option<u64>),
    worker: &Worker,
) -> Result<(), Error> {
    const TAKE: &str = "UPDATE job SET state = 'running', token = ?2, attempts = ?3, incarnation = ?4, \
        worker = ?5, beat_every_ms = ?6, reap_after_ms = ?7, self_fence_ms = ?8, progress_deadline_ms = ?9, cancel = 0, \
        progress = NULL, trouble = NULL, reason = NULL WHERE id = ?1";
    let values = params![
        job.0,
        token.0,
        attempt,
        worker.incarnation.as_str(),
        worker.name,
        ms(terms.beat_every_ms),
        ms(terms.reap_after_ms),
        ms(terms.self_fence_ms),
        deadline_ms.map(ms),
    ];
    store.try_to(|sql| sql.prepare_cached(TAKE)?.execute(values)).map(drop)
}
