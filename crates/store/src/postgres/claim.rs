//! Giving out jobs.

use palisade_postgres::{Type, TypedRow};

use palisade_jobs::Error;
use palisade_jobs::claim::{Ask, Claim, Terms};
use palisade_jobs::id::{JobId, Token};

use super::pool::{Pool, transact};
use super::rows::{at, attempts, field, ms, number, parsed, text, unsigned};

/// One row at least where the queue is known, and one for each job that is given out. Most jobs have no checkpoint, so
/// that is asked once for all of them. Each job is read once, by its number, whatever the planner makes of tables that
/// grow and shrink all the time.
///
/// `$1` queue, `$2` how many, `$3` incarnation, `$4` asked silence, `$5` whether the caller has locked the queue's row.
const CLAIM: &str = "WITH rules AS (
    SELECT q.*, w.worker::json ->> 'name' AS who,
        CASE WHEN q.paused OR b.incarnation IS NULL OR (q.concurrency IS NOT NULL AND NOT $5) THEN 0
             WHEN q.concurrency IS NULL THEN $2
             ELSE least($2, greatest(0, q.concurrency - (
                 SELECT count(*) FROM palisade_jobs.job_run r WHERE r.queue = q.name AND r.limited)))
        END AS most, b.incarnation IS NULL AS stranger, palisade_jobs.now_ms() AS now
    FROM palisade_jobs.queue q
    LEFT JOIN palisade_jobs.worker_beat b ON b.incarnation = $3 AND NOT b.gone
    LEFT JOIN palisade_jobs.worker w ON w.incarnation = b.incarnation
    WHERE q.name = $1
), picked AS (
    DELETE FROM palisade_jobs.job_ready WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM palisade_jobs.job_ready WHERE queue = $1 ORDER BY priority, job
        LIMIT coalesce((SELECT most FROM rules), 0) FOR UPDATE SKIP LOCKED))
    RETURNING job, priority, attempts
), given AS MATERIALIZED (
    SELECT p.job, p.priority, (p.attempts + 1)::int2 AS attempts, nextval('palisade_jobs.token') AS token,
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
    SELECT g.job, $1, g.priority, g.attempts, g.token, $3, r.who, g.keyed, r.concurrency IS NOT NULL, r.beat_every_ms,
        g.reap, g.fence, r.now, g.event, g.max_attempts, r.progress_deadline_ms
    FROM given g CROSS JOIN rules r
)
SELECT r.concurrency IS NOT NULL AS limited, r.stranger, g.job, g.token, g.attempts, r.beat_every_ms,
    g.reap AS reap_after_ms, g.fence AS self_fence_ms, g.payload, g.max_attempts, CASE WHEN
        EXISTS (SELECT 1 FROM palisade_jobs.checkpoint)
        AND (SELECT count(*) > 0 FROM palisade_jobs.checkpoint WHERE job = ANY (ARRAY(SELECT job FROM picked)))
    THEN (SELECT json_agg(json_build_object('sequence', sequence, 'key', key, 'sha256', sha256, 'bytes', bytes)
            ORDER BY sequence DESC)::text
        FROM palisade_jobs.checkpoint c WHERE c.job = g.job) END AS checkpoints
FROM rules r LEFT JOIN given g ON true
ORDER BY g.priority, g.job";

pub(super) async fn claim(pool: &Pool, ask: &Ask) -> Result<Vec<Claim>, Error> {
    let queue = ask.queue.as_str();
    let asked = ask.reap_after.map(|span| ms(span.as_millis()));
    let (most, who) = (i64::from(ask.most), ask.incarnation.as_str());
    let values = |locked: &'static bool| {
        [text(&queue), number(&most), text(&who), number(&asked), (locked as _, Type::BOOL)]
    };
    let values_free = values(&false);
    let rows = pool.write_often("claim", CLAIM, &values_free).await?;
    let Some(first) = rows.first() else {
        // Nobody has enqueued here yet. A stranger is still to be told.
        return stranger(pool, ask).await.map(|()| Vec::new());
    };
    if field::<bool>(first, "stranger")? {
        return Err(Error::Stranger(ask.incarnation.clone()));
    }
    if !field::<bool>(first, "limited")? {
        return claims(&rows);
    }
    // One at a time counts what runs and takes what may run beside it.
    const LOCK: &str = "SELECT 1 FROM palisade_jobs.queue WHERE name = $1 FOR UPDATE";
    let values_locked = values(&true);
    let rows: Vec<TypedRow> = transact!(pool, "claim", line => async {
        line.ask("claim", LOCK, &[text(&queue)]).await?;
        Ok(line.ask("claim", CLAIM, &values_locked).await?)
    })?;
    claims(&rows)
}

async fn stranger(pool: &Pool, ask: &Ask) -> Result<(), Error> {
    const KNOWN: &str = "SELECT 1 FROM palisade_jobs.worker_beat WHERE incarnation = $1 AND NOT gone";
    let who = ask.incarnation.as_str();
    let known = pool.read("look for a worker", KNOWN, &[text(&who)]).await?;
    if known.is_empty() { Err(Error::Stranger(ask.incarnation.clone())) } else { Ok(()) }
}

/// By the places that [`CLAIM`] gives its fields.
fn claims(rows: &[TypedRow]) -> Result<Vec<Claim>, Error> {
    let mut claims = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(job) = at::<Option<i64>>(row, 2)? else { continue };
        claims.push(Claim {
            job: JobId(job),
            token: Token(at(row, 3)?),
            attempt: attempts(at(row, 4)?),
            max_attempts: attempts(at(row, 9)?),
            payload: at(row, 8)?,
            checkpoints: match at::<Option<&str>>(row, 10)? {
                Some(text) => parsed(text)?,
                None => Vec::new(),
            },
            terms: Terms {
                beat_every_ms: unsigned(at(row, 5)?),
                reap_after_ms: unsigned(at(row, 6)?),
                self_fence_ms: unsigned(at(row, 7)?),
            },
        });
    }
    Ok(claims)
}
