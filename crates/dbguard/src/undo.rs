//! Giving wrongly taken jobs back.

use std::time::Duration;

use palisade_core::Intended;
use palisade_postgres::{Row, Session};
use serde::Serialize;

use crate::error::Error;
use crate::installed::Installed;
use crate::quote;
use crate::script::Columns;
use crate::table::{Table, text};
use crate::work::settled;

/// Which exits shall be undone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// How far back.
    pub since: Duration,
    /// Only those of a client that called itself so.
    pub app: Option<String>,
    /// Only those of this transaction.
    pub transaction: Option<String>,
    /// Into which state, instead of the one that each job left.
    pub to: Option<String>,
}

/// Whether a job can be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Now {
    /// It is as the exit left it.
    Untouched,
    /// Somebody changed it since; it is left alone.
    Changed,
    /// Its row is gone, and with it what it held.
    Gone,
}

/// One exit, and what could be done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// The number of the record.
    #[serde(skip)]
    id: i64,
    /// The job.
    pub key: String,
    /// The state that it left.
    pub was: String,
    /// The state that it went into.
    pub became: String,
    /// When.
    pub at: String,
    /// The client's name for itself.
    pub app: String,
    /// Its role.
    pub role: String,
    /// The transaction.
    pub transaction: String,
    /// How old the last beat was.
    pub age: String,
    /// Whether it can be given back.
    pub now: Now,
}

/// The last exit of each job in question. Exits into states of `--done` and `--own` are a worker's own.
///
/// # Errors
/// [`Error::Unfit`] if a column of the guard is gone, or what the database says.
pub async fn undoable(
    session: &Session,
    guard: &Installed,
    table: &Table,
    wanted: &Wanted,
) -> Result<Vec<Target>, Error> {
    let columns = columns(guard, table)?;
    let sql = format!(
        "SELECT x.id::text, x.key, x.was, x.became, x.at::text, coalesce(x.app, ''), x.role, x.xid::text, \
         coalesce(date_trunc('second', x.age)::text, 'unknown'), CASE WHEN t IS NULL THEN 'gone' \
         WHEN palisade.content(t) = x.content THEN 'untouched' ELSE 'changed' END \
         FROM (SELECT DISTINCT ON (h.key) h.* FROM palisade.history h WHERE h.guard = {} AND h.event = 'exit' \
         AND h.at > now() - $1::interval AND coalesce(h.ground, '') NOT IN ('done', 'own') \
         AND ($2::text IS NULL OR h.app = $2) AND ($3::text IS NULL OR h.xid::text = $3) \
         ORDER BY h.key, h.at DESC, h.id DESC) x LEFT JOIN {} t ON {} = x.key ORDER BY x.at, x.id",
        guard.id,
        table.qualified(),
        columns.key_of("t"),
    );
    let since = format!("{} seconds", wanted.since.as_secs());
    let parameters = [Some(since.as_str()), wanted.app.as_deref(), wanted.transaction.as_deref()];
    let rows = session.ask("read what can be undone", &sql, &parameters).await?;
    Ok(rows.iter().map(target).collect())
}

/// Gives the untouched ones back, in one transaction, once that is recorded as `_intended`. Each row is compared again in the statement that writes it.
///
/// # Errors
/// [`Error::Unfit`] if a column of the guard is gone, or what the database says. Then none was given back.
pub async fn undo(
    session: &Session,
    guard: &Installed,
    table: &Table,
    targets: &[Target],
    wanted: &Wanted,
    _intended: &Intended,
) -> Result<Vec<String>, Error> {
    let columns = columns(guard, table)?;
    let ids: Vec<_> = targets
        .iter()
        .filter(|target| target.now == Now::Untouched)
        .map(|target| target.id.to_string())
        .collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = statement(guard, table, &columns, &ids, wanted.to.as_deref());
    let given = settled(session, session.rows("give the jobs back", &sql).await).await?;
    Ok(given.iter().map(|row| text(row, 0)).collect())
}

fn statement(
    guard: &Installed,
    table: &Table,
    columns: &Columns,
    ids: &[String],
    to: Option<&str>,
) -> String {
    let state = to.map_or("h.was".to_owned(), quote::text);
    let reason = columns
        .reason_name_and_kind()
        .map(|(name, kind)| format!(", {} = h.reason_was::{kind}", quote::name(name)));
    format!(
        "BEGIN; SET LOCAL lock_timeout = '2s'; \
         WITH given AS (UPDATE {name} t SET {status} = ({state})::{kind}{reason} FROM palisade.history h \
         WHERE h.id IN ({ids}) AND {key} = h.key AND palisade.content(t) = h.content \
         RETURNING h.key, h.was, h.became), \
         written AS (INSERT INTO palisade.history (guard, event, key, was, became) \
         SELECT {guard}, 'undo', g.key, g.became, {noted} FROM given g) \
         SELECT key FROM given ORDER BY 1; \
         COMMIT",
        name = table.qualified(),
        status = quote::name(columns.status_name()),
        kind = columns.status_kind(),
        reason = reason.unwrap_or_default(),
        ids = ids.join(", "),
        key = columns.key_of("t"),
        guard = guard.id,
        noted = to.map_or("g.was".to_owned(), quote::text),
    )
}

fn columns(guard: &Installed, table: &Table) -> Result<Columns, Error> {
    if guard.claimed {
        return Err(table.unfit(
            "a job of it is free once its claim is gone, and is taken up again: nothing has to be given back"
                .to_owned(),
        ));
    }
    Columns::numbered(table, guard)
        .ok_or_else(|| table.unfit("a column that its guard reads is gone".to_owned()))
}

fn target(row: &Row) -> Target {
    Target {
        id: text(row, 0).parse().unwrap_or_default(),
        key: text(row, 1),
        was: text(row, 2),
        became: text(row, 3),
        at: text(row, 4),
        app: text(row, 5),
        role: text(row, 6),
        transaction: text(row, 7),
        age: text(row, 8),
        now: match text(row, 9).as_str() {
            "untouched" => Now::Untouched,
            "gone" => Now::Gone,
            _ => Now::Changed,
        },
    }
}
