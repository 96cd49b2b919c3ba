//! What a person does to jobs.

use std::collections::BTreeMap;

use palisade_jobs::id::JobId;
use palisade_jobs::job::Note;
use palisade_jobs::rules::{self, Step};
use palisade_jobs::store::{Deed, Intervened};
use palisade_jobs::{Error, State};

use super::pool::{Line, Pool, Stop, transact};
use super::read::{STANDS, ids};
use super::rows::{field, json, numbers, text, word};
use super::settle::place;

/// A job that is claimed, ended or moved while it is looked at is looked at again so often.
const LOOKS: usize = 20;

pub(super) async fn intervene(
    pool: &Pool,
    deed: &Deed,
    jobs: &[JobId],
    by: &Note,
) -> Result<Vec<Intervened>, Error> {
    let answers = transact!(pool, "change jobs by hand", line => all(line, deed, jobs, by))?;
    let answer = |job: &JobId| answers.get(&job.0).copied().unwrap_or(Intervened::Missing);
    Ok(jobs.iter().map(answer).collect())
}

async fn all(
    line: &Line<'_>,
    deed: &Deed,
    jobs: &[JobId],
    by: &Note,
) -> Result<BTreeMap<i64, Intervened>, Stop> {
    let mut open: Vec<i64> = jobs.iter().map(|job| job.0).collect();
    open.sort_unstable();
    open.dedup();
    let mut answers = BTreeMap::new();
    for _ in 0..LOOKS {
        if open.is_empty() {
            return Ok(answers);
        }
        let mut moves: BTreeMap<(&str, Step), Vec<i64>> = BTreeMap::new();
        let mut seen = Vec::new();
        for row in line.ask("look at jobs", STANDS, &ids(&open)).await? {
            let (id, state): (i64, State) = (field(&row, "id")?, word(field(&row, "state")?)?);
            seen.push(id);
            let step = deed.step(state, field(&row, "cancel")?);
            match (step, field::<Option<i64>>(&row, "bearer")?) {
                (Step::Leave(answer), _) => drop(answers.insert(id, answer)),
                (Step::Go(to), Some(bearer)) if state.is_final() && !to.is_final() => {
                    answers.insert(id, Intervened::KeyTaken(JobId(bearer)));
                }
                _ => moves.entry((place(state), step)).or_default().push(id),
            }
        }
        // What is not there is missing.
        open.retain(|id| seen.contains(id) && !answers.contains_key(id));
        for ((from, step), ids) in moves {
            for (id, answer) in carry_out(line, deed, by, (from, step), &ids).await? {
                answers.insert(id, answer);
            }
        }
        open.retain(|id| !answers.contains_key(id));
    }
    Err(Stop::Rule(Error::Unreachable {
        store: "palisade_jobs".to_owned(),
        problem: format!("{} jobs change faster than they can be looked at; nothing was changed", open.len()),
    }))
}

async fn carry_out(
    line: &Line<'_>,
    deed: &Deed,
    by: &Note,
    (from, step): (&str, Step),
    ids: &Vec<i64>,
) -> Result<Vec<(i64, Intervened)>, Stop> {
    const ASK: &str = "WITH told AS (UPDATE palisade_jobs.job_run SET cancel = $2::text::boolean, reason = $3 \
        WHERE job = ANY ($1) AND cancel <> $2::text::boolean RETURNING job), \
        noted AS (INSERT INTO palisade_jobs.event (job, at_ms, kind, by) \
            SELECT job, palisade_jobs.now_ms(), $4, $5 FROM told) \
        SELECT job, 'running' AS state FROM told";
    let reason = deed.reason().map(rules::said);
    let (kind, by) = (json(&deed.event(step)), json(by));
    let rows = match step {
        Step::Ask(cancel) => {
            let cancel = cancel.to_string();
            let values = [numbers(ids), text(&cancel), text(&reason), text(&kind), text(&by)];
            line.ask("ask for an end", ASK, &values).await?
        }
        Step::Go(to) => {
            let query = GO.replace("{from}", from);
            let (to, anew) = (to.as_str(), (*deed == Deed::Retry).to_string());
            let values = [numbers(ids), text(&to), text(&reason), text(&anew), text(&kind), text(&by)];
            line.ask("change jobs by hand", &query, &values).await?
        }
        Step::Leave(_) => Vec::new(),
    };
    let answer = |row: &palisade_postgres::TypedRow| {
        Ok((field(row, "job")?, Intervened::Done(word(field(row, "state")?)?)))
    };
    rows.iter().map(answer).collect::<Result<_, Error>>().map_err(Stop::Rule)
}

/// Out of one table and into another. A row that somebody else took in between is not there any more, and not moved.
const GO: &str = "WITH gone AS (
    DELETE FROM palisade_jobs.job_{from} t USING palisade_jobs.job j
    WHERE j.id = ANY ($1) AND t.job = j.id AND t.queue = j.queue AND t.priority = j.priority
    RETURNING t.job, t.queue, t.priority, CASE WHEN $4::text::boolean THEN 0 ELSE t.attempts END::int2 AS attempts,
        j.run_ms, j.unique_key
), moved AS (
    SELECT gone.*, now, CASE WHEN $2 = 'ready' AND run_ms > now THEN 'scheduled' ELSE $2 END AS state
    FROM gone, LATERAL palisade_jobs.now_ms() AS now
), ready AS (
    INSERT INTO palisade_jobs.job_ready SELECT queue, priority, job, attempts FROM moved WHERE state = 'ready'
), waits AS (
    INSERT INTO palisade_jobs.job_wait (job, queue, priority, attempts, state, run_ms, reason)
    SELECT job, queue, priority, attempts, state, run_ms, $3 FROM moved WHERE state IN ('scheduled', 'held')
), ended AS (
    INSERT INTO palisade_jobs.job_end (job, queue, priority, attempts, state, ended_ms, event, reason)
    SELECT job, queue, priority, attempts, state, now, nextval('palisade_jobs.event_number'), $3
    FROM moved WHERE state = 'cancelled'
), freed AS (
    DELETE FROM palisade_jobs.live_key k USING moved WHERE k.job = moved.job AND moved.state = 'cancelled'
), taken AS (
    INSERT INTO palisade_jobs.live_key SELECT queue, unique_key, job FROM moved
    WHERE unique_key IS NOT NULL AND '{from}' = 'end'
), noted AS (
    INSERT INTO palisade_jobs.event (job, at_ms, kind, by) SELECT job, now, $5, $6 FROM moved
)
SELECT job, state FROM moved";
