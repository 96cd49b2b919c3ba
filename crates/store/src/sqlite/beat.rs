//! Signs of life.

use rusqlite::{OptionalExtension as _, params};

use palisade_jobs::claim::{Beat, BeatAnswer};
use palisade_jobs::id::{Incarnation, JobId, Token};
use palisade_jobs::{Error, EventKind, Worker};

use super::engine::Store;
use super::rows::{json, ms};

pub(super) fn register(store: &Store<'_>, worker: &Worker) -> Result<(), Error> {
    const MAKE: &str = "INSERT INTO worker (incarnation, worker, registered_at) VALUES (?1, ?2, ?3) \
        ON CONFLICT DO NOTHING";
    const SAME: &str = "SELECT 1 FROM worker WHERE incarnation = ?1 AND worker = ?2 AND NOT gone";
    let (who, text) = (worker.incarnation.as_str(), json(worker));
    let made = store.try_to(|sql| sql.prepare_cached(MAKE)?.execute(params![who, text, store.now]))?;
    if made == 1 || store.try_to(|sql| sql.prepare_cached(SAME)?.exists(params![who, text]))? {
        return Ok(());
    }
    Err(Error::Invalid {
        input: format!("incarnation {who}"),
        rule: "belongs to another worker, or to one that said goodbye: draw a new one at each start"
            .to_owned(),
    })
}

pub(super) fn beat(store: &Store<'_>, beat: &Beat) -> Result<BeatAnswer, Error> {
    const BEAT: &str = "UPDATE worker SET beat = max(beat, ?2), beat_at = CASE WHEN ?2 > beat THEN ?3 ELSE beat_at END, \
        suspect = CASE WHEN ?2 > beat THEN 0 ELSE suspect END WHERE incarnation = ?1 AND NOT gone RETURNING suspect";
    const WAS: &str = "SELECT suspect FROM worker WHERE incarnation = ?1";
    let who = beat.incarnation.as_str();
    let was: Option<bool> =
        store.try_to(|sql| sql.prepare_cached(WAS)?.query_row([who], |row| row.get(0)).optional())?;
    let beaten = store.try_to(|sql| {
        let values = params![who, ms(beat.sequence), store.now];
        sql.prepare_cached(BEAT)?.query_row(values, |row| row.get::<_, bool>(0)).optional()
    })?;
    beaten.ok_or_else(|| Error::Stranger(beat.incarnation.clone()))?;
    let mut answer = BeatAnswer {
        spent: taken(store, &beat.incarnation)?,
        cancel: cancelled(store, &beat.incarnation)?,
        suspect: was.unwrap_or(false),
    };
    for &(job, token, progress) in &beat.progress {
        if !advance(store, job, token, progress)? && !answer.spent.contains(&(job, token)) {
            refuse(store, job, token, "progress")?;
            answer.spent.push((job, token));
        }
    }
    for (job, token, line) in &beat.trouble {
        if !trouble(store, *job, *token, line.as_deref())? && !answer.spent.contains(&(*job, *token)) {
            refuse(store, *job, *token, "trouble")?;
            answer.spent.push((*job, *token));
        }
    }
    Ok(answer)
}

/// Claims of this worker that were taken from it.
fn taken(store: &Store<'_>, incarnation: &Incarnation) -> Result<Vec<(JobId, Token)>, Error> {
    const TAKEN: &str = "SELECT job, token FROM taken WHERE incarnation = ?1 ORDER BY token";
    store.try_to(|sql| {
        let pair = |row: &rusqlite::Row<'_>| Ok((JobId(row.get(0)?), Token(row.get(1)?)));
        sql.prepare_cached(TAKEN)?.query_map([incarnation.as_str()], pair)?.collect()
    })
}

fn cancelled(store: &Store<'_>, incarnation: &Incarnation) -> Result<Vec<JobId>, Error> {
    const CANCELLED: &str =
        "SELECT id FROM job WHERE incarnation = ?1 AND state = 'running' AND cancel ORDER BY id";
    store.try_to(|sql| {
        sql.prepare_cached(CANCELLED)?
            .query_map([incarnation.as_str()], |row| row.get(0).map(JobId))?
            .collect()
    })
}

fn advance(store: &Store<'_>, job: JobId, token: Token, progress: i64) -> Result<bool, Error> {
    const ADVANCE: &str = "UPDATE job SET progress = ?3 WHERE id = ?1 AND token = ?2 AND state = 'running'";
    let values = params![job.0, token.0, progress];
    Ok(store.try_to(|sql| sql.prepare_cached(ADVANCE)?.execute(values))? == 1)
}

fn trouble(store: &Store<'_>, job: JobId, token: Token, line: Option<&str>) -> Result<bool, Error> {
    const TROUBLE: &str = "UPDATE job SET trouble = ?3 WHERE id = ?1 AND token = ?2 AND state = 'running'";
    Ok(store.try_to(|sql| sql.prepare_cached(TROUBLE)?.execute(params![job.0, token.0, line]))? == 1)
}

/// Writes down that a spent token was refused.
pub(super) fn refuse(store: &Store<'_>, job: JobId, token: Token, what: &str) -> Result<(), Error> {
    store.note(job, Some(token), &EventKind::Refused { what: what.to_owned() }, None)
}
