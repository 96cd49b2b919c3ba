//! What a person does to jobs.

use rusqlite::{OptionalExtension as _, params};

use palisade_jobs::id::JobId;
use palisade_jobs::job::Note;
use palisade_jobs::rules::{self, Step};
use palisade_jobs::store::{Deed, Intervened};
use palisade_jobs::{Error, State};

use super::engine::Store;
use super::rows::{waiting, word};

pub(super) fn intervene(
    store: &Store<'_>,
    deed: &Deed,
    jobs: &[JobId],
    by: &Note,
) -> Result<Vec<Intervened>, Error> {
    jobs.iter().map(|job| one(store, deed, *job, by)).collect()
}

fn one(store: &Store<'_>, deed: &Deed, job: JobId, by: &Note) -> Result<Intervened, Error> {
    const STANDS: &str = "SELECT state, cancel, run_at FROM job WHERE id = ?1";
    let found = store.try_to(|sql| {
        let stands = |row: &rusqlite::Row<'_>| {
            Ok((word::<State>(row, "state")?, row.get::<_, bool>("cancel")?, row.get::<_, i64>("run_at")?))
        };
        sql.prepare_cached(STANDS)?.query_row([job.0], stands).optional()
    })?;
    let Some((state, cancel, run_at)) = found else { return Ok(Intervened::Missing) };
    let step = deed.step(state, cancel);
    let answer = match step {
        Step::Leave(answer) => return Ok(answer),
        Step::Ask(cancel) => ask(store, deed, job, cancel)?,
        Step::Go(to) => {
            if let Some(bearer) = bearer(store, job, state, to)? {
                return Ok(Intervened::KeyTaken(bearer));
            }
            go(store, deed, job, waiting(to, run_at, store.now))?
        }
    };
    store.note(job, None, &deed.event(step), Some(by))?;
    Ok(answer)
}

fn ask(store: &Store<'_>, deed: &Deed, job: JobId, cancel: bool) -> Result<Intervened, Error> {
    const ASK: &str = "UPDATE job SET cancel = ?2, reason = ?3 WHERE id = ?1";
    let values = params![job.0, cancel, deed.reason().map(rules::said)];
    store.try_to(|sql| sql.prepare_cached(ASK)?.execute(values))?;
    Ok(Intervened::Done(State::Running))
}

fn go(store: &Store<'_>, deed: &Deed, job: JobId, to: State) -> Result<Intervened, Error> {
    const GO: &str = "UPDATE job SET state = ?2, reason = ?3, ended_at = CASE WHEN ?4 THEN ?5 END, \
        attempts = CASE WHEN ?6 THEN 0 ELSE attempts END WHERE id = ?1";
    let reason = deed.reason().map(rules::said);
    let anew = *deed == Deed::Retry;
    let values = params![job.0, to.as_str(), reason, to.is_final(), store.now, anew];
    store.try_to(|sql| sql.prepare_cached(GO)?.execute(values))?;
    Ok(Intervened::Done(to))
}

/// The living job that took the unique key while this one had ended.
fn bearer(store: &Store<'_>, job: JobId, from: State, to: State) -> Result<Option<JobId>, Error> {
    const BEARER: &str = "SELECT other.id FROM job JOIN job other ON other.queue = job.queue \
        AND other.unique_key = job.unique_key AND other.ended_at IS NULL WHERE job.id = ?1";
    if !from.is_final() || to.is_final() {
        return Ok(None);
    }
    let found =
        store.try_to(|sql| sql.prepare_cached(BEARER)?.query_row([job.0], |row| row.get(0)).optional())?;
    Ok(found.map(JobId))
}
