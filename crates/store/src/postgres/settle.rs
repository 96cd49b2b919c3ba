//! Attempts that end other than well, each as the rules say.

use palisade_jobs::State;
use palisade_jobs::id::{JobId, Token};
use palisade_jobs::job::Note;
use palisade_jobs::retry::Backoff;
use palisade_jobs::rules::{Outcome, Running};

use palisade_postgres::TypedRow;

use super::pool::{Line, Stop};
use super::rows::{attempts, field, json, ms, numbers, small, smalls, texts, unsigned};

/// What the end of an attempt is judged by.
pub(super) struct Held {
    pub(super) job: JobId,
    pub(super) token: Token,
    pub(super) running: Running,
    pub(super) backoff: Backoff,
    pub(super) random: u64,
}

const HELD: &str = "SELECT r.job, r.token, r.attempts, j.max_attempts, r.cancel, r.reason,
        q.backoff_first_ms, q.backoff_most_ms,
        (random() * 4611686018427387904)::bigint AS random
    FROM unnest($1::int8[], $2::int8[]) g (job, token)
    JOIN palisade_jobs.job_run r ON r.job = g.job AND r.token = g.token
    JOIN palisade_jobs.job j ON j.id = r.job
    JOIN palisade_jobs.queue q ON q.name = r.queue
    ORDER BY r.job FOR UPDATE OF r";

/// Locks the claims that still hold.
pub(super) async fn held(line: &Line<'_>, claims: &[(JobId, Token)]) -> Result<Vec<Held>, Stop> {
    let jobs: Vec<i64> = claims.iter().map(|(job, _)| job.0).collect();
    let tokens: Vec<i64> = claims.iter().map(|(_, token)| token.0).collect();
    let rows = line.ask("look for claims", HELD, &[numbers(&jobs), numbers(&tokens)]).await?;
    rows.iter().map(|row| one(row).map_err(Stop::Rule)).collect()
}

fn one(row: &TypedRow) -> Result<Held, palisade_jobs::Error> {
    Ok(Held {
        job: JobId(field(row, "job")?),
        token: Token(field(row, "token")?),
        running: Running {
            attempt: attempts(field(row, "attempts")?),
            max_attempts: attempts(field(row, "max_attempts")?),
            cancel_requested: field(row, "cancel")?,
            cancel_reason: field(row, "reason")?,
        },
        backoff: Backoff {
            first_ms: unsigned(field(row, "backoff_first_ms")?),
            most_ms: unsigned(field(row, "backoff_most_ms")?),
        },
        random: unsigned(field(row, "random")?),
    })
}

/// `$1` job, `$2` token, `$3` state, `$4` wait, `$5` attempts, `$6` reason, `$7` event, `$8` by.
const SETTLE: &str = "WITH g AS (
    SELECT * FROM unnest($1::int8[], $2::int8[], $3::text[], $4::int8[], $5::int2[], $6::text[], $7::text[], $8::text[])
        AS g (job, token, state, wait, attempts, reason, kind, by), LATERAL palisade_jobs.now_ms() AS now
), gone AS (
    DELETE FROM palisade_jobs.job_run r USING g WHERE r.job = g.job AND r.token = g.token
    RETURNING r.job, r.token, r.queue, r.priority, r.keyed, r.progress, g.state, g.wait, g.attempts, g.reason,
        g.kind, g.by, g.now, r.claim_event, r.claimed_ms, r.incarnation, r.worker, r.reap_after_ms, r.attempts AS attempt
), claims AS (
    INSERT INTO palisade_jobs.event (number, job, at_ms, token, incarnation, kind)
    SELECT claim_event, job, claimed_ms, token, incarnation,
        palisade_jobs.claim_said(attempt, worker, reap_after_ms)
    FROM gone WHERE claim_event IS NOT NULL
), ready AS (
    INSERT INTO palisade_jobs.job_ready SELECT queue, priority, job, attempts FROM gone WHERE state = 'ready'
), waits AS (
    INSERT INTO palisade_jobs.job_wait (job, queue, priority, attempts, state, run_ms, reason)
    SELECT job, queue, priority, attempts, state, now + wait, reason FROM gone
    WHERE state IN ('retrying', 'handover', 'held')
), ended AS (
    INSERT INTO palisade_jobs.job_end (job, queue, priority, attempts, state, ended_ms, token, event, progress, reason)
    SELECT job, queue, priority, attempts, state, now, token, nextval('palisade_jobs.event_number'), progress, reason
    FROM gone WHERE state IN ('succeeded', 'cancelled', 'dead')
), keys AS (
    DELETE FROM palisade_jobs.live_key k USING gone
    WHERE k.job = gone.job AND gone.keyed AND gone.state IN ('succeeded', 'cancelled', 'dead')
)
INSERT INTO palisade_jobs.event (job, at_ms, token, kind, by)
SELECT job, now, token, kind, by FROM gone WHERE state <> 'succeeded'";

/// Writes where jobs stand after their attempts, which [`held`] has locked.
pub(super) async fn settle(line: &Line<'_>, ends: &[(&Held, Outcome, Option<&Note>)]) -> Result<(), Stop> {
    let jobs: Vec<i64> = ends.iter().map(|(held, ..)| held.job.0).collect();
    let tokens: Vec<i64> = ends.iter().map(|(held, ..)| held.token.0).collect();
    let states: Vec<&str> = ends.iter().map(|(_, outcome, _)| outcome.state.as_str()).collect();
    let waits: Vec<i64> = ends.iter().map(|(_, outcome, _)| ms(outcome.wait.as_millis())).collect();
    let charged = |held: &Held, outcome: &Outcome| {
        small(held.running.attempt.saturating_sub(u16::from(!outcome.charged)))
    };
    let attempts: Vec<i16> = ends.iter().map(|(held, outcome, _)| charged(held, outcome)).collect();
    let reasons: Vec<Option<&str>> = ends.iter().map(|(_, outcome, _)| outcome.reason.as_deref()).collect();
    let kinds: Vec<String> = ends.iter().map(|(_, outcome, _)| json(&outcome.event)).collect();
    let by: Vec<Option<String>> = ends.iter().map(|(.., by)| by.map(json)).collect();
    let values = [
        numbers(&jobs),
        numbers(&tokens),
        texts(&states),
        numbers(&waits),
        smalls(&attempts),
        texts(&reasons),
        texts(&kinds),
        texts(&by),
    ];
    line.ask("end attempts", SETTLE, &values).await?;
    Ok(())
}

/// The table that has jobs of that state.
pub(super) const fn place(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Running => "run",
        State::Scheduled | State::Retrying | State::Handover | State::Held => "wait",
        State::Succeeded | State::Cancelled | State::Dead => "end",
    }
}
