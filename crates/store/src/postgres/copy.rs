//! Many jobs at once: `COPY` writes whole pages, and needs neither plan nor sort.

use palisade_jobs::Error;
use palisade_jobs::id::JobId;
use palisade_jobs::job::{Enqueued, NewJob, Note, Start};
use palisade_postgres::Field::{Bool, Int2, Int8, Null, Text};

use super::enqueue::short;
use super::pool::{Line, Pool, Stop, transact};
use super::rows::{field, json, ms, number, small, texts};

/// Fewer jobs than this are quicker in one statement.
pub(super) const MANY: usize = 500;

/// What the server said of these jobs before they are written.
struct Given {
    now_ms: i64,
    ids: Vec<i64>,
}

/// Makes jobs without keys, in order. They have to be checked, and their queues known.
pub(super) async fn copy(pool: &Pool, jobs: &[NewJob]) -> Result<Vec<Enqueued>, Error> {
    let given = transact!(pool, "enqueue", line => write(line, jobs))?;
    Ok(given.ids.into_iter().map(|id| Enqueued { id: JobId(id), new: true }).collect())
}

async fn write(line: &Line<'_>, jobs: &[NewJob]) -> Result<Given, Stop> {
    let given = begin(line, jobs).await?;
    write_jobs(line, jobs, &given).await?;
    let now_ms = given.now_ms;
    let is_due = |(_, job): &(usize, &NewJob)| run_ms(job, now_ms).is_none_or(|run_ms| run_ms <= now_ms);
    let (ready, waits): (Vec<_>, Vec<_>) = jobs.iter().enumerate().partition(is_due);
    write_ready(line, &ready, &given).await?;
    if !waits.is_empty() {
        write_waits(line, &waits, &given).await?;
    }
    Ok(given)
}

/// When a job may run, where that is not at once.
fn run_ms(job: &NewJob, now_ms: i64) -> Option<i64> {
    match job.start {
        Start::Now => None,
        Start::In(wait) => Some(now_ms.saturating_add(ms(wait.as_millis()))),
        Start::At(moment) => Some(ms(moment.unix_ms())),
    }
}

/// Numbers the jobs, and calls workers once for each queue: they hear it when all is written.
async fn begin(line: &Line<'_>, jobs: &[NewJob]) -> Result<Given, Stop> {
    const BEGIN: &str = "SELECT palisade_jobs.now_ms() AS now, array_agg(nextval('palisade_jobs.job_id')) AS ids, \
        (SELECT count(pg_notify('palisade_jobs', queue)::text) FROM unnest($2::text[]) AS q (queue)) AS called \
        FROM (SELECT generate_series(1, $1)) one";
    // Whoever waits by the server's clock may be due already: a call in vain costs a look.
    let may_be_due = jobs.iter().filter(|job| !matches!(job.start, Start::In(wait) if !wait.is_zero()));
    let mut queues: Vec<&str> = may_be_due.map(|job| job.queue.as_str()).collect();
    queues.dedup();
    queues.sort_unstable();
    queues.dedup();
    let rows = line.ask("number jobs", BEGIN, &[number(&ms(jobs.len())), texts(&queues)]).await?;
    let row = rows.first().ok_or_else(short)?;
    let given = Given { now_ms: field(row, "now")?, ids: field(row, "ids")? };
    if given.ids.len() == jobs.len() { Ok(given) } else { Err(short().into()) }
}

async fn write_jobs(line: &Line<'_>, jobs: &[NewJob], given: &Given) -> Result<(), Stop> {
    const JOBS: &str = "COPY palisade_jobs.job (id, queue, payload, priority, enqueued_ms, run_ms, max_attempts, \
        asked_reap_after_ms, by) FROM STDIN BINARY";
    let mut copy = line.copy_in("enqueue", JOBS).await?;
    // Jobs of one call nearly always have one author.
    let mut author: Option<(&Note, String)> = None;
    let mut payload = String::new();
    for (job, id) in jobs.iter().zip(&given.ids) {
        job.write_payload(&mut payload)?;
        if author.as_ref().is_none_or(|(by, _)| **by != job.by) {
            author = Some((&job.by, json(&job.by)));
        }
        let by = author.as_ref().map_or(Null, |(_, text)| Text(text));
        let run_ms = run_ms(job, given.now_ms).unwrap_or(given.now_ms);
        let reap_ms = job.reap_after.map_or(Null, |span| Int8(ms(span.as_millis())));
        copy.row([
            Int8(*id),
            Text(job.queue.as_str()),
            Text(&payload),
            Int2(job.priority),
            Int8(given.now_ms),
            Int8(run_ms),
            Int2(small(job.max_attempts)),
            reap_ms,
            by,
        ])
        .await?;
    }
    copy.finish().await?;
    Ok(())
}

async fn write_ready(line: &Line<'_>, ready: &[(usize, &NewJob)], given: &Given) -> Result<(), Stop> {
    const READY: &str =
        "COPY palisade_jobs.job_ready (queue, priority, job, attempts, fresh) FROM STDIN BINARY";
    let mut copy = line.copy_in("enqueue", READY).await?;
    for (at, job) in ready {
        let (queue, id) = (Text(job.queue.as_str()), Int8(given.ids[*at]));
        copy.row([queue, Int2(job.priority), id, Int2(0), Bool(true)]).await?;
    }
    copy.finish().await?;
    Ok(())
}

async fn write_waits(line: &Line<'_>, waits: &[(usize, &NewJob)], given: &Given) -> Result<(), Stop> {
    const WAITS: &str =
        "COPY palisade_jobs.job_wait (job, queue, priority, attempts, state, run_ms) FROM STDIN BINARY";
    let mut copy = line.copy_in("enqueue", WAITS).await?;
    for (at, job) in waits {
        let (id, queue) = (Int8(given.ids[*at]), Text(job.queue.as_str()));
        let run_ms = run_ms(job, given.now_ms).map_or(Null, Int8);
        copy.row([id, queue, Int2(job.priority), Int2(0), Text("scheduled"), run_ms]).await?;
    }
    copy.finish().await?;
    Ok(())
}
