//! Signs of life.

use std::collections::BTreeSet;

use palisade_postgres::TypedRow;

use palisade_jobs::claim::{Beat, BeatAnswer};
use palisade_jobs::id::{JobId, Token};
use palisade_jobs::{Error, Worker, rules};

use super::events::refuse;
use super::pool::Pool;
use super::rows::{field, json, ms, number, numbers, text, texts};

pub(super) async fn register(pool: &Pool, worker: &Worker) -> Result<(), Error> {
    const MAKE: &str = "WITH made AS (
            INSERT INTO palisade_jobs.worker VALUES ($1, $2, palisade_jobs.now_ms()) ON CONFLICT DO NOTHING
            RETURNING incarnation)
        INSERT INTO palisade_jobs.worker_beat (incarnation) SELECT incarnation FROM made RETURNING incarnation";
    const SAME: &str = "SELECT 1 FROM palisade_jobs.worker JOIN palisade_jobs.worker_beat USING (incarnation) \
        WHERE incarnation = $1 AND worker = $2 AND NOT gone";
    let (who, whole) = (worker.incarnation.as_str(), json(worker));
    let made = pool.write("register a worker", MAKE, &[text(&who), text(&whole)]).await?;
    if !made.is_empty()
        || !pool.read("look for a worker", SAME, &[text(&who), text(&whole)]).await?.is_empty()
    {
        return Ok(());
    }
    Err(Error::Invalid {
        input: format!("incarnation {who}"),
        rule: "belongs to another worker, or to one that said goodbye: draw a new one at each start"
            .to_owned(),
    })
}

/// One narrow row is written, whatever the worker runs; what it has to know comes back with it.
const BEAT: &str = "WITH was AS (
    SELECT suspect FROM palisade_jobs.worker_beat WHERE incarnation = $1
), beaten AS (
    UPDATE palisade_jobs.worker_beat SET beat = greatest(beat, $2),
        beat_ms = CASE WHEN $2 > beat THEN palisade_jobs.now_ms() ELSE beat_ms END,
        suspect = CASE WHEN $2 > beat THEN false ELSE suspect END
    WHERE incarnation = $1 AND NOT gone RETURNING 1
)
SELECT 'beat' AS what, 0::bigint AS job, 0::bigint AS token, suspect FROM beaten, was
UNION ALL
SELECT 'spent', t.job, t.token, false FROM palisade_jobs.reap r, unnest(r.jobs, r.tokens) t (job, token)
WHERE r.incarnation = $1
UNION ALL
SELECT 'spent', job, token, false FROM palisade_jobs.taken WHERE incarnation = $1
UNION ALL
SELECT 'cancel', job, token, false FROM palisade_jobs.job_run WHERE incarnation = $1 AND cancel";

const ADVANCE: &str = "UPDATE palisade_jobs.job_run r SET progress = g.progress \
    FROM unnest($1::int8[], $2::int8[], $3::int8[]) g (job, token, progress) \
    WHERE r.job = g.job AND r.token = g.token RETURNING r.job";

const TROUBLE: &str = "UPDATE palisade_jobs.job_run r SET trouble = g.trouble \
    FROM unnest($1::int8[], $2::int8[], $3::text[]) g (job, token, trouble) \
    WHERE r.job = g.job AND r.token = g.token RETURNING r.job";

pub(super) async fn beat(pool: &Pool, beat: &Beat) -> Result<BeatAnswer, Error> {
    let (who, sequence) = (beat.incarnation.as_str(), ms(beat.sequence));
    let rows = pool.write_often("beat", BEAT, &[text(&who), number(&sequence)]).await?;
    let mut answer = BeatAnswer::default();
    let mut is_known = false;
    for row in &rows {
        let (job, token) = (JobId(field(row, "job")?), Token(field(row, "token")?));
        match field::<&str>(row, "what")? {
            "beat" => {
                is_known = true;
                answer.suspect = field(row, "suspect")?;
            }
            "spent" => answer.spent.push((job, token)),
            _ => answer.cancel.push(job),
        }
    }
    if !is_known {
        return Err(Error::Stranger(beat.incarnation.clone()));
    }
    answer.spent.sort_by_key(|(_, token)| *token);
    answer.cancel.sort();
    advance(pool, beat, &mut answer).await?;
    trouble(pool, beat, &mut answer).await?;
    Ok(answer)
}

async fn advance(pool: &Pool, beat: &Beat, answer: &mut BeatAnswer) -> Result<(), Error> {
    if beat.progress.is_empty() {
        return Ok(());
    }
    let jobs: Vec<i64> = beat.progress.iter().map(|(job, ..)| job.0).collect();
    let tokens: Vec<i64> = beat.progress.iter().map(|(_, token, _)| token.0).collect();
    let progress: Vec<i64> = beat.progress.iter().map(|(.., progress)| *progress).collect();
    let values = [numbers(&jobs), numbers(&tokens), numbers(&progress)];
    let moved = pool.write("take progress", ADVANCE, &values).await?;
    let told = beat.progress.iter().map(|(job, token, _)| (*job, *token));
    tell_spent(pool, &moved, told, "progress", answer).await
}

async fn trouble(pool: &Pool, beat: &Beat, answer: &mut BeatAnswer) -> Result<(), Error> {
    if beat.trouble.is_empty() {
        return Ok(());
    }
    let jobs: Vec<i64> = beat.trouble.iter().map(|(job, ..)| job.0).collect();
    let tokens: Vec<i64> = beat.trouble.iter().map(|(_, token, _)| token.0).collect();
    let lines: Vec<Option<String>> =
        beat.trouble.iter().map(|(.., line)| line.as_deref().map(rules::said)).collect();
    let values = [numbers(&jobs), numbers(&tokens), texts(&lines)];
    let written = pool.write("take what is wrong", TROUBLE, &values).await?;
    let told = beat.trouble.iter().map(|(job, token, _)| (*job, *token));
    tell_spent(pool, &written, told, "trouble", answer).await
}

/// Those whose claim did not hold are told to the worker, once, and written down as refused.
async fn tell_spent(
    pool: &Pool,
    written: &[TypedRow],
    told: impl Iterator<Item = (JobId, Token)>,
    what: &str,
    answer: &mut BeatAnswer,
) -> Result<(), Error> {
    let written: BTreeSet<i64> = written.iter().map(|row| field(row, "job")).collect::<Result<_, _>>()?;
    let spent: Vec<_> =
        told.filter(|pair| !written.contains(&pair.0.0) && !answer.spent.contains(pair)).collect();
    refuse(pool, &spent, what).await?;
    answer.spent.extend(spent);
    Ok(())
}
