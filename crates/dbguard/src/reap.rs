//! What a reaper does to a guarded table: look who runs, and give one job back.
//!
//! Who is silent is not decided here: [`look`] gives what changes with each beat, and never an age. [`reap`] is one
//! transaction, fenced by the reaper's lease, and compares the row once more at the write. The guard's own rule
//! stands behind it, as behind every client.

use palisade_postgres::Session;
use serde::{Deserialize, Serialize};

use crate::columns::Columns;
use crate::error::Error;
use crate::installed::Installed;
use crate::quote;
use crate::table::{Table, text};

/// A running job, as one look saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its key.
    pub key: String,
    /// What changes with each beat: the heartbeat, or the row's version where there is none yet.
    pub counter: String,
}

/// What one look saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The start of the server, in microseconds: another one is another run of it.
    pub server_run: u64,
    /// The server's clock, in microseconds.
    pub server_us: u64,
    /// How often the guard's rules were changed.
    pub policy: u64,
    /// Every running job.
    pub running: Vec<Running>,
}

/// The lease under which a job is reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence<'a> {
    /// Its name.
    pub lease: &'a str,
    /// Its term.
    pub term: u64,
    /// Its holder.
    pub holder: &'a str,
}

/// What became of one reap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reaped {
    /// The job was given back.
    Taken,
    /// It beat, ended or changed since: nothing was written.
    Refuted,
    /// The lease is over: nothing was written.
    TermOver,
}

/// A silence that a term leaves to the next one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silence {
    /// The job's key.
    pub key: String,
    /// The counter that did not change.
    pub counter: String,
    /// How much silence was charged, in microseconds.
    pub silent_us: u64,
}

/// The columns that a reaper needs.
///
/// # Errors
/// [`Error::Unfit`] if one is gone, or the table keeps no state that a job could be given back to.
pub fn columns(guard: &Installed, table: &Table) -> Result<Columns, Error> {
    let columns = Columns::numbered(table, guard)
        .ok_or_else(|| table.unfit("a column that its guard reads is gone".to_owned()))?;
    if guard.claimed {
        return Err(
            table.unfit("it keeps no states: who may claim its jobs again is its library's".to_owned())
        );
    }
    Ok(columns)
}

/// Whether a job can be given back to that state.
///
/// # Errors
/// [`Error::Unfit`], with the reason.
pub fn check_state(guard: &Installed, table: &Table, columns: &Columns, to: &str) -> Result<(), Error> {
    if guard.rules.running.iter().any(|state| state == to) {
        return Err(table.unfit(format!("a job cannot be given back to {to:?}, in which it runs")));
    }
    let labels = &columns.status.labels;
    if !labels.is_empty() && !labels.iter().any(|label| label == to) {
        return Err(table.unfit(format!("{to:?} is no state of it; its states are {}", labels.join(", "))));
    }
    Ok(())
}

fn counter(columns: &Columns) -> String {
    format!("coalesce(({})::text, 'row ' || t.xmin::text)", columns.beat_of("t"))
}

fn runs(guard: &Installed, columns: &Columns) -> String {
    let states: Vec<_> = guard.rules.running.iter().map(|state| quote::text(state)).collect();
    format!("{} IN ({})", columns.state_of("t"), states.join(", "))
}

/// Looks who runs, in one statement.
///
/// # Errors
/// What the database says.
pub async fn look(
    session: &Session,
    guard: &Installed,
    table: &Table,
    columns: &Columns,
) -> Result<Look, Error> {
    let us = |moment: &str| format!("(extract(epoch FROM {moment}) * 1000000)::bigint::text");
    let sql = format!(
        "SET datestyle = 'ISO'; SELECT {}, {}, (SELECT count(*) FROM palisade.change c WHERE c.guard = {})::text, \
         r.key, r.counter FROM (VALUES (1)) one LEFT JOIN (SELECT {} AS key, {} AS counter FROM {} t WHERE {}) r ON true",
        us("pg_postmaster_start_time()"),
        us("clock_timestamp()"),
        guard.id,
        columns.key_of("t"),
        counter(columns),
        table.qualified(),
        runs(guard, columns),
    );
    let rows = session.rows("look who runs", &sql).await?;
    let number = |at: usize| rows.first().and_then(|row| text(row, at).parse().ok()).unwrap_or_default();
    let running = rows.iter().filter(|row| row.get(3).is_some_and(Option::is_some));
    Ok(Look {
        server_run: number(0),
        server_us: number(1),
        policy: number(2),
        running: running.map(|row| Running { key: text(row, 3), counter: text(row, 4) }).collect(),
    })
}

/// Gives one job back to the state `to`, if the lease is in force and the job is as it was seen.
///
/// # Errors
/// What the database says, the guard's refusal among it. Nothing was written then.
pub async fn reap(
    session: &Session,
    guard: &Installed,
    table: &Table,
    columns: &Columns,
    fence: Fence<'_>,
    seen: &Running,
    (to, reason): (&str, &str),
) -> Result<Reaped, Error> {
    let sql = statement(guard, table, columns, fence, seen, (to, reason));
    match session.rows("give a job back", &sql).await {
        Ok(rows) => {
            let row = rows.first().cloned().unwrap_or_default();
            Ok(match (text(&row, 0).as_str(), text(&row, 1).as_str()) {
                ("0" | "", _) => Reaped::TermOver,
                (_, "1") => Reaped::Taken,
                _ => Reaped::Refuted,
            })
        }
        Err(error) => {
            session.run("go back", "ROLLBACK").await?;
            Err(error.into())
        }
    }
}

fn statement(
    guard: &Installed,
    table: &Table,
    columns: &Columns,
    fence: Fence<'_>,
    seen: &Running,
    (to, reason): (&str, &str),
) -> String {
    let reason =
        columns.reason_name().map(|name| format!(", {} = {}", quote::name(name), quote::text(reason)));
    format!(
        "BEGIN; SET LOCAL lock_timeout = '2s'; SET LOCAL datestyle = 'ISO'; \
         WITH fence AS MATERIALIZED (SELECT 1 FROM palisade.lease l WHERE l.name = {lease} AND l.term = {term} \
           AND l.holder = {holder} AND l.expires_at > clock_timestamp() FOR KEY SHARE), \
         taken AS (UPDATE {table} t SET {status} = {to}::{kind}{reason} FROM fence \
           WHERE {key} = {wanted} AND {runs} AND {counter} = {seen} RETURNING 1) \
         SELECT (SELECT count(*) FROM fence), (SELECT count(*) FROM taken); COMMIT",
        lease = quote::text(fence.lease),
        term = fence.term,
        holder = quote::text(fence.holder),
        table = table.qualified(),
        status = quote::name(columns.status_name()),
        to = quote::text(to),
        kind = columns.status_kind(),
        reason = reason.unwrap_or_default(),
        key = columns.key_of("t"),
        wanted = quote::text(&seen.key),
        runs = runs(guard, columns),
        counter = counter(columns),
        seen = quote::text(&seen.counter),
    )
}

/// Makes the table of silences, where it is not there yet.
///
/// # Errors
/// What the database says; a role that may not do that reaps all the same, and each of its terms begins from nothing.
pub async fn prepare(session: &Session) -> Result<(), Error> {
    const TABLE: &str = "CREATE TABLE IF NOT EXISTS palisade.silence (\
        guard integer NOT NULL, key text NOT NULL, counter text NOT NULL, silent_us bigint NOT NULL, \
        run text NOT NULL, PRIMARY KEY (guard, key))";
    Ok(session.run("make the table of silences", TABLE).await?)
}

/// What terms before have left. `lineage` names the database and its timeline: silences of another one are none.
///
/// # Errors
/// What the database says.
pub async fn recall(session: &Session, guard: &Installed, lineage: &str) -> Result<Vec<Silence>, Error> {
    const RECALL: &str = "SELECT s.key, s.counter, s.silent_us::text FROM palisade.silence s \
        WHERE s.guard = $1::integer AND s.run = $2";
    let id = guard.id.to_string();
    let rows = session.ask("recall silences", RECALL, &[Some(&id), Some(lineage)]).await?;
    let silence = |row: &palisade_postgres::Row| Silence {
        key: text(row, 0),
        counter: text(row, 1),
        silent_us: text(row, 2).parse().unwrap_or_default(),
    };
    Ok(rows.iter().map(silence).collect())
}

/// Leaves `silences` to the next term, and nothing of `forget`.
///
/// # Errors
/// What the database says.
pub async fn remember(
    session: &Session,
    guard: &Installed,
    lineage: &str,
    silences: &[Silence],
    forget: &[String],
) -> Result<(), Error> {
    const PUT: &str = "INSERT INTO palisade.silence AS s (guard, key, counter, silent_us, run) \
        SELECT $1::integer, r.key, r.counter, r.silent_us, $2 \
        FROM json_to_recordset($3::json) AS r (key text, counter text, silent_us bigint) \
        ON CONFLICT (guard, key) DO UPDATE SET counter = excluded.counter, silent_us = excluded.silent_us, \
        run = excluded.run";
    const FORGET: &str = "DELETE FROM palisade.silence s WHERE s.guard = $1::integer \
        AND s.key IN (SELECT json_array_elements_text($2::json))";
    let id = guard.id.to_string();
    if !silences.is_empty() {
        let rows = serde_json::to_string(silences).unwrap_or_default();
        session.ask("remember silences", PUT, &[Some(&id), Some(lineage), Some(&rows)]).await?;
    }
    if !forget.is_empty() {
        let keys = serde_json::to_string(forget).unwrap_or_default();
        session.ask("forget silences", FORGET, &[Some(&id), Some(&keys)]).await?;
    }
    Ok(())
}
