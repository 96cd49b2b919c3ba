//! Making jobs.

use palisade_jobs::id::JobId;
use palisade_jobs::job::{Enqueued, NewJob, Start};
use palisade_jobs::{Error, Queue};
use palisade_postgres::Type;

use super::copy;
use super::desk::{Checked, Desk, FEW};
use super::pool::{Line, Pool, Stop, transact};
use super::rows::{field, json, ms, number, numbers, small, smalls, text, texts};

/// The jobs as columns.
struct Columns<'a> {
    queue: Vec<&'a str>,
    payload: Vec<&'a str>,
    priority: Vec<i16>,
    start: Vec<Option<i64>>,
    wait: Vec<i64>,
    attempts: Vec<i16>,
    unique: Vec<Option<&'a str>>,
    idempotency: Vec<Option<&'a str>>,
    reap: Vec<Option<i64>>,
    by: Vec<String>,
}

impl<'a> Columns<'a> {
    fn of(jobs: &[&'a Checked]) -> Self {
        fn column<'a, T>(jobs: &[&'a Checked], of: impl Fn(&'a NewJob) -> T) -> Vec<T> {
            jobs.iter().map(|(job, _)| of(job)).collect()
        }
        Self {
            queue: column(jobs, |job| job.queue.as_str()),
            payload: jobs.iter().map(|(_, payload)| payload.as_str()).collect(),
            priority: column(jobs, |job| job.priority),
            start: column(jobs, |job| match job.start {
                Start::At(moment) => Some(ms(moment.unix_ms())),
                _ => None,
            }),
            wait: column(jobs, |job| match job.start {
                Start::In(wait) => ms(wait.as_millis()),
                _ => 0,
            }),
            attempts: column(jobs, |job| small(job.max_attempts)),
            unique: column(jobs, |job| job.unique.as_deref()),
            idempotency: column(jobs, |job| job.idempotency.as_deref()),
            reap: column(jobs, |job| job.reap_after.map(|span| ms(span.as_millis()))),
            by: column(jobs, |job| json(&job.by)),
        }
    }
}

/// Jobs without a key, in order. Workers are woken once for each queue, however many jobs there are.
const PLAIN: &str = "WITH given AS (
    SELECT g.*, palisade_jobs.now_ms() AS now FROM
        unnest($1::text[], $2::text[], $3::int2[], $4::int8[], $5::int8[], $6::int2[], $7::int8[], $8::text[])
        WITH ORDINALITY AS g (queue, payload, priority, start, wait, attempts, reap, by, place)
), made AS (
    INSERT INTO palisade_jobs.job
        (queue, payload, priority, enqueued_ms, run_ms, max_attempts, asked_reap_after_ms, by)
    SELECT queue, payload, priority, now, coalesce(start, now + wait), attempts, reap, by FROM given ORDER BY place
    RETURNING id, queue, priority, enqueued_ms, run_ms
), later AS (
    INSERT INTO palisade_jobs.job_wait (job, queue, priority, attempts, state, run_ms)
    SELECT id, queue, priority, 0, 'scheduled', run_ms FROM made WHERE run_ms > enqueued_ms
), ready AS (
    INSERT INTO palisade_jobs.job_ready (queue, priority, job, attempts, fresh)
    SELECT queue, priority, id, 0, true FROM made WHERE run_ms <= enqueued_ms
)
SELECT id, rung FROM made, (
    SELECT count(pg_notify('palisade_jobs', queue)::text) AS rung
    FROM (SELECT DISTINCT queue FROM made WHERE run_ms <= enqueued_ms) q
) r ORDER BY id";

/// One job without a key that is ready at once, as most are: the same in the fewest parts.
const ONE: &str = "WITH made AS (
    INSERT INTO palisade_jobs.job
        (queue, payload, priority, enqueued_ms, run_ms, max_attempts, asked_reap_after_ms, by)
    SELECT $1, $2, $3, now, now, $4, $5, $6 FROM palisade_jobs.now_ms() AS now
    RETURNING id
)
INSERT INTO palisade_jobs.job_ready (queue, priority, job, attempts, fresh) SELECT $1, $3, id, 0, true FROM made
RETURNING job AS id, pg_notify('palisade_jobs', $1)";

/// Jobs with a key, in the order of their keys, so that two callers do not wait for each other in a circle.
const KEYED: &str = "WITH made AS MATERIALIZED (SELECT place, queue, made.id, made.new FROM (SELECT * FROM
    unnest($1::text[], $2::text[], $3::int2[], $4::int8[], $5::int8[], $6::int2[], $7::int8[], $8::text[],
        $9::text[], $10::text[])
    WITH ORDINALITY AS g (queue, payload, priority, start, wait, attempts, reap, by, uniq, idem, place)
    ORDER BY queue, uniq, idem, place) g,
    LATERAL palisade_jobs.enqueue_keyed(queue, payload, priority, start, wait, attempts, uniq, idem, reap, by) made)
SELECT place, id, new, rung FROM made, (
    SELECT count(pg_notify('palisade_jobs', queue)::text) AS rung
    FROM (SELECT DISTINCT queue FROM made WHERE new) q
) r";

pub(super) async fn enqueue(pool: &Pool, desk: &Desk, jobs: &[NewJob]) -> Result<Vec<Enqueued>, Error> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    if jobs.len() >= copy::MANY && jobs.iter().all(|job| job.unique.is_none() && job.idempotency.is_none()) {
        jobs.iter().try_for_each(NewJob::check_unwritten)?;
        all_known(pool, jobs).await?;
        return copy::copy(pool, jobs).await;
    }
    let check = |job: &NewJob| Ok((job.clone(), job.check()?));
    let checked = jobs.iter().map(check).collect::<Result<Vec<Checked>, Error>>()?;
    all_known(pool, jobs).await?;
    make(pool, desk, checked).await
}

async fn make(pool: &Pool, desk: &Desk, jobs: Vec<Checked>) -> Result<Vec<Enqueued>, Error> {
    let is_keyed = |(job, _): &&Checked| job.unique.is_some() || job.idempotency.is_some();
    let keyed: Vec<&Checked> = jobs.iter().filter(is_keyed).collect();
    if keyed.is_empty() {
        if jobs.len() <= FEW {
            return desk.make(pool, jobs).await;
        }
        return plain(pool, &jobs.iter().collect::<Vec<_>>()).await;
    }
    if keyed.len() == jobs.len() {
        let columns = Columns::of(&keyed);
        let rows = pool.write("enqueue", KEYED, &columns.keyed()).await?;
        return placed(&rows, keyed.len());
    }
    let plain: Vec<&Checked> = jobs.iter().filter(|job| !is_keyed(job)).collect();
    let (one, two) = transact!(pool, "enqueue", line => both(line, &plain, &keyed))?;
    let (mut one, mut two) = (one.into_iter(), two.into_iter());
    let answers = jobs.iter().map(|job| if is_keyed(&job) { two.next() } else { one.next() });
    answers.collect::<Option<_>>().ok_or_else(short)
}

async fn both(
    line: &Line<'_>,
    plain: &[&Checked],
    keyed: &[&Checked],
) -> Result<(Vec<Enqueued>, Vec<Enqueued>), Stop> {
    let (one, two) = (Columns::of(plain), Columns::of(keyed));
    let made = line.ask("enqueue", PLAIN, &one.plain()).await?;
    let found = line.ask("enqueue", KEYED, &two.keyed()).await?;
    Ok((numbered(&made, plain.len())?, placed(&found, keyed.len())?))
}

/// One job without a key, within a transaction. Its queue has to be known.
pub(super) async fn one(line: &Line<'_>, job: NewJob) -> Result<(), Stop> {
    let payload = job.check()?;
    let job = (job, payload);
    let columns = Columns::of(&[&job]);
    line.ask("enqueue", PLAIN, &columns.plain()).await?;
    Ok(())
}

/// Jobs without a key, in one statement: too few for [`copy`].
pub(super) async fn plain(pool: &Pool, jobs: &[&Checked]) -> Result<Vec<Enqueued>, Error> {
    if let [(job, payload)] = jobs
        && job.start == Start::Now
    {
        return single(pool, job, payload).await;
    }
    let columns = Columns::of(jobs);
    let rows = pool.write_often("enqueue", PLAIN, &columns.plain()).await?;
    numbered(&rows, jobs.len())
}

async fn single(pool: &Pool, job: &NewJob, payload: &str) -> Result<Vec<Enqueued>, Error> {
    let (queue, attempts, by) = (job.queue.as_str(), small(job.max_attempts), json(&job.by));
    let reap = job.reap_after.map(|span| ms(span.as_millis()));
    let values = [
        text(&queue),
        text(&payload),
        (&job.priority as _, Type::INT2),
        (&attempts as _, Type::INT2),
        number(&reap),
        text(&by),
    ];
    let rows = pool.write_often("enqueue", ONE, &values).await?;
    numbered(&rows, 1)
}

impl Columns<'_> {
    fn plain(&self) -> [palisade_postgres::Value<'_>; 8] {
        [
            texts(&self.queue),
            texts(&self.payload),
            smalls(&self.priority),
            numbers(&self.start),
            numbers(&self.wait),
            smalls(&self.attempts),
            numbers(&self.reap),
            texts(&self.by),
        ]
    }

    fn keyed(&self) -> Vec<palisade_postgres::Value<'_>> {
        self.plain().into_iter().chain([texts(&self.unique), texts(&self.idempotency)]).collect()
    }
}

fn numbered(rows: &[palisade_postgres::TypedRow], count: usize) -> Result<Vec<Enqueued>, Error> {
    let made = |row| Ok(Enqueued { id: JobId(field(row, "id")?), new: true });
    let made: Vec<Enqueued> = rows.iter().map(made).collect::<Result<_, Error>>()?;
    if made.len() == count { Ok(made) } else { Err(short()) }
}

fn placed(rows: &[palisade_postgres::TypedRow], count: usize) -> Result<Vec<Enqueued>, Error> {
    let mut answers = vec![None; count];
    for row in rows {
        let place: i64 = field(row, "place")?;
        let made = Enqueued { id: JobId(field(row, "id")?), new: field(row, "new")? };
        let answer = usize::try_from(place - 1).ok().and_then(|at| answers.get_mut(at));
        *answer.ok_or_else(short)? = Some(made);
    }
    answers.into_iter().collect::<Option<_>>().ok_or_else(short)
}

pub(super) fn short() -> Error {
    Error::Refused("PostgreSQL answered for other jobs than were enqueued".to_owned())
}

async fn all_known(pool: &Pool, jobs: &[NewJob]) -> Result<(), Error> {
    for some in jobs.chunk_by(|one, next| one.queue == next.queue) {
        known(pool, &some[0]).await?;
    }
    Ok(())
}

/// Writes the queue down with the rules that nobody set, where it is new.
pub(super) async fn known(pool: &Pool, job: &NewJob) -> Result<(), Error> {
    let name = job.queue.as_str();
    if pool.knows(name) {
        return Ok(());
    }
    const MAKE: &str = "INSERT INTO palisade_jobs.queue (name, beat_every_ms, reap_after_ms, self_fence_ms, \
        handover_delay_ms, on_silence, backoff_first_ms, backoff_most_ms, retention_ms) \
        VALUES ($1, $2, $3, $4, $5, 'requeue', $6, $7, $8) ON CONFLICT DO NOTHING";
    let rules = Queue::new(job.queue.clone());
    let columns = [
        ms(rules.terms.beat_every_ms),
        ms(rules.terms.reap_after_ms),
        ms(rules.terms.self_fence_ms),
        ms(rules.handover_delay_ms),
        ms(rules.backoff.first_ms),
        ms(rules.backoff.most_ms),
        ms(rules.retention_ms),
    ];
    let values: Vec<_> = std::iter::once(text(&name)).chain(columns.iter().map(number)).collect();
    pool.write("write down a queue", MAKE, &values).await?;
    pool.remember(name);
    Ok(())
}
