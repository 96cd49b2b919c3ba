//! What has to be done from time to time, and the rules of queues.

use rusqlite::params;

use palisade_jobs::id::JobId;
use palisade_jobs::job::Note;
use palisade_jobs::store::{Promoted, Pruned};
use palisade_jobs::{Error, Queue};

use super::engine::Store;
use super::read;
use super::rows::{json, moment, ms};
use super::schedule;

pub(super) fn promote(store: &Store<'_>) -> Result<Promoted, Error> {
    const PROMOTE: &str = "UPDATE job SET state = 'ready' \
        WHERE state IN ('scheduled', 'retrying', 'handover') AND run_at <= ?1";
    const NEXT: &str = "SELECT min(run_at) FROM job WHERE state IN ('scheduled', 'retrying', 'handover')";
    let tick = schedule::fire(store)?;
    let jobs = store.try_to(|sql| sql.prepare_cached(PROMOTE)?.execute([store.now]))?;
    let next: Option<i64> = store.try_to(|sql| sql.prepare_cached(NEXT)?.query_row([], |row| row.get(0)))?;
    Ok(Promoted {
        jobs: u64::try_from(jobs).unwrap_or(u64::MAX),
        next: [next, tick].into_iter().flatten().min().map(moment),
        now: Some(moment(store.now)),
    })
}

pub(super) fn set_queue(store: &Store<'_>, queue: &Queue, by: &Note) -> Result<u64, Error> {
    let stored = store.queue(&queue.name)?;
    if !queue.has_rules_of(&stored) {
        queue.check()?;
    }
    if stored.revision != queue.revision {
        return Err(Error::QueueChanged { queue: queue.name.clone(), revision: stored.revision });
    }
    let revision = queue.revision + 1;
    const SET: &str = "INSERT INTO queue (name, rules) VALUES (?1, ?2) \
        ON CONFLICT (name) DO UPDATE SET rules = excluded.rules";
    let rules = json(&Queue { revision, ..queue.clone() });
    const KEEP: &str =
        "INSERT INTO queue_change (queue, revision, at, rules, by) VALUES (?1, ?2, ?3, ?4, ?5)";
    let name = queue.name.as_str();
    store.try_to(|sql| {
        sql.prepare_cached(SET)?.execute(params![name, rules])?;
        sql.prepare_cached(KEEP)?.execute(params![name, ms(revision), store.now, rules, json(by)])
    })?;
    Ok(revision)
}

pub(super) fn prune(store: &Store<'_>, most: u32) -> Result<Pruned, Error> {
    const OLD: &str = "SELECT id FROM job WHERE queue = ?1 AND ended_at < ?2 ORDER BY ended_at LIMIT ?3";
    const FORGET: [&str; 3] = [
        "DELETE FROM event WHERE job = ?1",
        "DELETE FROM checkpoint WHERE job = ?1",
        "DELETE FROM job WHERE id = ?1",
    ];
    let (mut left, mut checkpoints) = (most, Vec::new());
    for queue in read::queues(store)? {
        let before = store.now.saturating_sub(ms(queue.retention_ms));
        let old: Vec<i64> = store.try_to(|sql| {
            let values = params![queue.name.as_str(), before, left];
            sql.prepare_cached(OLD)?.query_map(values, |row| row.get(0))?.collect()
        })?;
        for job in &old {
            checkpoints.extend(store.checkpoints(JobId(*job))?);
            for statement in FORGET {
                store.try_to(|sql| sql.prepare_cached(statement)?.execute([job]))?;
            }
        }
        left = left.saturating_sub(u32::try_from(old.len()).unwrap_or(u32::MAX));
    }
    Ok(Pruned { jobs: u64::from(most - left), checkpoints, more: left == 0 })
}

/// Far above what may have been handed out since the backup.
const RESTORED: i64 = 1 << 32;

pub(super) fn after_restore(store: &Store<'_>) -> Result<u64, Error> {
    const RAISE: &str = "UPDATE meta SET value = value + ?1 WHERE name = 'token'";
    const HELD: &str = "SELECT count(*) FROM job WHERE state = 'running'";
    let held: i64 = store.try_to(|sql| {
        sql.prepare_cached(RAISE)?.execute([RESTORED])?;
        sql.prepare_cached(HELD)?.query_row([], |row| row.get(0))
    })?;
    Ok(u64::try_from(held).unwrap_or(0))
}
