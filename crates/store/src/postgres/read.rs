//! Looking.

use palisade_core::QueueName;
use palisade_postgres::TypedRow;

use palisade_jobs::claim::Checkpoint;
use palisade_jobs::id::{JobId, Token};
use palisade_jobs::queue::QueueChange;
use palisade_jobs::store::{Count, Doubled, Filter};
use palisade_jobs::{Error, Job, Queue, State};

use super::pool::Pool;
use super::rows::{attempts, field, moment, number, numbers, parsed, terms, text, texts, unsigned, word};

/// Jobs and where they stand, as one look at all four tables.
pub(super) const JOBS: &str = "SELECT j.id, j.queue, j.payload, j.priority, j.enqueued_ms, j.max_attempts, j.by,
    CASE WHEN r.job IS NOT NULL THEN 'running' ELSE coalesce(w.state, e.state, 'ready') END AS state,
    coalesce(w.run_ms, j.run_ms) AS run_ms, coalesce(r.attempts, w.attempts, e.attempts, a.attempts, 0::int2) AS attempts,
    r.token, r.worker, coalesce(r.cancel, false) AS cancel, coalesce(r.progress, e.progress) AS progress,
    coalesce(r.reason, w.reason, e.reason, (SELECT reason FROM palisade_jobs.reap WHERE number = w.reap)) AS reason,
    r.trouble,
    c.sequence, c.key, c.sha256, c.bytes
FROM palisade_jobs.job j
LEFT JOIN palisade_jobs.job_run r ON r.job = j.id
LEFT JOIN palisade_jobs.job_wait w ON w.job = j.id
LEFT JOIN palisade_jobs.job_end e ON e.job = j.id
LEFT JOIN palisade_jobs.job_ready a ON a.queue = j.queue AND a.priority = j.priority AND a.job = j.id
LEFT JOIN LATERAL (
    SELECT * FROM palisade_jobs.checkpoint WHERE job = j.id ORDER BY sequence DESC LIMIT 1) c ON true";

fn job_of(row: &TypedRow) -> Result<Job, Error> {
    let checkpoint = match field::<Option<i64>>(row, "sequence")? {
        Some(sequence) => Some(Checkpoint {
            sequence: unsigned(sequence),
            key: field(row, "key")?,
            sha256: field(row, "sha256")?,
            bytes: unsigned(field(row, "bytes")?),
        }),
        None => None,
    };
    Ok(Job {
        id: JobId(field(row, "id")?),
        queue: word(field(row, "queue")?)?,
        state: word(field(row, "state")?)?,
        payload: parsed(field(row, "payload")?)?,
        priority: field(row, "priority")?,
        enqueued_at: moment(field(row, "enqueued_ms")?),
        run_at: moment(field(row, "run_ms")?),
        attempts: attempts(field(row, "attempts")?),
        max_attempts: attempts(field(row, "max_attempts")?),
        token: field::<Option<i64>>(row, "token")?.map(Token),
        worker: field(row, "worker")?,
        cancel_requested: field(row, "cancel")?,
        progress: field(row, "progress")?,
        checkpoint,
        trouble: field(row, "trouble")?,
        reason: field(row, "reason")?,
        by: parsed(field(row, "by")?)?,
    })
}

pub(super) async fn job(pool: &Pool, id: JobId) -> Result<Option<Job>, Error> {
    let query = format!("{JOBS} WHERE j.id = $1");
    let rows = pool.read("read a job", &query, &[number(&id.0)]).await?;
    rows.first().map(job_of).transpose()
}

pub(super) async fn jobs(pool: &Pool, filter: &Filter) -> Result<Vec<Job>, Error> {
    // A job of these states is in one of these tables: so the list is read from there, not from all jobs.
    let within = |state: State| match super::settle::place(state) {
        "run" => "r.job IS NOT NULL",
        "wait" => "w.job IS NOT NULL",
        "end" => "e.job IS NOT NULL",
        _ => "a.job IS NOT NULL",
    };
    let mut places: Vec<&str> = filter.states.iter().map(|state| within(*state)).collect();
    places.sort_unstable();
    places.dedup();
    let places = if places.is_empty() { "true".to_owned() } else { places.join(" OR ") };
    let query = format!(
        "{JOBS} WHERE j.id > $1 AND ($2::text IS NULL OR j.queue = $2) AND ({places}) AND (cardinality($3::text[]) = 0 \
         OR CASE WHEN r.job IS NOT NULL THEN 'running' ELSE coalesce(w.state, e.state, 'ready') END = ANY ($3)) \
         ORDER BY j.id LIMIT $4"
    );
    let after = filter.after.map_or(0, |after| after.0);
    let queue = filter.queue.as_ref().map(palisade_core::QueueName::as_str);
    let states: Vec<&str> = filter.states.iter().map(|state| state.as_str()).collect();
    let most = i64::from(filter.most);
    let values = [number(&after), text(&queue), texts(&states), number(&most)];
    let rows = pool.read("list jobs", &query, &values).await?;
    rows.iter().map(job_of).collect()
}

/// Where jobs stand, for those that are there.
pub(super) const STANDS: &str = "SELECT j.id, j.run_ms,
    CASE WHEN r.job IS NOT NULL THEN 'running' ELSE coalesce(w.state, e.state, 'ready') END AS state,
    coalesce(r.cancel, false) AS cancel, k.job AS bearer
FROM palisade_jobs.job j
LEFT JOIN palisade_jobs.job_run r ON r.job = j.id
LEFT JOIN palisade_jobs.job_wait w ON w.job = j.id
LEFT JOIN palisade_jobs.job_end e ON e.job = j.id
LEFT JOIN palisade_jobs.live_key k ON k.queue = j.queue AND k.key = j.unique_key AND k.job <> j.id
WHERE j.id = ANY ($1)";

pub(super) async fn queues(pool: &Pool) -> Result<Vec<Queue>, Error> {
    let rows = pool.read("list queues", "SELECT * FROM palisade_jobs.queue ORDER BY name", &[]).await?;
    rows.iter().map(queue_of).collect()
}

pub(super) async fn counts(pool: &Pool) -> Result<Vec<Count>, Error> {
    const COUNTS: &str =
        "SELECT queue, 'ready' AS state, count(*) AS jobs FROM palisade_jobs.job_ready GROUP BY queue
        UNION ALL SELECT queue, state, count(*) FROM palisade_jobs.job_wait GROUP BY queue, state
        UNION ALL SELECT queue, 'running', count(*) FROM palisade_jobs.job_run GROUP BY queue
        UNION ALL SELECT queue, state, count(*) FROM palisade_jobs.job_end GROUP BY queue, state";
    let count = |row: &TypedRow| {
        Ok(Count {
            queue: word(field(row, "queue")?)?,
            state: word(field(row, "state")?)?,
            jobs: unsigned(field(row, "jobs")?),
        })
    };
    let mut counts: Vec<Count> =
        pool.read("count jobs", COUNTS, &[]).await?.iter().map(count).collect::<Result<_, Error>>()?;
    counts.sort_unstable();
    Ok(counts)
}

fn queue_of(row: &TypedRow) -> Result<Queue, Error> {
    let concurrency: Option<i64> = field(row, "concurrency")?;
    Ok(Queue {
        name: word(field(row, "name")?)?,
        revision: unsigned(field(row, "revision")?),
        paused: field(row, "paused")?,
        concurrency: concurrency.and_then(|limit| u32::try_from(limit).ok()),
        terms: terms(row)?,
        handover_delay_ms: unsigned(field(row, "handover_delay_ms")?),
        on_silence: parsed(&format!("{:?}", field::<&str>(row, "on_silence")?))?,
        progress_deadline_ms: field::<Option<i64>>(row, "progress_deadline_ms")?.map(unsigned),
        on_stuck: parsed(&format!("{:?}", field::<&str>(row, "on_stuck")?))?,
        backoff: palisade_jobs::Backoff {
            first_ms: unsigned(field(row, "backoff_first_ms")?),
            most_ms: unsigned(field(row, "backoff_most_ms")?),
        },
        retention_ms: unsigned(field(row, "retention_ms")?),
    })
}

/// Numbers of jobs as a column.
pub(super) fn ids<'a>(ids: &'a Vec<i64>) -> [palisade_postgres::Value<'a>; 1] {
    [numbers(ids)]
}

pub(super) async fn queue_changes(pool: &Pool, queue: &QueueName) -> Result<Vec<QueueChange>, Error> {
    const CHANGES: &str =
        "SELECT at_ms, rules, by FROM palisade_jobs.queue_change WHERE queue = $1 ORDER BY revision";
    let name = queue.as_str();
    let rows = pool.read("read how a queue was", CHANGES, &[text(&name)]).await?;
    let change = |row: &TypedRow| {
        Ok(QueueChange {
            at: moment(field(row, "at_ms")?),
            queue: parsed(field(row, "rules")?)?,
            by: field::<Option<&str>>(row, "by")?.map(parsed).transpose()?,
        })
    };
    rows.iter().map(change).collect()
}

/// A job has to be in exactly one of the four tables.
pub(super) async fn misplaced(pool: &Pool) -> Result<Vec<(JobId, u64)>, Error> {
    const PLACES: &str = "SELECT j.id, count(p.job) AS places FROM palisade_jobs.job j LEFT JOIN (
            SELECT job FROM palisade_jobs.job_ready UNION ALL SELECT job FROM palisade_jobs.job_wait
            UNION ALL SELECT job FROM palisade_jobs.job_run UNION ALL SELECT job FROM palisade_jobs.job_end) p
        ON p.job = j.id GROUP BY j.id HAVING count(p.job) <> 1 ORDER BY j.id LIMIT 1000";
    let rows = pool.read("look for jobs out of place", PLACES, &[]).await?;
    rows.iter().map(|row| Ok((JobId(field(row, "id")?), unsigned(field(row, "places")?)))).collect()
}

/// A key that was given for ever has one job, and one for a lifetime has one job that lives.
pub(super) async fn doubled(pool: &Pool) -> Result<Vec<Doubled>, Error> {
    const DOUBLED: &str = "SELECT j.id, j.queue, j.idempotency_key AS key, true AS for_ever, k.job AS bearer
        FROM palisade_jobs.job j LEFT JOIN palisade_jobs.idempotency k ON k.queue = j.queue AND k.key = j.idempotency_key
        WHERE j.idempotency_key IS NOT NULL AND k.job IS DISTINCT FROM j.id
        UNION ALL SELECT j.id, j.queue, j.unique_key, false, k.job
        FROM palisade_jobs.job j LEFT JOIN palisade_jobs.live_key k ON k.queue = j.queue AND k.key = j.unique_key
        WHERE j.unique_key IS NOT NULL AND k.job IS DISTINCT FROM j.id
            AND NOT EXISTS (SELECT 1 FROM palisade_jobs.job_end e WHERE e.job = j.id)
        ORDER BY 1 LIMIT 1000";
    let rows = pool.read("look for keys of several jobs", DOUBLED, &[]).await?;
    let doubled = |row: &TypedRow| {
        Ok(Doubled {
            job: JobId(field(row, "id")?),
            queue: word(field(row, "queue")?)?,
            key: field(row, "key")?,
            for_ever: field(row, "for_ever")?,
            bearer: field::<Option<i64>>(row, "bearer")?.map(JobId),
        })
    };
    rows.iter().map(doubled).collect()
}
