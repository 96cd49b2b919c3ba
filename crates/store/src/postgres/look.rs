//! What a reaper looks at in each sweep, and what it keeps for the next reaper.

use std::time::Duration;

use palisade_jobs::Error;
use palisade_jobs::claim::Terms;
use palisade_jobs::id::{Incarnation, JobId, Token};
use palisade_jobs::reaper::{Paced, Step};
use palisade_jobs::store::{Beats, HeldClaim, Holder, Silent};
use palisade_postgres::TypedRow;

use super::pool::Pool;
use super::rows::{field, ms, number, numbers, parsed, terms, text, texts, unsigned, word};

pub(super) async fn beats(pool: &Pool) -> Result<Beats, Error> {
    const BEATS: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us,
            (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint AS run, b.incarnation, b.beat
        FROM (SELECT 1) one LEFT JOIN palisade_jobs.worker_beat b ON NOT b.gone";
    let rows = pool.read("see who beats", BEATS, &[]).await?;
    let mut seen = Beats::default();
    for row in &rows {
        seen.now_us = unsigned(field(row, "now_us")?);
        seen.run = unsigned(field(row, "run")?);
        if let Some(who) = field::<Option<&str>>(row, "incarnation")? {
            seen.workers.push((Incarnation::from_text(who), unsigned(field(row, "beat")?)));
        }
    }
    Ok(seen)
}

/// The database and its timeline. Where the function is not allowed to this role, the database is what is left.
pub(super) async fn timeline(pool: &Pool) -> Result<String, Error> {
    const TIMELINE: &str =
        "SELECT substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) AS timeline";
    let timeline = match pool.read("say its timeline", TIMELINE, &[]).await {
        Ok(found) => found.first().map_or(Ok(String::new()), |row| field(row, "timeline"))?,
        Err(Error::Refused(_)) => String::new(),
        Err(error) => return Err(error),
    };
    Ok(format!("{}/{timeline}", pool.id()))
}

pub(super) async fn holders(pool: &Pool, who: &[Incarnation]) -> Result<Vec<Holder>, Error> {
    const HOLDERS: &str = "SELECT w.worker, r.jobs, r.beat_every_ms, r.reap_after_ms, r.self_fence_ms
        FROM palisade_jobs.worker w CROSS JOIN LATERAL (
            SELECT count(*) AS jobs, min(beat_every_ms) AS beat_every_ms, min(reap_after_ms) AS reap_after_ms,
                min(self_fence_ms) AS self_fence_ms
            FROM palisade_jobs.job_run r WHERE r.incarnation = w.incarnation) r
        WHERE w.incarnation = ANY ($1)";
    let names: Vec<&str> = who.iter().map(Incarnation::as_str).collect();
    let rows = pool.read("see what workers hold", HOLDERS, &[texts(&names)]).await?;
    let holder = |row: &TypedRow| {
        let least: Option<Terms> = match field::<Option<i64>>(row, "reap_after_ms")? {
            Some(_) => Some(terms(row)?),
            None => None,
        };
        let jobs = unsigned(field(row, "jobs")?);
        Ok(Holder { worker: parsed(field(row, "worker")?)?, jobs, least })
    };
    rows.iter().map(holder).collect()
}

pub(super) async fn claims_of(pool: &Pool, who: &Incarnation, most: u32) -> Result<Vec<HeldClaim>, Error> {
    const CLAIMS: &str = "SELECT r.job, r.token, r.queue, r.beat_every_ms, r.reap_after_ms, r.self_fence_ms, q.revision
        FROM palisade_jobs.job_run r JOIN palisade_jobs.queue q ON q.name = r.queue WHERE r.incarnation = $1 LIMIT $2";
    let (who, most) = (who.as_str(), i64::from(most));
    let rows = pool.read("see what a worker holds", CLAIMS, &[text(&who), number(&most)]).await?;
    let claim = |row: &TypedRow| {
        Ok(HeldClaim {
            job: JobId(field(row, "job")?),
            token: Token(field(row, "token")?),
            terms: terms(row)?,
            queue: word(field(row, "queue")?)?,
            revision: unsigned(field(row, "revision")?),
        })
    };
    rows.iter().map(claim).collect()
}

pub(super) async fn paced(pool: &Pool) -> Result<Vec<Paced>, Error> {
    const PACED: &str = "SELECT r.job, r.token, r.incarnation, r.progress, r.progress_deadline_ms, q.on_stuck, q.revision,
            (SELECT coalesce(max(c.sequence), 0) FROM palisade_jobs.checkpoint c WHERE c.job = r.job) AS checkpoint
        FROM palisade_jobs.job_run r JOIN palisade_jobs.queue q ON q.name = r.queue
        WHERE r.progress_deadline_ms IS NOT NULL AND NOT r.cancel";
    let rows = pool.read("see how jobs get on", PACED, &[]).await?;
    let paced = |row: &TypedRow| {
        Ok(Paced {
            job: JobId(field(row, "job")?),
            token: Token(field(row, "token")?),
            incarnation: Incarnation::from_text(field(row, "incarnation")?),
            step: Step { progress: field(row, "progress")?, checkpoint: unsigned(field(row, "checkpoint")?) },
            deadline: Duration::from_millis(unsigned(field(row, "progress_deadline_ms")?)),
            on_stuck: parsed(&format!("{:?}", field::<&str>(row, "on_stuck")?))?,
            revision: unsigned(field(row, "revision")?),
        })
    };
    rows.iter().map(paced).collect()
}

pub(super) async fn remember(
    pool: &Pool,
    timeline: &str,
    silences: &[Silent],
    forget: &[Incarnation],
) -> Result<(), Error> {
    let names: Vec<&str> = silences.iter().map(|row| row.incarnation.as_str()).collect();
    let beats: Vec<i64> = silences.iter().map(|row| ms(row.beat)).collect();
    let silent: Vec<i64> = silences.iter().map(|row| ms(row.silent_ms)).collect();
    let suspect = silences.iter().filter(|row| row.suspect);
    let suspects: Vec<&str> = suspect.clone().map(|row| row.incarnation.as_str()).collect();
    let suspect_beats: Vec<i64> = suspect.map(|row| ms(row.beat)).collect();
    let forgotten: Vec<&str> = forget.iter().map(Incarnation::as_str).collect();
    let values = [
        text(&timeline),
        texts(&names),
        numbers(&beats),
        numbers(&silent),
        texts(&suspects),
        numbers(&suspect_beats),
        texts(&forgotten),
    ];
    pool.write("keep silences", KEEP, &values).await?;
    Ok(())
}

/// One statement, so that a reaper that stands still in the middle holds no worker's beat. A worker that beats just now is not
/// waited for: it is no suspect any more.
///
/// `$1` timeline, `$2` incarnation, `$3` beat, `$4` silence; `$5` incarnation of a suspect, `$6` its beat; `$7` whom to forget.
const KEEP: &str = "WITH kept AS (
    INSERT INTO palisade_jobs.silence AS s (timeline, incarnation, beat, silent_ms)
    SELECT $1, g.* FROM unnest($2::text[], $3::int8[], $4::int8[]) g
    ON CONFLICT (incarnation) DO UPDATE SET timeline = excluded.timeline, beat = excluded.beat,
        silent_ms = excluded.silent_ms
), told AS (
    UPDATE palisade_jobs.worker_beat b SET suspect = true WHERE ctid = ANY (ARRAY(
        SELECT w.ctid FROM unnest($5::text[], $6::int8[]) g (incarnation, beat)
        JOIN palisade_jobs.worker_beat w ON w.incarnation = g.incarnation AND w.beat = g.beat
        WHERE NOT w.suspect FOR UPDATE OF w SKIP LOCKED))
)
DELETE FROM palisade_jobs.silence WHERE incarnation = ANY ($7)";

pub(super) async fn recall(pool: &Pool, timeline: &str) -> Result<Vec<Silent>, Error> {
    const RECALL: &str = "SELECT incarnation, beat, silent_ms FROM palisade_jobs.silence WHERE timeline = $1";
    let rows = pool.read("recall silences", RECALL, &[text(&timeline)]).await?;
    let silent = |row: &TypedRow| {
        Ok(Silent {
            incarnation: Incarnation::from_text(field(row, "incarnation")?),
            beat: unsigned(field(row, "beat")?),
            silent_ms: unsigned(field(row, "silent_ms")?),
            suspect: false,
        })
    };
    rows.iter().map(silent).collect()
}
