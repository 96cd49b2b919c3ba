//! Shutting an app, a role or a build out at every guard of a database at once.

use palisade_postgres::{Row, Session};
use serde::Serialize;

use crate::error::Error;
use crate::table::text;

/// Who is meant. Every part that is there has to fit, and one has to be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Who {
    /// The app, by what it proved or by how it calls itself.
    pub app: Option<String>,
    /// The role that it logs in as.
    pub role: Option<String>,
    /// The epoch of its build.
    pub build: Option<String>,
}

impl Who {
    fn named(&self) -> [Option<&str>; 3] {
        [self.app.as_deref(), self.role.as_deref(), self.build.as_deref()]
    }
}

/// A quarantine in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quarantine {
    /// Its number.
    pub id: i32,
    /// Who is shut out.
    pub who: Who,
    /// Why.
    pub reason: String,
    /// Since when.
    pub at: String,
    /// By which role.
    pub by: String,
}

/// A connection that fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Connection {
    /// The server process.
    pub pid: i32,
    /// Its role.
    pub role: String,
    /// How it calls itself.
    pub app: String,
    /// From where.
    pub address: String,
    /// Other names that were seen at the same role and address, or of the same process: it may be a pooler's.
    pub others: Vec<String>,
    /// When it began, as the server writes it.
    #[serde(skip)]
    started: String,
}

const ORDER: &str =
    "INSERT INTO palisade.quarantine (app, role, build, reason) VALUES ($1, $2, $3, $4) RETURNING id::text";

/// Shuts somebody out, and answers the number of the quarantine.
///
/// # Errors
/// What the database says.
pub async fn order(session: &Session, who: &Who, reason: Option<&str>) -> Result<i32, Error> {
    let [app, role, build] = who.named();
    let rows = session.ask("begin the quarantine", ORDER, &[app, role, build, reason]).await?;
    Ok(rows.first().map(|row| text(row, 0)).unwrap_or_default().parse().unwrap_or_default())
}

/// Lets somebody in again: every quarantine in force of exactly these parts.
///
/// # Errors
/// What the database says.
pub async fn lift(session: &Session, who: &Who) -> Result<Vec<i32>, Error> {
    const LIFT: &str = "UPDATE palisade.quarantine q SET lifted_at = clock_timestamp(), lifted_by = session_user \
        WHERE q.lifted_at IS NULL AND q.app IS NOT DISTINCT FROM $1 AND q.role IS NOT DISTINCT FROM $2 \
        AND q.build IS NOT DISTINCT FROM $3 RETURNING q.id::text";
    let rows = session.ask("lift the quarantine", LIFT, &who.named()).await?;
    Ok(rows.iter().filter_map(|row| text(row, 0).parse().ok()).collect())
}

/// Every quarantine in force.
///
/// # Errors
/// What the database says.
pub async fn quarantines(session: &Session) -> Result<Vec<Quarantine>, Error> {
    const LIST: &str = "SELECT q.id::text, q.app, q.role, q.build, q.reason, q.at::text, q.by \
        FROM palisade.quarantine q WHERE q.lifted_at IS NULL ORDER BY q.id";
    let rows = session.ask("list the quarantines", LIST, &[]).await?;
    let part = |row: &Row, at: usize| row.get(at).cloned().flatten();
    let one = |row: &Row| Quarantine {
        id: text(row, 0).parse().unwrap_or_default(),
        who: Who { app: part(row, 1), role: part(row, 2), build: part(row, 3) },
        reason: text(row, 4),
        at: text(row, 5),
        by: text(row, 6),
    };
    Ok(rows.iter().map(one).collect())
}

/// The connections that fit by role and by the name that they show. A build is told by its name only.
///
/// # Errors
/// What the database says.
pub async fn connections(session: &Session, who: &Who) -> Result<Vec<Connection>, Error> {
    const CONNECTIONS: &str = "WITH seen AS (SELECT a.pid, a.usename::text AS role, a.application_name AS name, \
            coalesce(host(a.client_addr), '') AS address, a.backend_start, \
            regexp_match(a.application_name, '^([A-Za-z0-9][A-Za-z0-9._-]*)(?:/[A-Za-z0-9._-]+)?(?:@([0-9]+))?(?:[ :].*)?$') AS claim \
        FROM pg_catalog.pg_stat_activity a WHERE a.datname = current_database() AND a.backend_type = 'client backend' \
            AND a.pid <> pg_backend_pid()) \
        SELECT s.pid::text, s.role, s.name, s.address, s.backend_start::text, \
            (SELECT string_agg(DISTINCT o.name, E'\\x1f') FROM (SELECT p.name FROM seen p \
                WHERE p.role = s.role AND p.address = s.address AND p.name <> s.name \
                UNION ALL SELECT h.app FROM palisade.history h WHERE h.backend = s.pid AND h.at >= s.backend_start \
                AND h.app <> s.name) o) \
        FROM seen s WHERE ($1 IS NULL OR s.name = $1 OR s.claim[1] = $1) AND ($2 IS NULL OR s.role = $2) \
            AND ($3 IS NULL OR s.claim[2] = $3) ORDER BY s.pid";
    let rows = session.ask("look for its connections", CONNECTIONS, &who.named()).await?;
    let one = |row: &Row| Connection {
        pid: text(row, 0).parse().unwrap_or_default(),
        role: text(row, 1),
        app: text(row, 2),
        address: text(row, 3),
        started: text(row, 4),
        others: text(row, 5).split('\u{1f}').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
    };
    Ok(rows.iter().map(one).collect())
}

/// What speaks against ending connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caution {
    /// Somebody wants them kept.
    pub keep: bool,
    /// We came through a transaction pooler ourselves, so what we see there is everybody's.
    pub pooled: bool,
    /// Somebody says that there is no pooler in between.
    pub direct: bool,
}

impl Caution {
    /// Why a connection is not ended, if it is not.
    #[must_use]
    pub fn against(self, who: &Who, connection: &Connection) -> Option<String> {
        if self.keep {
            Some("kept, as asked".to_owned())
        } else if self.pooled {
            Some("kept: we came through a pooler, whose connections are everybody's".to_owned())
        } else if who.app.is_some() && !connection.others.is_empty() && !self.direct {
            let others = connection.others.join(", ");
            Some(format!(
                "kept: {others} was seen there too, so it may be a pooler's (--direct if it is none)"
            ))
        } else {
            None
        }
    }
}

/// A connection of somebody who was shut out, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// The connection.
    pub connection: Connection,
    /// What became of it, in words.
    pub result: String,
}

/// Ends the connections that fit, unless something speaks against it. One that cannot be ended keeps no other.
///
/// # Errors
/// What the database says about which connections there are.
pub async fn end_connections(session: &Session, who: &Who, caution: Caution) -> Result<Vec<Ended>, Error> {
    let mut results = Vec::new();
    for connection in connections(session, who).await? {
        let result = match caution.against(who, &connection) {
            Some(why) => why,
            None => match end(session, &connection).await {
                Ok(true) => "ended".to_owned(),
                Ok(false) => "gone by itself".to_owned(),
                Err(error) => format!("not ended: {error}"),
            },
        };
        results.push(Ended { connection, result });
    }
    Ok(results)
}

/// Ends a connection that still is the one that was looked at, under the name that it had. Answers whether it did.
///
/// # Errors
/// What the database says, as that this role may not.
pub async fn end(session: &Session, connection: &Connection) -> Result<bool, Error> {
    const END: &str = "SELECT coalesce(bool_or(pg_terminate_backend(a.pid)), false)::text FROM pg_catalog.pg_stat_activity a \
        WHERE a.pid = $1::integer AND a.backend_start = $2::timestamptz AND a.application_name = $3";
    let pid = connection.pid.to_string();
    let rows = session
        .ask("end a connection", END, &[Some(&pid), Some(&connection.started), Some(&connection.app)])
        .await?;
    Ok(rows.first().map(|row| text(row, 0)).as_deref() == Some("true"))
}

/// Other apps that were seen under a role within a week, by the names that they gave themselves.
///
/// # Errors
/// What the database says.
pub async fn sharing(session: &Session, who: &Who) -> Result<Vec<(String, Vec<String>)>, Error> {
    const SHARING: &str = "WITH seen AS (SELECT DISTINCT h.role, h.app FROM palisade.history h \
            WHERE h.at > clock_timestamp() - interval '7 days' AND h.app <> 'palisade') \
        SELECT s.role, string_agg(s.app, E'\\x1f' ORDER BY s.app) FROM seen s \
        WHERE s.app IS DISTINCT FROM $1 AND s.role IN (SELECT m.role FROM seen m WHERE m.app = $1) \
        GROUP BY s.role ORDER BY 1";
    let rows = session.ask("look who shares its role", SHARING, &[who.app.as_deref()]).await?;
    let one = |row: &Row| {
        let names = text(row, 1)
            .split('\u{1f}')
            .map(|name| if name.is_empty() { "no name".to_owned() } else { name.to_owned() })
            .collect();
        (text(row, 0), names)
    };
    Ok(rows.iter().map(one).collect())
}
