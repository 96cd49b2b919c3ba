//! The age of the history: a ring of days, of which the old ones are emptied.

use std::time::Duration;

use palisade_postgres::Session;
use serde::Serialize;

use crate::error::Error;
use crate::table::text;

/// How long the history is kept unless somebody says otherwise.
pub const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// What became of one day that holds rows older than what is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// The partition.
    pub day: String,
    /// The time of its newest row.
    pub until: String,
    /// How large it was, with its indexes.
    pub bytes: u64,
    /// What became of it; a day that somebody reads is left for the next time.
    pub done: String,
}

/// Empties the days that are older than `keep`, or with `dry` only says which. No app waits for it: none writes to a day
/// that is over.
///
/// # Errors
/// [`Error::Unguarded`] where Palisade was never used, or what the database says.
pub async fn prune(session: &Session, keep: Duration, dry: bool) -> Result<Vec<Pruned>, Error> {
    const PRUNE: &str = "SELECT p.day, p.until::text, p.bytes::text, p.done \
        FROM palisade.prune($1::interval, $2::boolean) p";
    let there = "SELECT (to_regclass('palisade.history') IS NOT NULL)::text";
    let rows = session.ask("look for a history", there, &[]).await?;
    if rows.first().is_none_or(|row| text(row, 0) != "true") {
        return Err(Error::Unguarded { table: "this database".to_owned() });
    }
    let (keep, dry) = (format!("{} seconds", keep.as_secs()), dry.to_string());
    let rows = session.ask("prune the history", PRUNE, &[Some(&keep), Some(&dry)]).await?;
    let pruned = |row| Pruned {
        day: text(row, 0),
        until: text(row, 1),
        bytes: text(row, 2).parse().unwrap_or_default(),
        done: text(row, 3),
    };
    Ok(rows.iter().map(pruned).collect())
}

/// The time of the oldest row, if it is older than what is kept by more than a day.
///
/// # Errors
/// What the database says.
pub async fn overdue(session: &Session) -> Result<Option<String>, Error> {
    const OLDEST: &str = "SELECT h.at::text FROM (SELECT h.at FROM palisade.history h ORDER BY h.id LIMIT 1) h \
        WHERE h.at < now() - $1::interval";
    let limit = format!("{} seconds", KEPT.as_secs() + 86_400);
    let rows = session.ask("look how old the history is", OLDEST, &[Some(&limit)]).await?;
    Ok(rows.first().map(|row| text(row, 0)))
}
