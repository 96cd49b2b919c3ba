//! Looking.

use rusqlite::{OptionalExtension as _, Row, params_from_iter, types::Value};

use palisade_core::QueueName;
use palisade_jobs::id::{JobId, Token};
use palisade_jobs::queue::QueueChange;
use palisade_jobs::store::{Count, Doubled, Filter};
use palisade_jobs::{Error, Event, EventKind, Job, Queue};

use super::engine::Store;
use super::rows::{self, JOB, moment, parsed};

pub(super) fn job(store: &Store<'_>, id: JobId) -> Result<Option<Job>, Error> {
    let query = format!("{JOB} WHERE id = ?1");
    let found = store.try_to(|sql| sql.prepare_cached(&query)?.query_row([id.0], rows::job).optional())?;
    found.map(|job| with_checkpoint(store, job)).transpose()
}

pub(super) fn jobs(store: &Store<'_>, filter: &Filter) -> Result<Vec<Job>, Error> {
    let mut query = format!("{JOB} WHERE id > ?");
    let mut values = vec![Value::from(filter.after.map_or(0, |after| after.0))];
    if let Some(queue) = &filter.queue {
        query.push_str(" AND queue = ?");
        values.push(Value::from(queue.as_str().to_owned()));
    }
    if !filter.states.is_empty() {
        query.push_str(" AND state IN (");
        query.push_str(&vec!["?"; filter.states.len()].join(", "));
        query.push(')');
        values.extend(filter.states.iter().map(|state| Value::from(state.as_str().to_owned())));
    }
    query.push_str(" ORDER BY id LIMIT ?");
    values.push(Value::from(i64::from(filter.most)));
    let found: Vec<Job> = store.try_to(|sql| {
        sql.prepare_cached(&query)?.query_map(params_from_iter(values), rows::job)?.collect()
    })?;
    found.into_iter().map(|job| with_checkpoint(store, job)).collect()
}

fn with_checkpoint(store: &Store<'_>, job: Job) -> Result<Job, Error> {
    let checkpoint = store.checkpoints(job.id)?.into_iter().next();
    Ok(Job { checkpoint, ..job })
}

pub(super) fn events(store: &Store<'_>, id: JobId) -> Result<Vec<Event>, Error> {
    const EVENTS: &str = "SELECT number, at, token, kind, by FROM event WHERE job = ?1 ORDER BY number";
    let Some(job) = job(store, id)? else { return Ok(Vec::new()) };
    let event = |row: &Row<'_>| {
        Ok(Event {
            job: id,
            number: row.get("number")?,
            at: moment(row.get("at")?),
            token: row.get::<_, Option<i64>>("token")?.map(Token),
            kind: parsed(row, "kind")?,
            by: match row.get::<_, Option<String>>("by")? {
                Some(_) => Some(parsed(row, "by")?),
                None => None,
            },
        })
    };
    let later: Vec<Event> =
        store.try_to(|sql| sql.prepare_cached(EVENTS)?.query_map([id.0], event)?.collect())?;
    // The row of the job says who made it and when, so no event has to.
    let first = Event {
        job: id,
        number: 0,
        at: job.enqueued_at,
        token: None,
        kind: EventKind::Enqueued,
        by: Some(job.by),
    };
    Ok(std::iter::once(first).chain(later).collect())
}

pub(super) fn queues(store: &Store<'_>) -> Result<Vec<Queue>, Error> {
    const QUEUES: &str = "SELECT rules FROM queue ORDER BY name";
    store.try_to(|sql| sql.prepare_cached(QUEUES)?.query_map([], |row| parsed(row, "rules"))?.collect())
}

pub(super) fn counts(store: &Store<'_>) -> Result<Vec<Count>, Error> {
    const COUNTS: &str = "SELECT queue, state, count(*) AS jobs FROM job GROUP BY queue, state";
    let count = |row: &Row<'_>| {
        Ok(Count {
            queue: rows::word(row, "queue")?,
            state: rows::word(row, "state")?,
            jobs: row.get::<_, i64>("jobs")?.unsigned_abs(),
        })
    };
    let mut counts: Vec<Count> =
        store.try_to(|sql| sql.prepare_cached(COUNTS)?.query_map([], count)?.collect())?;
    counts.sort_unstable();
    Ok(counts)
}

pub(super) fn queue_changes(store: &Store<'_>, queue: &QueueName) -> Result<Vec<QueueChange>, Error> {
    const CHANGES: &str = "SELECT at, rules, by FROM queue_change WHERE queue = ?1 ORDER BY revision";
    let change = |row: &Row<'_>| {
        Ok(QueueChange {
            at: moment(row.get("at")?),
            queue: parsed(row, "rules")?,
            by: parsed(row, "by").map(Some)?,
        })
    };
    store.try_to(|sql| sql.prepare_cached(CHANGES)?.query_map([queue.as_str()], change)?.collect())
}

/// A key that was given for ever has one job. That one for a lifetime has one that lives is an index's doing.
pub(super) fn doubled(store: &Store<'_>) -> Result<Vec<Doubled>, Error> {
    const DOUBLED: &str = "SELECT j.id, j.queue, j.idempotency_key, k.job AS bearer FROM job j \
        LEFT JOIN idempotency k ON k.queue = j.queue AND k.key = j.idempotency_key \
        WHERE j.idempotency_key IS NOT NULL AND k.job IS NOT j.id ORDER BY j.id LIMIT 1000";
    let doubled = |row: &Row<'_>| {
        Ok(Doubled {
            job: JobId(row.get("id")?),
            queue: rows::word(row, "queue")?,
            key: row.get("idempotency_key")?,
            for_ever: true,
            bearer: row.get::<_, Option<i64>>("bearer")?.map(JobId),
        })
    };
    store.try_to(|sql| sql.prepare_cached(DOUBLED)?.query_map([], doubled)?.collect())
}
