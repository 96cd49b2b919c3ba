//! What a worker writes about an attempt: checkpoints and its end.

use rusqlite::params;

use palisade_jobs::claim::{Checkpoint, Ending, Finish, Order};
use palisade_jobs::id::{Incarnation, JobId, Token};
use palisade_jobs::rules::{self, Outcome, Running};
use palisade_jobs::{Error, EventKind};

use super::beat::refuse;
use super::engine::Store;
use super::rows::{ms, parsed};

pub(super) fn finish(store: &Store<'_>, ends: &[Finish]) -> Result<Vec<Ending>, Error> {
    ends.iter().map(|end| one(store, end)).collect()
}

fn one(store: &Store<'_>, end: &Finish) -> Result<Ending, Error> {
    let Some(held) = store.held(end.job, end.token)? else {
        // Its first answer may have been lost.
        if ended_by(store, end)? {
            return Ok(Ending::Applied);
        }
        refuse(store, end.job, end.token, end.order.as_str())?;
        return Ok(Ending::Spent);
    };
    let backoff = store.queue(&held.queue)?.backoff;
    let outcome = rules::outcome(&end.order, &held.running, backoff, random(store)?);
    settle(store, end.job, &held.running, &outcome)?;
    store.note(end.job, Some(end.token), &outcome.event, None)?;
    Ok(Ending::Applied)
}

/// Whether this very claim was ended by such an order.
fn ended_by(store: &Store<'_>, end: &Finish) -> Result<bool, Error> {
    const KINDS: &str = "SELECT kind FROM event WHERE job = ?1 AND token = ?2";
    let kinds: Vec<EventKind> = store.try_to(|sql| {
        let values = params![end.job.0, end.token.0];
        sql.prepare_cached(KINDS)?.query_map(values, |row| parsed(row, "kind"))?.collect()
    })?;
    Ok(kinds.iter().any(|kind| rules::is_end_by(kind, &end.order)))
}

/// Writes where a job stands after its attempt.
pub(super) fn settle(
    store: &Store<'_>,
    job: JobId,
    running: &Running,
    outcome: &Outcome,
) -> Result<(), Error> {
    const SETTLE: &str = "UPDATE job SET state = ?2, attempts = ?3, run_at = CASE WHEN ?4 > 0 THEN ?5 + ?4 ELSE run_at END, \
        reason = ?6, ended_at = CASE WHEN ?7 THEN ?5 END, token = NULL, incarnation = NULL, worker = NULL, \
        beat_every_ms = NULL, reap_after_ms = NULL, self_fence_ms = NULL, cancel = 0 WHERE id = ?1";
    let attempts = if outcome.charged { running.attempt } else { running.attempt.saturating_sub(1) };
    let values = params![
        job.0,
        outcome.state.as_str(),
        attempts,
        ms(outcome.wait.as_millis()),
        store.now,
        outcome.reason,
        outcome.state.is_final(),
    ];
    store.try_to(|sql| sql.prepare_cached(SETTLE)?.execute(values)).map(drop)
}

pub(super) fn checkpoint(
    store: &Store<'_>,
    job: JobId,
    token: Token,
    checkpoint: &Checkpoint,
) -> Result<Ending, Error> {
    if store.held(job, token)?.is_none() {
        refuse(store, job, token, "checkpoint")?;
        return Ok(Ending::Spent);
    }
    let stored = store.checkpoints(job)?;
    if let Some(last) = stored.first() {
        if last == checkpoint {
            return Ok(Ending::Applied);
        }
        checkpoint.follows(last)?;
    }
    const MAKE: &str =
        "INSERT INTO checkpoint (job, sequence, key, sha256, bytes) VALUES (?1, ?2, ?3, ?4, ?5)";
    const FORGET: &str = "DELETE FROM checkpoint WHERE job = ?1 AND sequence NOT IN \
        (SELECT sequence FROM checkpoint WHERE job = ?1 ORDER BY sequence DESC LIMIT 3)";
    let Checkpoint { sequence, key, sha256, bytes } = checkpoint;
    store.try_to(|sql| {
        sql.prepare_cached(MAKE)?.execute(params![job.0, ms(*sequence), key, sha256, ms(*bytes)])?;
        sql.prepare_cached(FORGET)?.execute([job.0])
    })?;
    store.note(job, Some(token), &EventKind::Checkpoint { sequence: *sequence }, None)?;
    Ok(Ending::Applied)
}

pub(super) fn goodbye(store: &Store<'_>, incarnation: &Incarnation) -> Result<(), Error> {
    const HELD: &str = "SELECT id, token FROM job WHERE incarnation = ?1 AND state = 'running'";
    let held: Vec<(JobId, Token)> = store.try_to(|sql| {
        let pair = |row: &rusqlite::Row<'_>| Ok((JobId(row.get(0)?), Token(row.get(1)?)));
        sql.prepare_cached(HELD)?.query_map([incarnation.as_str()], pair)?.collect()
    })?;
    for (job, token) in held {
        one(store, &Finish { job, token, order: Order::Drain })?;
    }
    const GONE: &str = "UPDATE worker SET gone = 1 WHERE incarnation = ?1";
    const FORGET: &str = "DELETE FROM taken WHERE incarnation = ?1";
    let gone = store.try_to(|sql| {
        sql.prepare_cached(FORGET)?.execute([incarnation.as_str()])?;
        sql.prepare_cached(GONE)?.execute([incarnation.as_str()])
    })?;
    if gone == 1 { Ok(()) } else { Err(Error::Stranger(incarnation.clone())) }
}

fn random(store: &Store<'_>) -> Result<u64, Error> {
    let number: i64 =
        store.try_to(|sql| sql.prepare_cached("SELECT random()")?.query_row([], |row| row.get(0)))?;
    Ok(number.unsigned_abs())
}
