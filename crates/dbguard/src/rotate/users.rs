//! Who uses a role.

use palisade_postgres::{Row, Session};
use serde::Serialize;

use crate::error::Error;
use crate::table::text;

/// A program that uses a role, as far as the database knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// The name that it gave itself: a claim.
    pub app: String,
    /// From where.
    pub address: String,
    /// Sessions right now.
    pub sessions: u64,
    /// Entries and exits of guarded tables that it wrote.
    pub writes: u64,
    /// When last, as far as that is kept.
    pub last: String,
}

const SESSIONS: &str = "SELECT coalesce(application_name, ''), coalesce(host(client_addr), 'local'), count(*)::text, \
    '0', max(coalesce(state_change, backend_start))::text FROM pg_catalog.pg_stat_activity \
    WHERE usename = $1 AND pid <> pg_backend_pid() AND backend_type = 'client backend' GROUP BY 1, 2";

const WRITES: &str = "SELECT coalesce(h.app, ''), coalesce(host(h.address), 'local'), '0', count(*)::text, \
    max(h.at)::text FROM palisade.history h WHERE h.role = $1 AND h.at > now() - $2::interval GROUP BY 1, 2";

const LOGINS: &str = "SELECT l.app, coalesce(host(l.address), 'local'), '0', '0', max(l.at)::text \
    FROM palisade_audit.login l WHERE l.role = $1 AND l.at > now() - $2::interval GROUP BY 1, 2";

/// Who is logged in as `role`, or wrote a guarded table or logged in as it within the last `seconds`.
///
/// # Errors
/// What the database says.
pub async fn users(session: &Session, role: &str, seconds: u64) -> Result<Vec<User>, Error> {
    let mut found: Vec<User> = Vec::new();
    for row in session.ask("see who is logged in", SESSIONS, &[Some(role)]).await? {
        add(&mut found, &row);
    }
    let since = format!("{seconds} seconds");
    for (relation, what, sql) in [
        ("palisade.history", "see who wrote guarded tables", WRITES),
        ("palisade_audit.login", "see who logged in", LOGINS),
    ] {
        let there = session.rows("look what is kept", &format!("SELECT to_regclass('{relation}')")).await?;
        if there.first().and_then(|row| row.first()).is_some_and(Option::is_some) {
            for row in session.ask(what, sql, &[Some(role), Some(&since)]).await? {
                add(&mut found, &row);
            }
        }
    }
    Ok(found)
}

fn add(found: &mut Vec<User>, row: &Row) {
    let number = |at: usize| text(row, at).parse().unwrap_or_default();
    let user = User {
        app: text(row, 0),
        address: text(row, 1),
        sessions: number(2),
        writes: number(3),
        last: text(row, 4),
    };
    match found.iter_mut().find(|known| (&known.app, &known.address) == (&user.app, &user.address)) {
        Some(known) => {
            known.sessions += user.sessions;
            known.writes += user.writes;
            known.last = user.last.max(known.last.clone());
        }
        None => found.push(user),
    }
}
