//! What a reaper takes.

use std::collections::BTreeMap;

use palisade_jobs::id::{JobId, Token};
use palisade_jobs::store::{Fence, REAPER, Reap, Reaped};
use palisade_jobs::{Error, EventKind, State};
use palisade_postgres::Type;

use super::pool::Pool;
use super::rows::{field, json, ms, number, numbers, text, texts, word};

pub(super) async fn reap(pool: &Pool, under: &Fence, reaps: &[Reap]) -> Result<Vec<Reaped>, Error> {
    let parts = Parts::of(reaps);
    let Some(taken) = all(pool, under, &parts).await? else {
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
    stuck: Vec<bool>,
    progress: Vec<Option<i64>>,
    checkpoints: Vec<i64>,
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
        let step = evidence.stuck.map(|idle| idle.step).unwrap_or_default();
        self.stuck.push(evidence.stuck.is_some());
        self.progress.push(step.progress);
        self.checkpoints.push(ms(step.checkpoint));
        self.reasons.push(reason);
        self.kinds.push(json(&kind));
        self.by.push(json(by));
    }
}

/// What was taken, or `None` where the lease is over.
async fn all(
    pool: &Pool,
    under: &Fence,
    parts: &Parts<'_>,
) -> Result<Option<BTreeMap<(JobId, Token), State>>, Error> {
    let (holder, term) = (under.holder.as_str(), ms(under.term));
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
        (&parts.stuck as _, Type::BOOL_ARRAY),
        numbers(&parts.progress),
        numbers(&parts.checkpoints),
        text(&REAPER),
        number(&term),
        text(&holder),
    ];
    let rows = match pool.write_unless_locked("reap", &take(""), &values).await? {
        Some(rows) => rows,
        None => pool.write("reap", &take(UNLOCKED), &values).await?,
    };
    if rows.is_empty() {
        return Ok(None);
    }
    let mut taken = BTreeMap::new();
    for row in &rows {
        let Some(state) = field::<Option<&str>>(row, "state")? else { continue };
        let state: State = word(state)?;
        let (jobs, tokens): (Vec<i64>, Vec<i64>) = (field(row, "jobs")?, field(row, "tokens")?);
        taken.extend(jobs.into_iter().zip(tokens).map(|(job, token)| ((JobId(job), Token(token)), state)));
    }
    Ok(Some(taken))
}

/// One statement for all of them, and a transaction of its own, so that a reaper that stands still in the middle holds no
/// lock: neither the lease's, for which the next reaper would wait, nor that of a beat. A take-over waits for this
/// statement, a renewal does not. A beat that comes now waits until it is over; one that came before, or is just coming,
/// refutes. Rows of jobs that somebody else has locked are hardly waited for: then it is tried without them ([`UNLOCKED`]).
///
/// `state` is [`palisade_jobs::rules::silenced`] once more, in SQL: the suite holds both to the same cases. What is
/// the same for many jobs is written once, and `gone` has narrow rows (docs/adr/0031-a-reap-is-one-row.md).
///
/// `$1` job, `$2` token, `$3` of which part; for each part `$4` incarnation, `$5` beat, `$6` proven, `$7` reason,
/// `$8` event, `$9` by, `$10` stuck; of a stuck job, whose worker beats, `$11` progress and `$12` checkpoint. The lease is
/// `$13` name, `$14` term, `$15` holder. One row without a state says that it is in force.
fn take(unlocked: &str) -> String {
    format!("{WHO} {unlocked}{TAKEN}")
}

/// Takes a look more at each row, so that it is not in the first try.
const UNLOCKED: &str = "AND r.ctid = ANY (ARRAY(
            SELECT ctid FROM palisade_jobs.job_run WHERE job = ANY ($1) FOR UPDATE SKIP LOCKED))";

const WHO: &str = "WITH term AS MATERIALIZED (
    SELECT set_config('lock_timeout', '500ms', true) FROM palisade_jobs.lease
    WHERE name = $13 AND term = $14 AND holder = $15 AND expires_at > clock_timestamp() FOR KEY SHARE
), silent AS MATERIALIZED (
    SELECT p.ord - 1 AS part, nextval('palisade_jobs.event_number') AS number, p.incarnation, p.proven, p.reason,
        p.kind, p.by, p.stuck, p.progress, p.checkpoint
    FROM unnest($4::text[], $5::int8[], $6::bool[], $7::text[], $8::text[], $9::text[], $10::bool[], $11::int8[],
        $12::int8[]) WITH ORDINALITY
        AS p (incarnation, beat, proven, reason, kind, by, stuck, progress, checkpoint, ord)
    CROSS JOIN term
    JOIN palisade_jobs.worker_beat b ON b.incarnation = p.incarnation AND (b.beat = p.beat OR p.stuck)
    FOR SHARE OF b SKIP LOCKED
), clock AS MATERIALIZED (SELECT palisade_jobs.now_ms() AS now
), gone AS (
    DELETE FROM palisade_jobs.job_run r
    USING unnest($1::int8[], $2::int8[], $3::int8[]) g (job, token, part), silent s, palisade_jobs.queue q
    WHERE r.job = g.job AND r.token = g.token AND s.part = g.part AND r.incarnation = s.incarnation
        AND q.name = r.queue AND (NOT s.stuck OR q.on_stuck <> 'alert' AND r.progress IS NOT DISTINCT FROM s.progress
            AND s.checkpoint = (SELECT coalesce(max(c.sequence), 0) FROM palisade_jobs.checkpoint c WHERE c.job = r.job))";

const TAKEN: &str = "
    RETURNING r.job, r.token, r.queue, r.priority, r.keyed, r.progress, r.attempts, s.number, r.claim_event,
        r.claimed_ms, r.reap_after_ms,
        q.handover_delay_ms AS wait, CASE
            WHEN r.cancel OR q.on_silence = 'cancel' AND NOT s.stuck THEN 'cancelled'
            WHEN CASE WHEN s.stuck THEN q.on_stuck ELSE q.on_silence END = 'hold' OR r.attempts >= coalesce(r.max_attempts, (
                SELECT max_attempts FROM palisade_jobs.job j WHERE j.id = r.job)) THEN 'held'
            WHEN s.proven OR q.handover_delay_ms = 0 THEN 'ready'
            ELSE 'handover' END AS state
), ready AS (
    INSERT INTO palisade_jobs.job_ready SELECT queue, priority, job, attempts FROM gone WHERE state = 'ready'
), waits AS (
    INSERT INTO palisade_jobs.job_wait (job, queue, priority, attempts, state, run_ms, reason, reap)
    SELECT job, queue, priority, attempts, state,
        (SELECT now FROM clock) + CASE state WHEN 'handover' THEN wait ELSE 0 END,
        CASE state WHEN 'held' THEN (SELECT reason FROM silent s WHERE s.number = gone.number) END,
        CASE state WHEN 'handover' THEN number END
    FROM gone WHERE state IN ('handover', 'held')
), ended AS (
    INSERT INTO palisade_jobs.job_end (job, queue, priority, attempts, state, ended_ms, token, event, progress, reason)
    SELECT job, queue, priority, attempts, state, (SELECT now FROM clock), token,
        nextval('palisade_jobs.event_number'), gone.progress, reason
    FROM gone JOIN silent USING (number) WHERE state = 'cancelled'
), keys AS (
    DELETE FROM palisade_jobs.live_key k USING gone WHERE k.job = gone.job AND gone.keyed AND gone.state = 'cancelled'
), noted AS (
    INSERT INTO palisade_jobs.reap (number, incarnation, at_ms, jobs, tokens, attempts, claim_events, claimed_ms,
        reap_after_ms, span, reason, kind, by)
    SELECT number, incarnation, (SELECT now FROM clock), jobs, tokens, attempts, claim_events, claimed_ms,
        reap_after_ms, span, reason, kind, by
    FROM silent JOIN (
        SELECT number, array_agg(job) AS jobs, array_agg(token) AS tokens, array_agg(attempts) AS attempts,
            array_agg(claim_event) AS claim_events, array_agg(claimed_ms) AS claimed_ms,
            array_agg(reap_after_ms) AS reap_after_ms, int8range(min(job), max(job), '[]') AS span
        FROM gone GROUP BY number) taken USING (number)
)
SELECT state, array_agg(job) AS jobs, array_agg(token) AS tokens FROM gone GROUP BY state
UNION ALL SELECT NULL, NULL, NULL FROM term";
