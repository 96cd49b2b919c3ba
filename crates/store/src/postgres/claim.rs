//! Giving out jobs.

use palisade_postgres::{Type, TypedRow};

use palisade_jobs::Error;
use palisade_jobs::claim::{Ask, Claim};
use palisade_jobs::id::{JobId, Token};

use super::pool::{Pool, transact};
use super::rows::{attempts, field, ms, number, parsed, terms, text};

/// One row at least where the queue is known, and one for each job that is given out. Most jobs have no checkpoint, so
/// that is asked once for all of them.
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
), run AS (
    INSERT INTO palisade_jobs.job_run (job, queue, priority, attempts, token, incarnation, worker, keyed, limited,
        beat_every_ms, reap_after_ms, self_fence_ms)
    SELECT p.job, $1, p.priority, p.attempts + 1, nextval('palisade_jobs.token'), $3, r.who,
        j.unique_key IS NOT NULL, r.concurrency IS NOT NULL, r.beat_every_ms, t.reap,
        CASE WHEN t.reap > r.reap_after_ms THEN trunc(r.self_fence_ms::numeric * t.reap / r.reap_after_ms)
            ELSE r.self_fence_ms END::bigint
    FROM picked p JOIN palisade_jobs.job j ON j.id = p.job CROSS JOIN rules r,
        LATERAL (SELECT greatest(r.reap_after_ms, least(coalesce(greatest(j.asked_reap_after_ms, $4), 0), 2592000000)) AS reap) t
    RETURNING job, priority, token, attempts, worker, beat_every_ms, reap_after_ms, self_fence_ms
), noted AS (
    INSERT INTO palisade_jobs.event (job, at_ms, token, incarnation, kind)
    SELECT run.job, rules.now, run.token, $3, '{\"kind\":\"claimed\",\"attempt\":' || run.attempts || ',\"worker\":'
        || to_json(rules.who) || ',\"reap_after_ms\":' || run.reap_after_ms || '}'
    FROM run, rules
)
SELECT r.concurrency IS NOT NULL AS limited, r.stranger, run.job, run.token, run.attempts, run.beat_every_ms,
    run.reap_after_ms, run.self_fence_ms, j.payload, j.max_attempts, CASE WHEN
        (SELECT count(*) > 0 FROM palisade_jobs.checkpoint WHERE job = ANY (ARRAY(SELECT job FROM picked)))
    THEN (SELECT json_agg(json_build_object('sequence', sequence, 'key', key, 'sha256', sha256, 'bytes', bytes)
            ORDER BY sequence DESC)::text
        FROM palisade_jobs.checkpoint c WHERE c.job = run.job) END AS checkpoints
FROM rules r LEFT JOIN run ON true LEFT JOIN palisade_jobs.job j ON j.id = run.job
ORDER BY run.priority, run.job";

pub(super) async fn claim(pool: &Pool, ask: &Ask) -> Result<Vec<Claim>, Error> {
    let queue = ask.queue.as_str();
    let asked = ask.reap_after.map(|span| ms(span.as_millis()));
    let (most, who) = (i64::from(ask.most), ask.incarnation.as_str());
    let values = |locked: &'static bool| {
        [text(&queue), number(&most), text(&who), number(&asked), (locked as _, Type::BOOL)]
    };
    let values_free = values(&false);
    let rows = pool.write("claim", CLAIM, &values_free).await?;
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

fn claims(rows: &[TypedRow]) -> Result<Vec<Claim>, Error> {
    let mut claims = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(job) = field::<Option<i64>>(row, "job")? else { continue };
        claims.push(Claim {
            job: JobId(job),
            token: Token(field(row, "token")?),
            attempt: attempts(field(row, "attempts")?),
            max_attempts: attempts(field(row, "max_attempts")?),
            payload: parsed(field(row, "payload")?)?,
            checkpoints: match field::<Option<&str>>(row, "checkpoints")? {
                Some(text) => parsed(text)?,
                None => Vec::new(),
            },
            terms: terms(row)?,
        });
    }
    Ok(claims)
}
