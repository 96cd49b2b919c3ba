//! What a reaper does to a guarded table: look who runs, and give silent jobs back.
//!
//! Who is silent is not decided here: [`look`] gives what changes with each beat, and never an age. [`reap`] is one
//! transaction, fenced by the reaper's lease, and compares the row once more at the write. The guard's own rule
//! stands behind it, as behind every client.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use palisade_core::Intended;
use palisade_postgres::{RowError, Session, TypedRow};
use serde::Serialize;

use crate::columns::Columns;
use crate::error::Error;
use crate::installed::Installed;
use crate::proof::AppKey;
use crate::quote;
use crate::table::{Table, text};

/// What the database says where a term is over: PAL-322.
const TERM_OVER: &str = "PL322";

/// A running job, as one look saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its key.
    pub key: Arc<str>,
    /// What changes with each beat.
    pub beat: Beat,
    /// The parts of a key of several columns, as JSON; `None` where the key is one column.
    pub parts: Option<Box<str>>,
}

/// What changes with each beat of a job. It is compared for equality only, here and in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Beat {
    /// The heartbeat, as the eight bytes that the database sends of it. They do not depend on what a session shows dates
    /// as, which behind a pooler is anybody's setting.
    At([u8; 8]),
    /// There is none yet: the version of the row.
    Row([u8; 4]),
}

/// Text that is no beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no heartbeat as a reaper keeps it: take 16 or 8 digits in hex")]
pub struct NoBeat;

impl TryFrom<&[u8]> for Beat {
    type Error = NoBeat;

    fn try_from(bytes: &[u8]) -> Result<Self, NoBeat> {
        let at = <[u8; 8]>::try_from(bytes).map(Self::At);
        at.or_else(|_| <[u8; 4]>::try_from(bytes).map(Self::Row)).map_err(|_| NoBeat)
    }
}

/// In hex, as the database compares it.
impl fmt::Display for Beat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: &[u8] = match self {
            Self::At(bytes) => bytes,
            Self::Row(bytes) => bytes,
        };
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Beat {
    type Err = NoBeat;

    fn from_str(text: &str) -> Result<Self, NoBeat> {
        let digits = text.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap_or_default());
        let bytes: Vec<u8> =
            digits.map(|two| u8::from_str_radix(two, 16)).collect::<Result<_, _>>().map_err(|_| NoBeat)?;
        Self::try_from(bytes.as_slice())
    }
}

/// A job that shall be given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// As it was seen.
    pub seen: &'a Running,
    /// What its column of reasons shall say.
    pub reason: String,
}

impl Wanted<'_> {
    /// The row that the statement reads it from.
    fn row(&self) -> serde_json::Value {
        let Running { key, beat, parts } = self.seen;
        let parts = parts.as_deref().and_then(|parts| serde_json::from_str(parts).ok());
        let mut row = parts.unwrap_or_else(|| serde_json::json!({ "k0": **key }));
        row["key"] = (**key).into();
        row["beat"] = beat.to_string().into();
        row["reason"] = self.reason.as_str().into();
        row
    }
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

/// Under what jobs are reaped: a lease that is in force, an identity, a recorded intent.
#[derive(Debug, Clone, Copy)]
pub struct Fence<'a> {
    /// Its name.
    pub lease: &'a str,
    /// Its term.
    pub term: u64,
    /// Its holder.
    pub holder: &'a str,
    /// The key of the app that reaps, and the moment of its proof in seconds since 1970. Without it the transaction
    /// bears no identity, and a guard that asks for one refuses it.
    pub identity: Option<(&'a AppKey, u64)>,
    /// That the pass is recorded.
    pub intended: &'a Intended,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// The job's key.
    pub key: Arc<str>,
    /// The beat that did not change.
    pub beat: Beat,
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

/// What changes with each beat, as bytes: they cost the server little, and the wire too.
fn beat(columns: &Columns) -> String {
    let send =
        if columns.beat_kind().contains("with time zone") { "timestamptz_send" } else { "timestamp_send" };
    format!("coalesce(pg_catalog.{send}({}), pg_catalog.xidsend(t.xmin))", columns.beat_of("t"))
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
    let us = |moment: &str| format!("(extract(epoch FROM {moment}) * 1000000)::bigint");
    // What is the same for all stands in a row of its own: a volatile clock would be asked for each job.
    let sql = format!(
        "SELECT {} AS run, {} AS us, (SELECT count(*) FROM palisade.change c WHERE c.guard = {}) AS policy, \
           NULL::text AS key, NULL::bytea AS beat, NULL::text AS parts \
         UNION ALL SELECT NULL, NULL, NULL, {}, {}, {} FROM {} t WHERE {}",
        us("pg_postmaster_start_time()"),
        us("clock_timestamp()"),
        guard.id,
        columns.key_of("t"),
        beat(columns),
        columns.parts_of("t"),
        table.qualified(),
        columns.runs("t", &guard.rules.running),
    );
    let mut look = Look { server_run: 0, server_us: 0, policy: 0, running: Vec::new() };
    for line in session.read("look who runs", &sql, &[], line).await? {
        match line {
            Line::Running(running) => look.running.push(running),
            Line::Server { run, us, policy } => {
                (look.server_run, look.server_us, look.policy) = (run, us, policy);
            }
        }
    }
    Ok(look)
}

/// A row of a look.
enum Line {
    Server { run: u64, us: u64, policy: u64 },
    Running(Running),
}

fn line(row: &TypedRow) -> Result<Line, RowError> {
    let Some(key) = row.try_get::<_, Option<&str>>(3)? else {
        let number = |at: usize| Ok(u64::try_from(row.try_get::<_, i64>(at)?).unwrap_or_default());
        return Ok(Line::Server { run: number(0)?, us: number(1)?, policy: number(2)? });
    };
    // Two functions of the server give eight bytes or four, and nothing else.
    let beat = Beat::try_from(row.try_get::<_, &[u8]>(4)?).unwrap_or(Beat::Row([0; 4]));
    let parts = row.try_get::<_, Option<&str>>(5)?.map(Box::from);
    Ok(Line::Running(Running { key: Arc::from(key), beat, parts }))
}

/// Gives jobs back to the state `to`, each if it is as it was seen, and none if the lease is not in force. One
/// transaction, and one answer for each of `wanted`, in its order. A row that somebody else holds is left alone: who
/// works on it may be alive, and nobody waits for a reaper's locks in a circle.
///
/// # Errors
/// What the database says, the guard's refusal among it. Nothing was written then.
pub async fn reap(
    session: &Session,
    guard: &Installed,
    table: &Table,
    columns: &Columns,
    fence: Fence<'_>,
    to: &str,
    wanted: &[Wanted<'_>],
) -> Result<Vec<Reaped>, Error> {
    let sql = statement(guard, table, columns, fence.identity.is_some());
    let rows = serde_json::Value::Array(wanted.iter().map(Wanted::row).collect()).to_string();
    let term = fence.term.to_string();
    let mut parameters = vec![Some(fence.lease), Some(&term), Some(fence.holder), Some(&rows), Some(to)];
    let proof = fence.identity.map(|(key, at_s)| key.proof(at_s));
    if let (Some((key, _)), Some(proof)) = (fence.identity, &proof) {
        parameters.extend([Some(key.app.as_str()), Some(key.environment.as_str()), Some(proof)]);
    }
    let answer = match session.ask("give jobs back", &sql, &parameters).await {
        Err(error) if error.sqlstate() == Some(TERM_OVER) => Vec::new(),
        answer => answer?,
    };
    let in_force = answer.first().is_some_and(|row| text(row, 0) == "1");
    let taken: HashSet<String> = answer.iter().skip(1).map(|row| text(row, 1)).collect();
    let reaped = wanted.iter().map(|wanted| match in_force {
        false => Reaped::TermOver,
        true if taken.contains(&*wanted.seen.key) => Reaped::Taken,
        true => Reaped::Refuted,
    });
    Ok(reaped.collect())
}

/// One statement, so that it is a transaction of its own, also behind a pooler, and a reaper that stops in the middle
/// of it leaves no lock. Parameters: lease, term, holder, rows, state, and then app, environment and proof.
fn statement(guard: &Installed, table: &Table, columns: &Columns, proves: bool) -> String {
    let who = match proves {
        true => "palisade.begin($6, $7, $8, $1, $2::bigint)",
        false => "'nobody'",
    };
    let keys = columns.key_kinds();
    let pick = |say: &dyn Fn(&str, &str, &str) -> String, between: &str| {
        let parts = keys.iter().map(|(part, name, kind)| say(part, &quote::name(name), kind));
        parts.collect::<Vec<_>>().join(between)
    };
    format!(
        "WITH who AS MATERIALIZED (SELECT {who}), \
         fence AS MATERIALIZED (SELECT 1 FROM who, palisade.lease l WHERE l.name = $1 AND l.term = $2::bigint \
           AND l.holder = $3 AND l.expires_at > clock_timestamp() FOR KEY SHARE OF l), \
         wanted AS MATERIALIZED (SELECT w.* FROM fence, \
           json_to_recordset($4::json) AS w (key text, beat text, reason text, {declared})), \
         picked AS MATERIALIZED (SELECT w.* FROM wanted w, {table} t WHERE {same_w} AND {runs} \
           AND {beat} = w.beat FOR UPDATE OF t SKIP LOCKED), \
         taken AS (UPDATE {table} t SET {status} = $5::{kind}{reason} FROM picked p \
           WHERE {same_p} AND {runs} AND {beat} = p.beat RETURNING p.key) \
         SELECT (SELECT count(*) FROM fence)::text, NULL::text UNION ALL SELECT NULL, taken.key FROM taken",
        declared = pick(&|part, _, kind| format!("{part} {kind}"), ", "),
        same_w = pick(&|part, name, _| format!("t.{name} = w.{part}"), " AND "),
        same_p = pick(&|part, name, _| format!("t.{name} = p.{part}"), " AND "),
        table = table.qualified(),
        status = quote::name(columns.status_name()),
        kind = columns.status_kind(),
        reason = columns
            .reason_name_and_kind()
            .map(|(name, kind)| format!(", {} = p.reason::{kind}", quote::name(name)))
            .unwrap_or_default(),
        runs = columns.runs("t", &guard.rules.running),
        beat = format_args!("pg_catalog.encode({}, 'hex')", beat(columns)),
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
    const THERE: &str = "SELECT to_regclass('palisade.silence')";
    let rows = session.rows("look for the table of silences", THERE).await?;
    if rows.first().and_then(|row| row.first()).is_some_and(Option::is_some) {
        return Ok(());
    }
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
    // What an older version kept in another form is no beat of today, and begins anew.
    let silence = |row: &palisade_postgres::Row| {
        let beat = text(row, 1).parse().ok()?;
        Some(Silence { key: text(row, 0).into(), beat, silent_us: text(row, 2).parse().unwrap_or_default() })
    };
    Ok(rows.iter().filter_map(silence).collect())
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
    forget: &[Arc<str>],
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
        let row = |silence: &Silence| {
            let Silence { key, beat, silent_us } = silence;
            serde_json::json!({ "key": **key, "counter": beat.to_string(), "silent_us": silent_us })
        };
        let rows = serde_json::Value::Array(silences.iter().map(row).collect()).to_string();
        session.ask("remember silences", PUT, &[Some(&id), Some(lineage), Some(&rows)]).await?;
    }
    if !forget.is_empty() {
        let keys: Vec<&str> = forget.iter().map(|key| &**key).collect();
        let keys = serde_json::to_string(&keys).unwrap_or_default();
        session.ask("forget silences", FORGET, &[Some(&id), Some(&keys)]).await?;
    }
    Ok(())
}
