//! Giving out jobs.

use std::collections::BTreeMap;

use palisade_postgres::TypedRow;

use palisade_jobs::Error;
use palisade_jobs::claim::{Ask, Checkpoint, Claim, Terms};
use palisade_jobs::id::{JobId, Token};

use super::pool::{Pool, transact};
use super::rows::{at, attempts, checkpoint, field, ms, number, numbers, text, unsigned};

/// One row at least where the queue is known, and one for each job that is given out. Each job is read once, by its
/// number, whatever the planner makes of tables that grow and shrink all the time. How long this takes for one job is
/// mostly the making ready of its parts, so that it has none that few claims need (ADR 0047).
///
/// `$1` queue, `$2` how many, `$3` incarnation, `$4` asked silence; `$most` how many of a queue with a limit.
macro_rules! claim {
    ($most:literal) => {
        concat!(
            "WITH rules AS (
    SELECT q.beat_every_ms, q.reap_after_ms, q.self_fence_ms, q.progress_deadline_ms, q.concurrency IS NOT NULL AS limited,
        w.worker::json ->> 'name' AS who, b.incarnation IS NULL AS stranger, palisade_jobs.now_ms() AS now,
        CASE WHEN q.paused OR b.incarnation IS NULL THEN 0 WHEN q.concurrency IS NULL THEN $2 ELSE ",
            $most,
            " END AS most
    FROM palisade_jobs.queue q
    LEFT JOIN palisade_jobs.worker_beat b ON b.incarnation = $3 AND NOT b.gone
    LEFT JOIN palisade_jobs.worker w ON w.incarnation = b.incarnation
    WHERE q.name = $1
), picked AS (
    DELETE FROM palisade_jobs.job_ready WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM palisade_jobs.job_ready WHERE queue = $1 ORDER BY priority, job
        LIMIT coalesce((SELECT most FROM rules), 0) FOR UPDATE SKIP LOCKED))
    RETURNING job, priority, attempts, fresh
), given AS MATERIALIZED (
    SELECT p.job, p.priority, (p.attempts + 1)::int2 AS attempts, p.fresh, nextval('palisade_jobs.token') AS token,
        nextval('palisade_jobs.event_number') AS event, j.payload, j.max_attempts, j.unique_key IS NOT NULL AS keyed,
        t.reap, CASE WHEN t.reap > r.reap_after_ms THEN trunc(r.self_fence_ms::numeric * t.reap / r.reap_after_ms)
            ELSE r.self_fence_ms END::bigint AS fence
    FROM rules r CROSS JOIN picked p,
        LATERAL (SELECT payload, max_attempts, unique_key, asked_reap_after_ms FROM palisade_jobs.job
            WHERE id = p.job LIMIT 1) j,
        LATERAL (SELECT greatest(r.reap_after_ms, least(coalesce(greatest(j.asked_reap_after_ms, $4), 0), 2592000000)) AS reap) t
), run AS (
    INSERT INTO palisade_jobs.job_run (job, queue, priority, attempts, token, incarnation, worker, keyed, limited,
        beat_every_ms, reap_after_ms, self_fence_ms, claimed_ms, claim_event, max_attempts, progress_deadline_ms)
    SELECT g.job, $1, g.priority, g.attempts, g.token, $3, r.who, g.keyed, r.limited, r.beat_every_ms,
        g.reap, g.fence, r.now, g.event, g.max_attempts, r.progress_deadline_ms
    FROM given g CROSS JOIN rules r
)
SELECT r.limited, r.stranger, g.job, g.token, g.attempts, r.beat_every_ms, g.reap AS reap_after_ms,
    g.fence AS self_fence_ms, g.payload, g.max_attempts, g.fresh
FROM rules r LEFT JOIN given g ON true
ORDER BY g.priority, g.job"
        )
    };
}

/// Nothing of a queue with a limit, which has to be locked first.
const CLAIM: &str = claim!("0");

/// With the queue's row locked: what runs is counted, and what may run beside it is given out.
const CLAIM_LIMITED: &str = claim!(
    "least($2, greatest(0, q.concurrency - (
            SELECT count(*) FROM palisade_jobs.job_run r WHERE r.queue = q.name AND r.limited)))"
);

pub(super) async fn claim(pool: &Pool, ask: &Ask) -> Result<Vec<Claim>, Error> {
    let queue = ask.queue.as_str();
    let asked = ask.reap_after.map(|span| ms(span.as_millis()));
    let (most, who) = (i64::from(ask.most), ask.incarnation.as_str());
    let values = [text(&queue), number(&most), text(&who), number(&asked)];
    let rows = pool.claim(CLAIM, &values).await?;
    let Some(first) = rows.first() else {
        // Nobody has enqueued here yet. A stranger is still to be told.
        return stranger(pool, ask).await.map(|()| Vec::new());
    };
    if field::<bool>(first, "stranger")? {
        return Err(Error::Stranger(ask.incarnation.clone()));
    }
    if !field::<bool>(first, "limited")? {
        return claims(pool, &rows).await;
    }
    // One at a time counts what runs and takes what may run beside it.
    const LOCK: &str = "SELECT 1 FROM palisade_jobs.queue WHERE name = $1 FOR UPDATE";
    let rows: Vec<TypedRow> = transact!(pool, "claim", line => async {
        line.ask("claim", LOCK, &[text(&queue)]).await?;
        Ok(line.ask("claim", CLAIM_LIMITED, &values).await?)
    })?;
    claims(pool, &rows).await
}

async fn stranger(pool: &Pool, ask: &Ask) -> Result<(), Error> {
    const KNOWN: &str = "SELECT 1 FROM palisade_jobs.worker_beat WHERE incarnation = $1 AND NOT gone";
    let who = ask.incarnation.as_str();
    let known = pool.read("look for a worker", KNOWN, &[text(&who)]).await?;
    if known.is_empty() { Err(Error::Stranger(ask.incarnation.clone())) } else { Ok(()) }
}

/// By the places that [`claim!`] gives its fields.
async fn claims(pool: &Pool, rows: &[TypedRow]) -> Result<Vec<Claim>, Error> {
    let (mut claims, mut again) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        let Some(job) = at::<Option<i64>>(row, 2)? else { continue };
        if at::<Option<bool>>(row, 10)? != Some(true) {
            again.push(job);
        }
        claims.push(Claim {
            job: JobId(job),
            token: Token(at(row, 3)?),
            attempt: attempts(at(row, 4)?),
            max_attempts: attempts(at(row, 9)?),
            payload: at(row, 8)?,
            checkpoints: Vec::new(),
            terms: Terms {
                beat_every_ms: unsigned(at(row, 5)?),
                reap_after_ms: unsigned(at(row, 6)?),
                self_fence_ms: unsigned(at(row, 7)?),
            },
        });
    }
    if !again.is_empty() {
        resumed(pool, &mut claims, &again).await?;
    }
    Ok(claims)
}

/// Gives claims of jobs that may have run before their checkpoints, the newest first. They are given out already: without an
/// answer nobody may say that nothing was.
async fn resumed(pool: &Pool, claims: &mut [Claim], again: &[i64]) -> Result<(), Error> {
    const CHECKPOINTS: &str = "SELECT job, sequence, key, sha256, bytes FROM palisade_jobs.checkpoint \
        WHERE job = ANY ($1) ORDER BY job, sequence DESC";
    let unread = |error: Error| Error::Unknown {
        store: pool.place(),
        problem: format!("jobs were claimed, and their checkpoints cannot be read: {error}"),
    };
    let rows = pool.read("read checkpoints", CHECKPOINTS, &[numbers(&again)]).await.map_err(unread)?;
    let mut found = BTreeMap::<i64, Vec<Checkpoint>>::new();
    for row in rows {
        found.entry(field(&row, "job")?).or_default().push(checkpoint(&row)?);
    }
    for claim in claims {
        claim.checkpoints = found.remove(&claim.job.0).unwrap_or_default();
    }
    Ok(())
}
