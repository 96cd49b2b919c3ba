//! Jobs that come again and again.

use palisade_core::QueueName;
use palisade_jobs::{Error, Schedule};

use super::enqueue;
use super::pool::{Line, Pool, Stop, transact};
use super::rows::{field, json, moment, ms, number, parsed, text};

pub(super) async fn set(pool: &Pool, schedule: &Schedule) -> Result<(), Error> {
    const SET: &str = "INSERT INTO palisade_jobs.schedule (name, next_ms, body) VALUES ($1, $2, $3) \
        ON CONFLICT (name) DO UPDATE SET next_ms = excluded.next_ms, body = excluded.body";
    let now = pool.read("say the time", "SELECT palisade_jobs.now_ms() AS now", &[]).await?;
    let now: i64 = now.first().map_or(Ok(0), |row| field(row, "now"))?;
    let first = schedule.first_tick(moment(now))?;
    let job = schedule.job();
    job.check()?;
    enqueue::known(pool, &job).await?;
    let schedule = Schedule { next: schedule.next.or(Some(first)), ..schedule.clone() };
    let next = schedule.next.map(|next| ms(next.unix_ms()));
    let (name, body) = (schedule.name.as_str(), json(&schedule));
    pool.write("set a schedule", SET, &[text(&name), number(&next), text(&body)]).await.map(drop)
}

pub(super) async fn remove(pool: &Pool, name: &QueueName) -> Result<bool, Error> {
    const REMOVE: &str = "DELETE FROM palisade_jobs.schedule WHERE name = $1 RETURNING name";
    let name = name.as_str();
    Ok(!pool.write("remove a schedule", REMOVE, &[text(&name)]).await?.is_empty())
}

pub(super) async fn all(pool: &Pool) -> Result<Vec<Schedule>, Error> {
    let rows =
        pool.read("list schedules", "SELECT body FROM palisade_jobs.schedule ORDER BY name", &[]).await?;
    rows.iter().map(|row| parsed(field(row, "body")?)).collect()
}

/// One job for each schedule that is due, however many ticks were missed and machines look.
pub(super) async fn fire(pool: &Pool) -> Result<(), Error> {
    transact!(pool, "make jobs of schedules", line => due(line))
}

async fn due(line: &Line<'_>) -> Result<(), Stop> {
    const DUE: &str = "SELECT body, palisade_jobs.now_ms() AS now FROM palisade_jobs.schedule \
        WHERE next_ms <= palisade_jobs.now_ms() FOR UPDATE SKIP LOCKED";
    const TICKED: &str = "UPDATE palisade_jobs.schedule SET next_ms = $2, body = $3 WHERE name = $1";
    for row in line.ask("look for ticks", DUE, &[]).await? {
        let mut schedule: Schedule = parsed(field(&row, "body")?)?;
        // A machine that does not know the time zone leaves it to one that does.
        let Ok(next) = schedule.tick_after(moment(field(&row, "now")?)) else { continue };
        enqueue::one(line, schedule.job()).await?;
        schedule.last = schedule.next;
        schedule.next = next;
        let next = next.map(|next| ms(next.unix_ms()));
        let (name, body) = (schedule.name.as_str(), json(&schedule));
        line.ask("write down a tick", TICKED, &[text(&name), number(&next), text(&body)]).await?;
    }
    Ok(())
}
