//! The history of a job.

use palisade_jobs::id::{JobId, Token};
use palisade_jobs::{Error, Event, EventKind, Worker};

use super::pool::Pool;
use super::read;
use super::rows::{field, json, moment, number, numbers, parsed, text};

/// Writes down that spent tokens were refused.
pub(super) async fn refuse(pool: &Pool, spent: &[(JobId, Token)], what: &str) -> Result<(), Error> {
    const NOTE: &str = "INSERT INTO palisade_jobs.event (job, at_ms, token, kind) \
        SELECT job, palisade_jobs.now_ms(), token, $3 FROM unnest($1::int8[], $2::int8[]) g (job, token)";
    if spent.is_empty() {
        return Ok(());
    }
    let jobs: Vec<i64> = spent.iter().map(|(job, _)| job.0).collect();
    let tokens: Vec<i64> = spent.iter().map(|(_, token)| token.0).collect();
    let kind = json(&EventKind::Refused { what: what.to_owned() });
    pool.write("write down a refusal", NOTE, &[numbers(&jobs), numbers(&tokens), text(&kind)]).await.map(drop)
}

pub(super) async fn events(pool: &Pool, id: JobId) -> Result<Vec<Event>, Error> {
    // The last claim and the end of a job that succeeded stand in its last row only, a claim in force in the row that runs,
    // and a reap with the claim that it ended in the row of all that it took.
    const EVENTS: &str = "SELECT number, at_ms, token, kind, by, worker FROM palisade_jobs.event \
            LEFT JOIN palisade_jobs.worker USING (incarnation) WHERE job = $1 \
        UNION ALL SELECT said.* FROM palisade_jobs.reap r LEFT JOIN palisade_jobs.worker w USING (incarnation), \
            array_position(r.jobs, $1) p, LATERAL (VALUES \
                (r.number, r.at_ms, r.tokens[p], r.kind, r.by, NULL), \
                (r.claim_events[p], r.claimed_ms[p], r.tokens[p], palisade_jobs.claim_said( \
                    r.attempts[p], w.worker::json ->> 'name', r.reap_after_ms[p]), NULL, w.worker)) said (number) \
            WHERE r.span @> $1 AND p IS NOT NULL AND said.number IS NOT NULL \
        UNION ALL SELECT event, ended_ms, token, '{\"kind\":\"completed\"}', NULL, NULL \
            FROM palisade_jobs.job_end WHERE job = $1 AND state = 'succeeded' \
        UNION ALL SELECT claim_event, claimed_ms, token, \
            palisade_jobs.claim_said(attempts, w.worker::json ->> 'name', reap_after_ms), NULL, w.worker \
            FROM palisade_jobs.job_end JOIN palisade_jobs.worker w USING (incarnation) \
            WHERE job = $1 AND claim_event IS NOT NULL \
        UNION ALL SELECT claim_event, claimed_ms, token, \
            palisade_jobs.claim_said(attempts, r.worker, reap_after_ms), NULL, w.worker \
            FROM palisade_jobs.job_run r JOIN palisade_jobs.worker w USING (incarnation) \
            WHERE job = $1 AND claim_event IS NOT NULL \
        ORDER BY number";
    let Some(job) = read::job(pool, id).await? else { return Ok(Vec::new()) };
    let rows = pool.read("read the history of a job", EVENTS, &[number(&id.0)]).await?;
    let first = Event {
        job: id,
        number: 0,
        at: job.enqueued_at,
        token: None,
        kind: EventKind::Enqueued,
        by: Some(job.by),
    };
    let later = rows.iter().map(|row| {
        let by = match (field::<Option<&str>>(row, "by")?, field::<Option<&str>>(row, "worker")?) {
            (Some(by), _) => Some(parsed(by)?),
            (None, Some(worker)) => Some(parsed::<Worker>(worker)?.by),
            (None, None) => None,
        };
        Ok(Event {
            job: id,
            number: field(row, "number")?,
            at: moment(field(row, "at_ms")?),
            token: field::<Option<i64>>(row, "token")?.map(Token),
            kind: parsed(field(row, "kind")?)?,
            by,
        })
    });
    std::iter::once(Ok(first)).chain(later).collect()
}
