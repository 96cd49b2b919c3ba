//! What has to be done from time to time, and the rules of queues.

use palisade_jobs::job::Note;
use palisade_jobs::store::{Promoted, Pruned};
use palisade_jobs::{Error, Queue};

use super::history;
use super::pool::Pool;
use super::read;
use super::rows::{checkpoint, field, json, moment, ms, number, text, unsigned};
use super::schedule;

/// A bounded slice: who calls again takes the next.
const PROMOTE: &str = "WITH due AS (
    DELETE FROM palisade_jobs.job_wait WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM palisade_jobs.job_wait WHERE state <> 'held' AND run_ms <= palisade_jobs.now_ms()
        ORDER BY run_ms LIMIT 1000 FOR UPDATE SKIP LOCKED))
    RETURNING job, queue, priority, attempts
), ready AS (
    INSERT INTO palisade_jobs.job_ready SELECT queue, priority, job, attempts FROM due
)
SELECT (SELECT count(*) FROM due) AS jobs, palisade_jobs.now_ms() AS now, least((
    SELECT min(run_ms) FROM palisade_jobs.job_wait
    WHERE state <> 'held' AND job NOT IN (SELECT job FROM due)), (
    SELECT min(next_ms) FROM palisade_jobs.schedule WHERE next_ms > palisade_jobs.now_ms())) AS next,
    EXISTS (SELECT 1 FROM palisade_jobs.schedule WHERE next_ms <= palisade_jobs.now_ms()) AS ticks";

pub(super) async fn promote(pool: &Pool) -> Result<Promoted, Error> {
    let rows = pool.write("make due jobs ready", PROMOTE, &[]).await?;
    let Some(row) = rows.first() else { return Ok(Promoted::default()) };
    if field(row, "ticks")? {
        schedule::fire(pool).await?;
    }
    Ok(Promoted {
        jobs: unsigned(field(row, "jobs")?),
        next: field::<Option<i64>>(row, "next")?.map(moment),
        now: Some(moment(field(row, "now")?)),
    })
}

/// Puts the rules in where the revision is still `$2`, and keeps them.
const SET: &str = "WITH put AS (INSERT INTO palisade_jobs.queue AS q (name, revision, paused, concurrency, beat_every_ms, \
            reap_after_ms, self_fence_ms, handover_delay_ms, on_silence, progress_deadline_ms, backoff_first_ms, \
            backoff_most_ms, retention_ms, on_stuck) \
        SELECT $1, $2 + 1, $3::text::boolean, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $16 \
            WHERE $2 = 1 OR EXISTS (SELECT 1 FROM palisade_jobs.queue WHERE name = $1) \
        ON CONFLICT (name) DO UPDATE SET revision = excluded.revision, paused = excluded.paused, \
            concurrency = excluded.concurrency, beat_every_ms = excluded.beat_every_ms, \
            reap_after_ms = excluded.reap_after_ms, self_fence_ms = excluded.self_fence_ms, \
            handover_delay_ms = excluded.handover_delay_ms, on_silence = excluded.on_silence, \
            progress_deadline_ms = excluded.progress_deadline_ms, backoff_first_ms = excluded.backoff_first_ms, \
            backoff_most_ms = excluded.backoff_most_ms, retention_ms = excluded.retention_ms, \
            on_stuck = excluded.on_stuck \
        WHERE q.revision = $2 RETURNING revision), \
        noted AS (INSERT INTO palisade_jobs.queue_change (queue, revision, at_ms, rules, by) \
            SELECT $1, revision, palisade_jobs.now_ms(), $14, $15 FROM put) \
        SELECT revision FROM put";

pub(super) async fn set_queue(pool: &Pool, queue: &Queue, by: &Note) -> Result<u64, Error> {
    const NOW: &str = "SELECT revision FROM palisade_jobs.queue WHERE name = $1";
    if let Err(unsound) = queue.check() {
        let stored = read::queues(pool).await?.into_iter().find(|stored| stored.name == queue.name);
        stored.filter(|stored| queue.has_rules_of(stored)).ok_or(unsound)?;
    }
    let rules = json(&Queue { revision: queue.revision + 1, ..queue.clone() });
    let who = json(by);
    let (name, paused) = (queue.name.as_str(), queue.paused.to_string());
    let word = json(&queue.on_silence);
    let on_silence = word.trim_matches('"');
    let stuck = json(&queue.on_stuck);
    let on_stuck = stuck.trim_matches('"');
    let concurrency = queue.concurrency.map(i64::from);
    let deadline = queue.progress_deadline_ms.map(ms);
    let [revision, beat, reap, fence, delay, first, most, retention] = [
        queue.revision,
        queue.terms.beat_every_ms,
        queue.terms.reap_after_ms,
        queue.terms.self_fence_ms,
        queue.handover_delay_ms,
        queue.backoff.first_ms,
        queue.backoff.most_ms,
        queue.retention_ms,
    ]
    .map(ms);
    let values = [
        text(&name),
        number(&revision),
        text(&paused),
        number(&concurrency),
        number(&beat),
        number(&reap),
        number(&fence),
        number(&delay),
        text(&on_silence),
        number(&deadline),
        number(&first),
        number(&most),
        number(&retention),
        text(&rules),
        text(&who),
        text(&on_stuck),
    ];
    let rows = pool.write("set the rules of a queue", SET, &values).await?;
    if let Some(row) = rows.first() {
        return Ok(unsigned(field(row, "revision")?));
    }
    let rows = pool.read("read a queue", NOW, &[text(&name)]).await?;
    let revision = rows.first().map_or(Ok(1), |row| field(row, "revision"))?;
    Err(Error::QueueChanged { queue: queue.name.clone(), revision: unsigned(revision) })
}

pub(super) async fn prune(pool: &Pool, most: u32) -> Result<Pruned, Error> {
    const FORGET: &str = "WITH old AS (
        DELETE FROM palisade_jobs.job_end WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM palisade_jobs.job_end WHERE queue = $1 AND ended_ms < palisade_jobs.now_ms() - $2
            ORDER BY ended_ms LIMIT $3 FOR UPDATE SKIP LOCKED)) RETURNING job
    ), jobs AS (DELETE FROM palisade_jobs.job j USING old WHERE j.id = old.job
    ), points AS (DELETE FROM palisade_jobs.checkpoint c USING old WHERE c.job = old.job
        RETURNING c.sequence, c.key, c.sha256, c.bytes)
    SELECT jobs, sequence, key, sha256, bytes
    FROM (SELECT count(*) AS jobs FROM old) o LEFT JOIN points ON true";
    let (mut left, mut checkpoints) = (i64::from(most), Vec::new());
    for queue in read::queues(pool).await? {
        let (name, retention) = (queue.name.as_str(), ms(queue.retention_ms));
        let values = [text(&name), number(&retention), number(&left)];
        let rows = pool.write("forget old jobs", FORGET, &values).await?;
        left -= rows.first().map_or(Ok(0), |row| field::<i64>(row, "jobs"))?;
        for row in &rows {
            if field::<Option<&str>>(row, "key")?.is_some() {
                checkpoints.push(checkpoint(row)?);
            }
        }
    }
    history::tend(pool, most).await?;
    Ok(Pruned { jobs: unsigned(i64::from(most) - left), checkpoints, more: left == 0 })
}
