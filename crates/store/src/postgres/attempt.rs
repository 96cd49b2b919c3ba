//! What a worker writes about an attempt: checkpoints and its end.

use palisade_postgres::{TypedRow, Value};

use palisade_jobs::claim::{Checkpoint, Ending, Finish, Order};
use palisade_jobs::id::{Incarnation, JobId, Token};
use palisade_jobs::rules;
use palisade_jobs::{Error, EventKind};

use super::events::refuse;
use super::pool::{Line, Pool, Stop, transact};
use super::rows::{at, checkpoint as checkpoint_of, field, json, ms, number, numbers, parsed, text};
use super::settle::{held, settle};

/// The one that has to be quick: no rule depends on what the row says. One row answers for all: nothing where each claim
/// held, else the jobs whose claim did.
const COMPLETE: &str = "WITH gone AS (
    DELETE FROM palisade_jobs.job_run r USING unnest($1::int8[], $2::int8[]) g (job, token)
    WHERE r.job = g.job AND r.token = g.token
    RETURNING r.job, r.token, r.queue, r.priority, r.attempts, r.keyed, r.progress, r.claimed_ms, r.claim_event,
        r.incarnation, r.reap_after_ms
), ended AS (
    INSERT INTO palisade_jobs.job_end (job, queue, priority, attempts, state, ended_ms, token, event, progress,
        claimed_ms, claim_event, incarnation, reap_after_ms)
    SELECT job, queue, priority, attempts, 'succeeded', now, token, nextval('palisade_jobs.event_number'), progress,
        claimed_ms, claim_event, incarnation, reap_after_ms
    FROM gone, LATERAL palisade_jobs.now_ms() AS now
), keys AS (
    DELETE FROM palisade_jobs.live_key k USING gone WHERE gone.keyed AND k.job = gone.job
)
SELECT CASE WHEN count(*) < cardinality($1) THEN coalesce(array_agg(job), '{}') END AS some FROM gone";

pub(super) async fn finish(pool: &Pool, ends: &[Finish]) -> Result<Vec<Ending>, Error> {
    let (done, other): (Vec<&Finish>, Vec<&Finish>) =
        ends.iter().partition(|end| end.order == Order::Complete);
    let jobs: Vec<i64> = done.iter().map(|end| end.job.0).collect();
    let tokens: Vec<i64> = done.iter().map(|end| end.token.0).collect();
    let values = [numbers(&jobs), numbers(&tokens)];
    let applied = if other.is_empty() {
        match some(&pool.write_often("complete jobs", COMPLETE, &values).await?)? {
            None => return Ok(vec![Ending::Applied; ends.len()]),
            Some(some) => some,
        }
    } else {
        transact!(pool, "end attempts", line => both(line, (&values, &jobs), &other))?
    };
    let applied: std::collections::BTreeSet<i64> = applied.into_iter().collect();
    let late: Vec<&Finish> = ends.iter().filter(|end| !applied.contains(&end.job.0)).collect();
    let repeated = repeats(pool, &late).await?;
    let mut answers = Vec::with_capacity(ends.len());
    for end in ends {
        let is_applied = applied.contains(&end.job.0) || repeated.contains(&end.token);
        answers.push(if is_applied { Ending::Applied } else { Ending::Spent });
        if !is_applied {
            refuse(pool, &[(end.job, end.token)], end.order.as_str()).await?;
        }
    }
    Ok(answers)
}

/// Of the jobs that were to be completed those that are, where some are not.
fn some(rows: &[TypedRow]) -> Result<Option<Vec<i64>>, Error> {
    rows.first().map_or(Ok(Some(Vec::new())), |row| at(row, 0))
}

async fn both(
    line: &Line<'_>,
    (values, jobs): (&[Value<'_>], &[i64]),
    other: &[&Finish],
) -> Result<Vec<i64>, Stop> {
    let rows = line.ask("complete jobs", COMPLETE, values).await?;
    let mut applied = some(&rows)?.unwrap_or_else(|| jobs.to_vec());
    applied.extend(end_otherwise(line, other).await?);
    Ok(applied)
}

/// Jobs whose attempts ended as the rules say.
async fn end_otherwise(line: &Line<'_>, ends: &[&Finish]) -> Result<Vec<i64>, Stop> {
    let claims: Vec<(JobId, Token)> = ends.iter().map(|end| (end.job, end.token)).collect();
    let held = held(line, &claims).await?;
    let outcomes: Vec<_> = held
        .iter()
        .filter_map(|held| {
            let end = ends.iter().find(|end| end.job == held.job && end.token == held.token)?;
            Some((held, rules::outcome(&end.order, &held.running, held.backoff, held.random), None))
        })
        .collect();
    settle(line, &outcomes).await?;
    Ok(held.iter().map(|held| held.job.0).collect())
}

/// Tokens of claims that such an order ended before: the first answer was lost.
async fn repeats(pool: &Pool, late: &[&Finish]) -> Result<Vec<Token>, Error> {
    const KINDS: &str = "SELECT token, kind FROM palisade_jobs.event WHERE job = ANY ($1) AND token = ANY ($2) \
        UNION ALL SELECT token, '{\"kind\":\"completed\"}' FROM palisade_jobs.job_end \
        WHERE job = ANY ($1) AND token = ANY ($2) AND state = 'succeeded'";
    if late.is_empty() {
        return Ok(Vec::new());
    }
    let jobs: Vec<i64> = late.iter().map(|end| end.job.0).collect();
    let tokens: Vec<i64> = late.iter().map(|end| end.token.0).collect();
    let mut repeated = Vec::new();
    for row in pool.read("look for ends", KINDS, &[numbers(&jobs), numbers(&tokens)]).await? {
        let token = Token(field(&row, "token")?);
        let kind: EventKind = parsed(field(&row, "kind")?)?;
        let order = late.iter().find(|end| end.token == token).map(|end| &end.order);
        repeated.extend(order.filter(|order| rules::is_end_by(&kind, order)).map(|_| token));
    }
    Ok(repeated)
}

pub(super) async fn checkpoint(
    pool: &Pool,
    job: JobId,
    token: Token,
    checkpoint: &Checkpoint,
) -> Result<Ending, Error> {
    let ending =
        transact!(pool, "store a checkpoint", line => write_checkpoint(line, job, token, checkpoint))?;
    if ending == Ending::Spent {
        refuse(pool, &[(job, token)], "checkpoint").await?;
    }
    Ok(ending)
}

async fn write_checkpoint(
    line: &Line<'_>,
    job: JobId,
    token: Token,
    checkpoint: &Checkpoint,
) -> Result<Ending, Stop> {
    const LOCK: &str = "SELECT 1 FROM palisade_jobs.job_run WHERE job = $1 AND token = $2 FOR NO KEY UPDATE";
    const LAST: &str = "SELECT sequence, key, sha256, bytes FROM palisade_jobs.checkpoint WHERE job = $1 \
        ORDER BY sequence DESC LIMIT 1";
    if line.ask("look for a claim", LOCK, &[number(&job.0), number(&token.0)]).await?.is_empty() {
        return Ok(Ending::Spent);
    }
    if let Some(row) = line.ask("read a checkpoint", LAST, &[number(&job.0)]).await?.first() {
        let last = checkpoint_of(row)?;
        if last == *checkpoint {
            return Ok(Ending::Applied);
        }
        checkpoint.follows(&last)?;
    }
    const MAKE: &str = "WITH made AS (
            INSERT INTO palisade_jobs.checkpoint VALUES ($1, $3, $4, $5, $6)
        ), old AS (
            DELETE FROM palisade_jobs.checkpoint WHERE job = $1 AND sequence NOT IN
                (SELECT sequence FROM palisade_jobs.checkpoint WHERE job = $1 ORDER BY sequence DESC LIMIT 2)
        )
        INSERT INTO palisade_jobs.event (job, at_ms, token, kind) VALUES ($1, palisade_jobs.now_ms(), $2, $7)";
    let Checkpoint { sequence, key, sha256, bytes } = checkpoint;
    let (sequence, bytes) = (ms(*sequence), ms(*bytes));
    let kind = json(&EventKind::Checkpoint { sequence: checkpoint.sequence });
    let values = [
        number(&job.0),
        number(&token.0),
        number(&sequence),
        text(key),
        text(sha256),
        number(&bytes),
        text(&kind),
    ];
    line.ask("store a checkpoint", MAKE, &values).await?;
    Ok(Ending::Applied)
}

pub(super) async fn goodbye(pool: &Pool, incarnation: &Incarnation) -> Result<(), Error> {
    let known = transact!(pool, "say goodbye", line => leave(line, incarnation.as_str()))?;
    if known { Ok(()) } else { Err(Error::Stranger(incarnation.clone())) }
}

async fn leave(line: &Line<'_>, who: &str) -> Result<bool, Stop> {
    const GONE: &str = "UPDATE palisade_jobs.worker_beat SET gone = true WHERE incarnation = $1 RETURNING 1";
    const HELD: &str = "SELECT job, token FROM palisade_jobs.job_run WHERE incarnation = $1";
    const FORGET: &str = "DELETE FROM palisade_jobs.taken WHERE incarnation = $1";
    // First, so that a claim that is under way gives nothing out to it any more.
    let gone = line.ask("say goodbye", GONE, &[text(&who)]).await?;
    line.ask("forget what was taken", FORGET, &[text(&who)]).await?;
    let mut ends = Vec::new();
    for row in line.ask("look for claims", HELD, &[text(&who)]).await? {
        let (job, token) = (JobId(field(&row, "job")?), Token(field(&row, "token")?));
        ends.push(Finish { job, token, order: Order::Drain });
    }
    end_otherwise(line, &ends.iter().collect::<Vec<_>>()).await?;
    Ok(!gone.is_empty())
}
