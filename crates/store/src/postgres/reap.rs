//! What a reaper sees, and what it takes.

use std::collections::BTreeMap;
use std::time::Duration;

use palisade_jobs::Error;
use palisade_jobs::id::{JobId, Token};
use palisade_jobs::rules;
use palisade_jobs::store::{REAPER, Reap, Reaped, Seen, Sight};

use super::pool::{Line, Pool, Stop, transact};
use super::rows::{field, moment, ms, number, numbers, parsed, terms, text, texts, unsigned};
use super::settle::{held, settle};

pub(super) async fn observe(pool: &Pool) -> Result<Sight, Error> {
    // Where a function is not allowed to this role, the database's own number is what is left.
    const SIGHT: &str = "SELECT palisade_jobs.now_ms() AS now, w.worker, b.beat, b.gone, r.job, r.token, \
            r.beat_every_ms, r.reap_after_ms, r.self_fence_ms \
        FROM (SELECT 1) one LEFT JOIN palisade_jobs.job_run r ON true \
        LEFT JOIN palisade_jobs.worker w USING (incarnation) LEFT JOIN palisade_jobs.worker_beat b USING (incarnation) \
        ORDER BY r.incarnation, r.job";
    const TIMELINE: &str =
        "SELECT substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) AS timeline";
    let rows = pool.read("see who holds what", SIGHT, &[]).await?;
    let timeline = match pool.read("say its timeline", TIMELINE, &[]).await {
        Ok(found) => found.first().map_or(Ok(String::new()), |row| field(row, "timeline"))?,
        Err(Error::Refused(_)) => String::new(),
        Err(error) => return Err(error),
    };
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
    Ok(Sight { now, timeline: format!("{}/{timeline}", pool.id()), workers })
}

pub(super) async fn reap(pool: &Pool, reaps: &[Reap]) -> Result<Vec<Reaped>, Error> {
    let taken = transact!(pool, "reap", line => all(line, reaps))?;
    let answer =
        |reap: &Reap| taken.get(&(reap.job.0, reap.evidence.term)).copied().unwrap_or(Reaped::Refuted);
    Ok(reaps.iter().map(answer).collect())
}

async fn all(line: &Line<'_>, reaps: &[Reap]) -> Result<BTreeMap<(i64, u64), Reaped>, Stop> {
    // A takeover waits for this transaction, a renewal does not.
    const TERM: &str = "SELECT 1 FROM palisade_jobs.lease \
        WHERE name = $1 AND term = $2 AND expires_at > clock_timestamp() FOR KEY SHARE";
    let mut answers = BTreeMap::new();
    let mut terms: Vec<u64> = reaps.iter().map(|reap| reap.evidence.term).collect();
    terms.sort_unstable();
    terms.dedup();
    for term in terms {
        let of_term: Vec<&Reap> = reaps.iter().filter(|reap| reap.evidence.term == term).collect();
        let in_force = line.ask("look at the term", TERM, &[text(&REAPER), number(&ms(term))]).await?;
        if in_force.is_empty() {
            answers.extend(of_term.iter().map(|reap| ((reap.job.0, term), Reaped::TermOver)));
        } else {
            let taken = take(line, &of_term).await?;
            answers.extend(taken.into_iter().map(|(job, state)| ((job.0, term), Reaped::Taken(state))));
        }
    }
    Ok(answers)
}

async fn take(line: &Line<'_>, reaps: &[&Reap]) -> Result<Vec<(JobId, palisade_jobs::State)>, Stop> {
    // A beat that comes now waits until this is over; one that came before is seen here.
    const SILENT: &str = "SELECT incarnation, beat FROM palisade_jobs.worker_beat WHERE incarnation = ANY ($1) \
        ORDER BY incarnation FOR SHARE";
    const TAKEN: &str = "INSERT INTO palisade_jobs.taken \
        SELECT * FROM unnest($1::text[], $2::int8[], $3::int8[]) ON CONFLICT DO NOTHING";
    let names: Vec<&str> = reaps.iter().map(|reap| reap.incarnation.as_str()).collect();
    let mut beats = BTreeMap::new();
    for row in line.ask("look at beats", SILENT, &[texts(&names)]).await? {
        beats.insert(field::<String>(&row, "incarnation")?, unsigned(field(&row, "beat")?));
    }
    let silent = |reap: &&&Reap| beats.get(reap.incarnation.as_str()) == Some(&reap.evidence.last_beat);
    let silent: Vec<&&Reap> = reaps.iter().filter(silent).collect();
    let claims: Vec<(JobId, Token)> = silent.iter().map(|reap| (reap.job, reap.token)).collect();
    let held = held(line, &claims).await?;
    let mut ends = Vec::new();
    for held in &held {
        let reap = silent.iter().find(|reap| reap.job == held.job && reap.token == held.token);
        let Some(reap) = reap.filter(|reap| reap.incarnation == held.incarnation) else { continue };
        let delay = Duration::from_millis(held.handover_delay_ms);
        let outcome = rules::silenced(held.on_silence, &held.running, &reap.evidence, &reap.reason, delay);
        ends.push((held, outcome, Some(&reap.by)));
    }
    settle(line, &ends).await?;
    let names: Vec<&str> = ends.iter().map(|(held, ..)| held.incarnation.as_str()).collect();
    let tokens: Vec<i64> = ends.iter().map(|(held, ..)| held.token.0).collect();
    let jobs: Vec<i64> = ends.iter().map(|(held, ..)| held.job.0).collect();
    line.ask("write down what was taken", TAKEN, &[texts(&names), numbers(&tokens), numbers(&jobs)]).await?;
    Ok(ends.iter().map(|(held, outcome, _)| (held.job, outcome.state)).collect())
}
