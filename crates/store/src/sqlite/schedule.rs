//! Jobs that come again and again.

use rusqlite::params;

use palisade_core::QueueName;
use palisade_jobs::{Error, Schedule};

use super::engine::Store;
use super::enqueue;
use super::rows::{json, moment, ms, parsed};

pub(super) fn set(store: &Store<'_>, mut schedule: Schedule) -> Result<(), Error> {
    const SET: &str = "INSERT INTO schedule (name, next_at, body) VALUES (?1, ?2, ?3) \
        ON CONFLICT (name) DO UPDATE SET next_at = excluded.next_at, body = excluded.body";
    let first = schedule.first_tick(moment(store.now))?;
    schedule.job().check()?;
    schedule.next = schedule.next.or(Some(first));
    let next = schedule.next.map(|next| ms(next.unix_ms()));
    let values = params![schedule.name.as_str(), next, json(&schedule)];
    store.try_to(|sql| sql.prepare_cached(SET)?.execute(values)).map(drop)
}

pub(super) fn remove(store: &Store<'_>, name: &QueueName) -> Result<bool, Error> {
    let gone = store.try_to(|sql| sql.execute("DELETE FROM schedule WHERE name = ?1", [name.as_str()]))?;
    Ok(gone == 1)
}

pub(super) fn all(store: &Store<'_>) -> Result<Vec<Schedule>, Error> {
    const ALL: &str = "SELECT body FROM schedule ORDER BY name";
    store.try_to(|sql| sql.prepare_cached(ALL)?.query_map([], |row| parsed(row, "body"))?.collect())
}

/// One job for each schedule that is due, however many ticks were missed; when the next one is.
pub(super) fn fire(store: &Store<'_>) -> Result<Option<i64>, Error> {
    const DUE: &str = "SELECT body FROM schedule WHERE next_at <= ?1";
    const NEXT: &str = "SELECT min(next_at) FROM schedule WHERE next_at > ?1";
    let due: Vec<Schedule> = store.try_to(|sql| {
        sql.prepare_cached(DUE)?.query_map([store.now], |row| parsed(row, "body"))?.collect()
    })?;
    for mut schedule in due {
        // A machine that does not know the time zone leaves it to one that does.
        let Ok(next) = schedule.tick_after(moment(store.now)) else { continue };
        enqueue::enqueue(store, &enqueue::checked(&[schedule.job()])?)?;
        schedule.last = schedule.next;
        schedule.next = next;
        const TICKED: &str = "UPDATE schedule SET next_at = ?2, body = ?3 WHERE name = ?1";
        let next = next.map(|next| ms(next.unix_ms()));
        let values = params![schedule.name.as_str(), next, json(&schedule)];
        store.try_to(|sql| sql.prepare_cached(TICKED)?.execute(values))?;
    }
    store.try_to(|sql| sql.prepare_cached(NEXT)?.query_row([store.now], |row| row.get(0)))
}
