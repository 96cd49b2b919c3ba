//! What a reaper takes.

use std::time::Duration;

use rusqlite::{OptionalExtension as _, params};

use palisade_host::clock;
use palisade_jobs::Error;
use palisade_jobs::reaper::Step;
use palisade_jobs::rules;
use palisade_jobs::store::{Fence, REAPER, Reap, Reaped};

use super::attempt::settle;
use super::engine::Store;
use super::rows::{ms, unsigned};

pub(super) fn reap(store: &Store<'_>, under: &Fence, reaps: &[Reap]) -> Result<Vec<Reaped>, Error> {
    const TERM: &str = "SELECT 1 FROM lease \
        WHERE name = ?1 AND term = ?2 AND holder = ?3 AND boot_id = ?4 AND expires_ms > ?5";
    let boot = clock::boot_id().map_err(|error| Error::Unreachable {
        store: "this machine".to_owned(),
        problem: format!("cannot read the id of its boot: {error}"),
    })?;
    let term = params![REAPER, ms(under.term), under.holder, boot, ms(clock::boot_ms())];
    if !store.try_to(|sql| sql.prepare_cached(TERM)?.exists(term))? {
        return Ok(vec![Reaped::TermOver; reaps.len()]);
    }
    reaps.iter().map(|reap| one(store, reap)).collect()
}

/// How far a job is.
fn step(store: &Store<'_>, reap: &Reap) -> Result<Option<Step>, Error> {
    const STEP: &str = "SELECT progress, (SELECT coalesce(max(sequence), 0) FROM checkpoint WHERE job = ?1) \
        FROM job WHERE id = ?1";
    let step =
        |row: &rusqlite::Row<'_>| Ok(Step { progress: row.get(0)?, checkpoint: unsigned(row.get(1)?) });
    store.try_to(|sql| sql.prepare_cached(STEP)?.query_row([reap.job.0], step).optional())
}

fn one(store: &Store<'_>, reap: &Reap) -> Result<Reaped, Error> {
    const BEAT: &str = "SELECT beat FROM worker WHERE incarnation = ?1";
    let who = reap.incarnation.as_str();
    let beat: Option<i64> =
        store.try_to(|sql| sql.prepare_cached(BEAT)?.query_row([who], |row| row.get(0)).optional())?;
    let Some(held) = store.held(reap.job, reap.token)? else { return Ok(Reaped::Refuted) };
    let stands = match &reap.evidence.stuck {
        Some(idle) => step(store, reap)? == Some(idle.step),
        None => beat == Some(ms(reap.evidence.last_beat)),
    };
    let queue = store.queue(&held.queue)?;
    let Some(rule) = rules::on_reap(&queue, &reap.evidence) else { return Ok(Reaped::Refuted) };
    if held.incarnation != reap.incarnation || !stands {
        return Ok(Reaped::Refuted);
    }
    let delay = Duration::from_millis(queue.handover_delay_ms);
    let outcome = rules::silenced(rule, &held.running, &reap.evidence, &reap.reason, delay);
    settle(store, reap.job, &held.running, &outcome)?;
    const TAKEN: &str =
        "INSERT INTO taken (incarnation, token, job) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    store.try_to(|sql| sql.prepare_cached(TAKEN)?.execute(params![who, reap.token.0, reap.job.0]))?;
    store.note(reap.job, Some(reap.token), &outcome.event, Some(&reap.by))?;
    Ok(Reaped::Taken(outcome.state))
}
