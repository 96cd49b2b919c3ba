//! What a reaper looks at in each sweep, and what it keeps for the next reaper.

use std::time::Duration;

use rusqlite::{OptionalExtension as _, Row, params};

use palisade_core::QueueName;
use palisade_host::clock;
use palisade_jobs::Error;
use palisade_jobs::id::{Incarnation, JobId, Token};
use palisade_jobs::queue::OnStuck;
use palisade_jobs::reaper::{Paced, Step};
use palisade_jobs::store::{Beats, HeldClaim, Holder, Silent};

use super::engine::Store;
use super::rows::{ms, parsed, terms, unsigned, word};

/// The store's clock is the boot clock of its one machine: no wall clock steps it. Nothing serves the file, so there
/// are no runs of it.
pub(super) fn beats(store: &Store<'_>) -> Result<Beats, Error> {
    const BEATS: &str = "SELECT incarnation, beat FROM worker WHERE NOT gone";
    let beat = |row: &Row<'_>| {
        let who: String = row.get(0)?;
        Ok((Incarnation::from_text(&who), unsigned(row.get(1)?)))
    };
    let workers = store.try_to(|sql| sql.prepare_cached(BEATS)?.query_map([], beat)?.collect())?;
    Ok(Beats { now_us: clock::boot_us(), run: 0, workers })
}

/// The id of the file.
pub(super) fn timeline(store: &Store<'_>) -> Result<String, Error> {
    const ID: &str = "SELECT value FROM meta WHERE name = 'id'";
    store.try_to(|sql| sql.prepare_cached(ID)?.query_row([], |row| row.get(0)))
}

pub(super) fn holders(store: &Store<'_>, who: &[Incarnation]) -> Result<Vec<Holder>, Error> {
    const WORKER: &str = "SELECT worker FROM worker WHERE incarnation = ?1";
    const HELD: &str = "SELECT count(*) AS jobs, min(beat_every_ms) AS beat_every_ms, \
        min(reap_after_ms) AS reap_after_ms, min(self_fence_ms) AS self_fence_ms FROM job \
        WHERE incarnation = ?1 AND state = 'running'";
    let held = |row: &Row<'_>| {
        let jobs = unsigned(row.get("jobs")?);
        Ok((jobs, if jobs > 0 { Some(terms(row)?) } else { None }))
    };
    let mut holders = Vec::with_capacity(who.len());
    for who in who {
        let who = [who.as_str()];
        let worker = store.try_to(|sql| {
            sql.prepare_cached(WORKER)?.query_row(who, |row| parsed(row, "worker")).optional()
        })?;
        let Some(worker) = worker else { continue };
        let (jobs, least) = store.try_to(|sql| sql.prepare_cached(HELD)?.query_row(who, held))?;
        holders.push(Holder { worker, jobs, least });
    }
    Ok(holders)
}

pub(super) fn claims_of(store: &Store<'_>, who: &Incarnation, most: u32) -> Result<Vec<HeldClaim>, Error> {
    const CLAIMS: &str = "SELECT id, token, queue, beat_every_ms, reap_after_ms, self_fence_ms FROM job \
        WHERE incarnation = ?1 AND state = 'running' LIMIT ?2";
    let claim = |row: &Row<'_>| {
        Ok(HeldClaim {
            job: JobId(row.get("id")?),
            token: Token(row.get("token")?),
            terms: terms(row)?,
            queue: word(row, "queue")?,
            revision: 0,
        })
    };
    let values = params![who.as_str(), most];
    let mut claims: Vec<HeldClaim> =
        store.try_to(|sql| sql.prepare_cached(CLAIMS)?.query_map(values, claim)?.collect())?;
    for claim in &mut claims {
        claim.revision = store.queue(&claim.queue)?.revision;
    }
    Ok(claims)
}

pub(super) fn paced(store: &Store<'_>) -> Result<Vec<Paced>, Error> {
    const PACED: &str = "SELECT id, token, incarnation, queue, progress, progress_deadline_ms, \
            (SELECT coalesce(max(sequence), 0) FROM checkpoint WHERE job = job.id) AS checkpoint \
        FROM job WHERE state = 'running' AND progress_deadline_ms IS NOT NULL AND NOT cancel";
    let paced = |row: &Row<'_>| {
        let queue: QueueName = word(row, "queue")?;
        let paced = Paced {
            job: JobId(row.get("id")?),
            token: Token(row.get("token")?),
            incarnation: Incarnation::from_text(&row.get::<_, String>("incarnation")?),
            step: Step { progress: row.get("progress")?, checkpoint: unsigned(row.get("checkpoint")?) },
            deadline: Duration::from_millis(unsigned(row.get("progress_deadline_ms")?)),
            on_stuck: OnStuck::Alert,
            revision: 0,
        };
        Ok((queue, paced))
    };
    let found: Vec<(QueueName, Paced)> =
        store.try_to(|sql| sql.prepare_cached(PACED)?.query_map([], paced)?.collect())?;
    let with_rules = |(queue, paced): (QueueName, Paced)| {
        let rules = store.queue(&queue)?;
        Ok(Paced { on_stuck: rules.on_stuck, revision: rules.revision, ..paced })
    };
    found.into_iter().map(with_rules).collect()
}

pub(super) fn remember(
    store: &Store<'_>,
    timeline: &str,
    silences: &[Silent],
    forget: &[Incarnation],
) -> Result<(), Error> {
    const KEEP: &str = "INSERT INTO silence (incarnation, timeline, beat, silent_ms) VALUES (?1, ?2, ?3, ?4) \
        ON CONFLICT (incarnation) DO UPDATE SET timeline = excluded.timeline, beat = excluded.beat, \
        silent_ms = excluded.silent_ms";
    const TELL: &str = "UPDATE worker SET suspect = 1 WHERE incarnation = ?1 AND beat = ?2 AND NOT suspect";
    const FORGET: &str = "DELETE FROM silence WHERE incarnation = ?1";
    for row in silences {
        let who = row.incarnation.as_str();
        let values = params![who, timeline, ms(row.beat), ms(row.silent_ms)];
        store.try_to(|sql| sql.prepare_cached(KEEP)?.execute(values))?;
        if row.suspect {
            store.try_to(|sql| sql.prepare_cached(TELL)?.execute(params![who, ms(row.beat)]))?;
        }
    }
    for who in forget {
        store.try_to(|sql| sql.prepare_cached(FORGET)?.execute([who.as_str()]))?;
    }
    Ok(())
}

pub(super) fn recall(store: &Store<'_>, timeline: &str) -> Result<Vec<Silent>, Error> {
    const RECALL: &str = "SELECT incarnation, beat, silent_ms FROM silence WHERE timeline = ?1";
    let silent = |row: &Row<'_>| {
        let who: String = row.get(0)?;
        Ok(Silent {
            incarnation: Incarnation::from_text(&who),
            beat: unsigned(row.get(1)?),
            silent_ms: unsigned(row.get(2)?),
            suspect: false,
        })
    };
    store.try_to(|sql| sql.prepare_cached(RECALL)?.query_map([timeline], silent)?.collect())
}
