//! What happened to one job.

use palisade_postgres::{Row, Session};
use serde::Serialize;

use crate::error::Error;
use crate::installed::Installed;
use crate::table::text;

/// One recorded event of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When.
    pub at: String,
    /// `entry`, `exit`, `set-back`, `undo`.
    pub event: String,
    /// The state before.
    pub was: Option<String>,
    /// The state after; `DELETE` for a deleted row.
    pub became: Option<String>,
    /// The reason that came with it.
    pub reason: Option<String>,
    /// How old the last beat was.
    pub age: Option<String>,
    /// Why it passed.
    pub ground: Option<String>,
    /// The number behind `PAL-` of the rule that it broke, in observe.
    pub code: Option<u16>,
    /// The client's name for itself: a claim.
    pub app: String,
    /// The role that it logged in as.
    pub role: String,
    /// From where.
    pub address: String,
    /// The server process.
    pub backend: String,
    /// The transaction, for `db undo --op`.
    pub transaction: String,
    /// The statement without its values.
    pub statement: Option<String>,
    /// Who it proved to be, as `app/environment`.
    pub identity: Option<String>,
    /// The lease and the term that it held, as `LEASE term N`.
    pub term: Option<String>,
    /// The epoch of its build.
    pub epoch: Option<String>,
}

const STORY: &str = "SELECT h.at::text, h.event, h.was, h.became, h.reason, date_trunc('second', h.age)::text, \
    h.ground, h.code::text, coalesce(h.app, ''), h.role, coalesce(host(h.address), 'a local socket'), \
    h.backend::text, h.xid::text, h.statement, h.identity, h.lease || ' term ' || h.term, h.epoch::text \
    FROM palisade.history h \
    WHERE h.guard = $1::int AND h.key = $2 ORDER BY h.at DESC, h.id DESC LIMIT 100";

/// The last hundred events of the job with that key, newest first.
///
/// # Errors
/// What the database says.
pub async fn story(session: &Session, guard: &Installed, key: &str) -> Result<Vec<Event>, Error> {
    let id = guard.id.to_string();
    let rows = session.ask("read the job's history", STORY, &[Some(&id), Some(key)]).await?;
    Ok(rows.iter().map(event).collect())
}

fn event(row: &Row) -> Event {
    let optional = |at: usize| row.get(at).cloned().flatten();
    Event {
        at: text(row, 0),
        event: text(row, 1),
        was: optional(2),
        became: optional(3),
        reason: optional(4),
        age: optional(5),
        ground: optional(6),
        code: optional(7).and_then(|code| code.parse().ok()),
        app: text(row, 8),
        role: text(row, 9),
        address: text(row, 10),
        backend: text(row, 11),
        transaction: text(row, 12),
        statement: optional(13),
        identity: optional(14),
        term: optional(15),
        epoch: optional(16),
    }
}
