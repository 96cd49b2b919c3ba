//! Who was refused, though the refusal rolled back: by the strongest channel that this server allows this role.

use std::collections::BTreeMap;
use std::fmt;

use palisade_audit::log::Reader;
use palisade_audit::{Collector, Sighting};
use palisade_postgres::{Row, Session};
use serde::Serialize;

use crate::audit::{logging, read_log};
use crate::error::Error;
use crate::table::text;

/// Bytes of log that a report reads at most, the newest files first.
const MOST: u64 = 64 * 1024 * 1024;

/// How refusals can be attributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// Lines of the server's log: every refusal, with role, claimed name, address and process.
    Log,
    /// Marks that sessions carry until they end, beside the count.
    Sessions,
    /// Marks of this role's own sessions, beside the count.
    OwnSessions,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "each refusal is a line in the server's log, with role, name, address and process",
            Self::Sessions => {
                "count only for clients that have gone; one that is still connected bears a mark, which behind a pooler may \
                 show the next client's name. Every refusal is a line in the server's log, which this role may not read"
            }
            Self::OwnSessions => {
                "count only, but for sessions of this role that are still connected. Every refusal is a line in the server's \
                 log, which this role may not read"
            }
        })
    }
}

/// Equal refusals of one client, together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The number behind `PAL-`.
    pub code: u16,
    /// The name that the client gave itself: a claim.
    pub app: String,
    /// The role.
    pub role: String,
    /// From where.
    pub address: String,
    /// How often; from marks at least that often.
    pub times: u64,
    /// When last; empty where a mark does not say.
    pub last: String,
}

const MARKS: &str = "SELECT l.objid::text, coalesce(a.application_name, ''), coalesce(a.usename, ''), \
    coalesce(host(a.client_addr), 'local'), count(*)::text FROM pg_catalog.pg_locks l \
    JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
    WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.database = (SELECT oid FROM pg_catalog.pg_database \
        WHERE datname = current_database()) AND l.classid::bigint = hashtext('palisade.refused')::bigint & 4294967295 \
    AND a.usename IS NOT NULL AND a.application_name IS NOT NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4";

/// Who was refused within the last `seconds`, and how much of that can be known. `sees_sessions` is whether this role
/// sees sessions of others.
///
/// # Errors
/// What the database says.
pub async fn refused(
    session: &Session,
    seconds: u64,
    sees_sessions: bool,
) -> Result<(Channel, Vec<Refused>), Error> {
    let (settings, files) = logging(session, seconds).await?;
    if settings.readable {
        let mut collector = Collector::default();
        let mut left = MOST;
        for file in files.iter().rev() {
            let mut reader = Reader::new(file.format.clone());
            let mut from = 0;
            while left > 0 {
                let bytes = read_log(session, &file.path, from).await?;
                if bytes.is_empty() {
                    break;
                }
                from += bytes.len() as u64;
                left = left.saturating_sub(bytes.len() as u64);
                reader.push(&bytes, &mut |record| collector.take(record, &mut |_| {}));
            }
            reader.finish(&mut |record| collector.take(record, &mut |_| {}));
        }
        let here = session.rows("name itself", "SELECT current_database()").await?;
        let here = here.first().map(|row| text(row, 0)).unwrap_or_default();
        return Ok((Channel::Log, from_log(&collector, &here)));
    }
    let marks = session.ask("read the marks of refusals", MARKS, &[]).await?;
    let channel = if sees_sessions { Channel::Sessions } else { Channel::OwnSessions };
    Ok((channel, marks.iter().map(mark).collect()))
}

/// Refusals of this database that a log shows; one whose line does not name its database counts.
fn from_log(collector: &Collector, database: &str) -> Vec<Refused> {
    let mut found: BTreeMap<(u16, String, String, String), (u64, String)> = BTreeMap::new();
    for (sighting, tally) in collector.seen() {
        let Sighting::Refused { client, code, refused: true } = sighting else { continue };
        if client.database.is_empty() || client.database == database {
            let key = (*code, client.app.clone(), client.role.clone(), client.address.clone());
            let known = found.entry(key).or_default();
            known.0 += tally.times;
            known.1.clone_from(&tally.last);
        }
    }
    let one = |((code, app, role, address), (times, last))| Refused { code, app, role, address, times, last };
    found.into_iter().map(one).collect()
}

fn mark(row: &Row) -> Refused {
    Refused {
        code: text(row, 0).parse().unwrap_or_default(),
        app: text(row, 1),
        role: text(row, 2),
        address: text(row, 3),
        times: text(row, 4).parse().unwrap_or_default(),
        last: String::new(),
    }
}
