//! What a reaper sees, and what it takes.

use std::collections::BTreeMap;

use palisade_jobs::id::{JobId, Token};
use palisade_jobs::store::{Fence, REAPER, Reap, Reaped, Seen, Sight};
use palisade_jobs::{Error, EventKind, State};
use palisade_postgres::{Type, TypedRow};

use super::look::timeline;
use super::pool::{Line, Pool, Stop, transact};
use super::rows::{field, json, moment, ms, number, numbers, parsed, terms, text, texts, unsigned, word};

pub(super) async fn observe(pool: &Pool) -> Result<Sight, Error> {
    const SIGHT: &str = "SELECT palisade_jobs.now_ms() AS now, w.worker, b.beat, b.gone, r.job, r.token, \
            r.beat_every_ms, r.reap_after_ms, r.self_fence_ms \
        FROM (SELECT 1) one LEFT JOIN palisade_jobs.job_run r ON true \
        LEFT JOIN palisade_jobs.worker w USING (incarnation) LEFT JOIN palisade_jobs.worker_beat b USING (incarnation) \
        ORDER BY r.incarnation, r.job";
    let rows = pool.read("see who holds what", SIGHT, &[]).await?;
    let mut now = moment(0);
    let mut workers: Vec<Seen> = Vec::new();
    for row in &rows {
        now = moment(field(row, "now")?);
        let Some(worker) = field::<Option<&str>>(row, "worker")? else { continue };
        let worker: palisade_jobs::Worker = parsed(worker)?;
        let claim = (JobId(field(row, "job")?), Token(field(row, "token")?), terms(row)?);
        match workers.last_mut().filter(|seen| seen.worker.incarnation == worker.incarnation) {
            Some(seen) => seen.claims.push(claim),
            None => workers.push(Seen {
                worker,
                beat: unsigned(field(row, "beat")?),
                gone: field(row, "gone")?,
                claims: vec![claim],
            }),
        }
    }
    Ok(Sight { now, timeline: timeline(pool).await?, workers })
}

pub(super) async fn reap(pool: &Pool, under: &Fence, reaps: &[Reap]) -> Result<Vec<Reaped>, Error> {
    let parts = Parts::of(reaps);
    let Some(taken) = transact!(pool, "reap", line => all(line, under, &parts))? else {
        return Ok(vec![Reaped::TermOver; reaps.len()]);
    };
    let answer = |reap: &Reap| {
        taken.get(&(reap.job, reap.token)).map_or(Reaped::Refuted, |state| Reaped::Taken(*state))
    };
    Ok(reaps.iter().map(answer).collect())
}

/// Reaps as columns: what many of them share is sent once.
#[derive(Default)]
struct Parts<'a> {
    jobs: Vec<i64>,
    tokens: Vec<i64>,
    /// Of which part each is.
    of: Vec<i64>,
    names: Vec<&'a str>,
    beats: Vec<i64>,
    proven: Vec<bool>,
    reasons: Vec<&'a str>,
    kinds: Vec<String>,
    by: Vec<String>,
}

impl<'a> Parts<'a> {
    fn of(reaps: &'a [Reap]) -> Self {
        let mut parts = Self::default();
        let mut last: Option<&Reap> = None;
        for reap in reaps {
            let same = last.is_some_and(|last| {
                (&last.incarnation, &last.evidence, &last.reason, &last.by)
                    == (&reap.incarnation, &reap.evidence, &reap.reason, &reap.by)
            });
            if !same {
                parts.add(reap);
            }
            last = Some(reap);
            parts.jobs.push(reap.job.0);
            parts.tokens.push(reap.token.0);
            parts.of.push(ms(parts.names.len()) - 1);
        }
        parts
    }

    fn add(&mut self, reap: &'a Reap) {
        let Reap { incarnation, evidence, reason, by, .. } = reap;
        let kind = EventKind::Reaped { evidence: evidence.clone(), reason: reason.clone() };
        self.names.push(incarnation.as_str());
        self.beats.push(ms(evidence.last_beat));
        self.proven.push(evidence.proof.is_some());
        self.reasons.push(reason);
        self.kinds.push(json(&kind));
        self.by.push(json(by));
    }
}

/// What was taken, or `None` where the lease is over.
async fn all(
    line: &Line<'_>,
    under: &Fence,
    parts: &Parts<'_>,
) -> Result<Option<BTreeMap<(JobId, Token), State>>, Stop> {
    // A takeover waits for this transaction, a renewal does not.
    const TERM: &str = "SELECT 1 FROM palisade_jobs.lease \
        WHERE name = $1 AND term = $2 AND holder = $3 AND expires_at > clock_timestamp() FOR KEY SHARE";
    let (holder, term) = (under.holder.as_str(), ms(under.term));
    let fence = [text(&REAPER), number(&term), text(&holder)];
    if line.ask("look at the term", TERM, &fence).await?.is_empty() {
        return Ok(None);
    }
    let values = [
        numbers(&parts.jobs),
        numbers(&parts.tokens),
        numbers(&parts.of),
        texts(&parts.names),
        numbers(&parts.beats),
        (&parts.proven as _, Type::BOOL_ARRAY),
        texts(&parts.reasons),
        texts(&parts.kinds),
        texts(&parts.by),
    ];
    let rows = line.ask("reap", TAKE, &values).await?;
    let one = |row: &TypedRow| {
        let claim = (JobId(field(row, "job")?), Token(field(row, "token")?));
        Ok((claim, word::<State>(field(row, "state")?)?))
    };
    rows.iter().map(|row| one(row).map_err(Stop::Rule)).collect::<Result<_, _>>().map(Some)
}

/// One statement for all of them. A beat that comes now waits until this is over; one that came before refutes.
///
/// `state` is [`palisade_jobs::rules::silenced`] once more, in SQL: the suite holds both to the same cases.
///
/// `$1` job, `$2` token, `$3` of which part; for each part `$4` incarnation, `$5` beat, `$6` proven, `$7` reason,
/// `$8` event, `$9` by.
const TAKE: &str = "WITH silent AS MATERIALIZED (
    SELECT p.ord - 1 AS part, p.incarnation, p.proven, p.reason, p.kind, p.by
    FROM unnest($4::text[], $5::int8[], $6::bool[], $7::text[], $8::text[], $9::text[]) WITH ORDINALITY
        AS p (incarnation, beat, proven, reason, kind, by, ord)
    JOIN palisade_jobs.worker_beat b ON b.incarnation = p.incarnation AND b.beat = p.beat FOR SHARE OF b
), clock AS MATERIALIZED (SELECT palisade_jobs.now_ms() AS now
), gone AS (
    DELETE FROM palisade_jobs.job_run r
    USING unnest($1::int8[], $2::int8[], $3::int8[]) g (job, token, part), silent s, palisade_jobs.queue q,
        palisade_jobs.job j, clock
    WHERE r.job = g.job AND r.token = g.token AND s.part = g.part AND r.incarnation = s.incarnation
        AND q.name = r.queue AND j.id = r.job
    RETURNING r.job, r.token, r.queue, r.priority, r.keyed, r.progress, r.attempts, s.reason, s.kind, s.by,
        s.incarnation, clock.now, r.claim_event, r.claimed_ms, r.worker, r.reap_after_ms, r.attempts AS attempt,
        q.handover_delay_ms AS wait, CASE
            WHEN r.cancel OR q.on_silence = 'cancel' THEN 'cancelled'
            WHEN q.on_silence = 'hold' OR r.attempts >= j.max_attempts THEN 'held'
            WHEN s.proven OR q.handover_delay_ms = 0 THEN 'ready'
            ELSE 'handover' END AS state
), claims AS (
    INSERT INTO palisade_jobs.event (number, job, at_ms, token, incarnation, kind)
    SELECT claim_event, job, claimed_ms, token, incarnation,
        palisade_jobs.claim_said(attempt, worker, reap_after_ms)
    FROM gone WHERE claim_event IS NOT NULL
), ready AS (
    INSERT INTO palisade_jobs.job_ready SELECT queue, priority, job, attempts FROM gone WHERE state = 'ready'
), waits AS (
    INSERT INTO palisade_jobs.job_wait (job, queue, priority, attempts, state, run_ms, reason)
    SELECT job, queue, priority, attempts, state, now + CASE state WHEN 'handover' THEN wait ELSE 0 END, reason
    FROM gone WHERE state IN ('handover', 'held')
), ended AS (
    INSERT INTO palisade_jobs.job_end (job, queue, priority, attempts, state, ended_ms, token, event, progress, reason)
    SELECT job, queue, priority, attempts, state, now, token, nextval('palisade_jobs.event_number'), progress, reason
    FROM gone WHERE state = 'cancelled'
), keys AS (
    DELETE FROM palisade_jobs.live_key k USING gone WHERE k.job = gone.job AND gone.keyed AND gone.state = 'cancelled'
), told AS (
    INSERT INTO palisade_jobs.taken SELECT incarnation, token, job FROM gone ON CONFLICT DO NOTHING
), noted AS (
    INSERT INTO palisade_jobs.event (job, at_ms, token, kind, by) SELECT job, now, token, kind, by FROM gone
)
SELECT job, token, state FROM gone";
