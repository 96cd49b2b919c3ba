//! What only the server itself can tell: its log, its login trigger, its sessions.

use std::collections::BTreeSet;

use palisade_audit::log::{Format, Prefix};
use palisade_audit::{Client, Collector, Sighting, Tally};
use palisade_postgres::{Row, Session};
use serde::Serialize;

use crate::error::Error;
use crate::table::text;

/// How much of a log one statement reads.
const PIECE: u64 = 1024 * 1024;

/// How a server logs, as far as this role may know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Logging {
    /// `log_line_prefix`.
    pub prefix: String,
    /// Whether every login is logged.
    pub connections: bool,
    /// Whether statements that change the schema are.
    pub ddl: bool,
    /// Whether the messages are English.
    pub english: bool,
    /// Whether this role can read the log through SQL.
    pub readable: bool,
}

/// A file of the server's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Its path on the server.
    pub path: String,
    /// Its format.
    pub format: Format,
}

const LOGGING: &str = "SELECT current_setting('log_line_prefix'), \
    current_setting('log_connections') NOT IN ('off', '', 'false', 'no', '0'), \
    current_setting('log_statement') <> 'none', \
    current_setting('lc_messages') ~* '^(c|posix|en|)([._@].*)?$', \
    current_setting('logging_collector') = 'on' \
    AND has_function_privilege('pg_read_binary_file(text, bigint, bigint, boolean)', 'EXECUTE') \
    AND has_function_privilege('pg_current_logfile(text)', 'EXECUTE')";

/// How the server logs, and in which files, the newest last. `since` in seconds leaves out files that were not written
/// since then.
///
/// # Errors
/// What the database says.
pub async fn logging(session: &Session, since: u64) -> Result<(Logging, Vec<LogFile>), Error> {
    let row = session.rows("say how it logs", LOGGING).await?.into_iter().next().unwrap_or_default();
    let yes = |at: usize| text(&row, at) == "t";
    let mut logging = Logging {
        prefix: text(&row, 0),
        connections: yes(1),
        ddl: yes(2),
        english: yes(3),
        readable: yes(4),
    };
    if !logging.readable {
        return Ok((logging, Vec::new()));
    }
    let Some((destination, format)) = best(session, &logging.prefix).await? else {
        logging.readable = false;
        return Ok((logging, Vec::new()));
    };
    let suffix = destination.rsplit_once('.').map_or(String::new(), |(_, suffix)| format!(".{suffix}"));
    let folder = destination.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
    let since = format!("{since} seconds");
    let list = "SELECT name FROM pg_ls_logdir() WHERE right(name, length($1)) = $1 \
        AND modification > now() - $2::interval ORDER BY modification, name";
    let names = session.ask("list its logs", list, &[Some(&suffix), Some(&since)]).await?;
    let file = |row: &Row| LogFile { path: format!("{folder}/{}", text(row, 0)), format: format.clone() };
    Ok((logging, names.iter().map(file).collect()))
}

/// The log that says most: with fields in places of their own before the plain one.
async fn best(session: &Session, prefix: &str) -> Result<Option<(String, Format)>, Error> {
    for name in ["jsonlog", "csvlog", "stderr"] {
        let found = match session.ask("name its log", "SELECT pg_current_logfile($1)", &[Some(name)]).await {
            Ok(rows) => rows.into_iter().next().and_then(|row| row.into_iter().next().flatten()),
            // Before 15 there is no jsonlog.
            Err(error) if matches!(error.sqlstate(), Some("22023" | "42501")) => None,
            Err(error) => return Err(error.into()),
        };
        let Some(path) = found else { continue };
        let format = match name {
            "jsonlog" => Format::Json,
            "csvlog" => Format::Csv,
            _ => Format::Plain(
                Prefix::parse(prefix).map_err(|error| Error::Log { problem: error.to_string() })?,
            ),
        };
        return Ok(Some((path, format)));
    }
    Ok(None)
}

/// The bytes of a log from there on, at most a mebibyte; nothing at its end.
///
/// # Errors
/// What the database says.
pub async fn read_log(session: &Session, path: &str, from: u64) -> Result<Vec<u8>, Error> {
    let sql = "SELECT encode(pg_read_binary_file($1, $2::bigint, $3::bigint, true), 'hex')";
    let (from, piece) = (from.to_string(), PIECE.to_string());
    let rows = session.ask("read its log", sql, &[Some(path), Some(&from), Some(&piece)]).await?;
    let hex = rows.first().map(|row| text(row, 0)).unwrap_or_default();
    let digit = |byte: u8| (byte as char).to_digit(16).map_or(0, |digit| digit as u8);
    Ok(hex.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect())
}

const LOGINS: &str = "SELECT app, role, coalesce(host(address), 'local'), count(*)::text, min(at)::text, max(at)::text \
    FROM palisade_audit.login WHERE at > now() - $1::interval GROUP BY 1, 2, 3";

/// What the login trigger kept within the last `seconds`, added to `collector`. Says whether there is such a trigger.
///
/// # Errors
/// What the database says.
pub async fn logins(session: &Session, seconds: u64, collector: &mut Collector) -> Result<bool, Error> {
    let there = "SELECT to_regclass('palisade_audit.login') IS NOT NULL AND EXISTS \
        (SELECT FROM pg_catalog.pg_event_trigger WHERE evtname = 'palisade_login' AND evtenabled <> 'D'), current_database()";
    let row = session.rows("look for a login trigger", there).await?.into_iter().next().unwrap_or_default();
    if text(&row, 0) != "t" {
        return Ok(false);
    }
    let database = text(&row, 1);
    let since = format!("{seconds} seconds");
    let rows = session.ask("read who logged in", LOGINS, &[Some(&since)]).await?;
    for row in &rows {
        let client = Client {
            app: text(row, 0),
            role: text(row, 1),
            database: database.clone(),
            address: text(row, 2),
        };
        let tally = Tally {
            times: text(row, 3).parse().unwrap_or_default(),
            first: text(row, 4),
            last: text(row, 5),
        };
        collector.add(Sighting::Client(client), &tally, &mut |_| {});
    }
    Ok(true)
}

const SESSIONS: &str = "SELECT pid, backend_start, application_name, usename, datname, \
    coalesce(host(client_addr), 'local'), clock_timestamp() FROM pg_catalog.pg_stat_activity \
    WHERE backend_type = 'client backend' AND datname = current_database() AND pid <> pg_backend_pid() \
    AND application_name IS NOT NULL";

/// Who is connected right now, added to `collector`. `known` has the sessions that were counted, with their names.
///
/// # Errors
/// What the database says.
pub async fn sample(
    session: &Session,
    known: &mut BTreeSet<(String, String, String)>,
    collector: &mut Collector,
) -> Result<(), Error> {
    let rows = session.rows("say who is connected", SESSIONS).await?;
    let mut there = BTreeSet::new();
    for row in &rows {
        let key = (text(row, 0), text(row, 1), text(row, 2));
        let client =
            Client { app: text(row, 2), role: text(row, 3), database: text(row, 4), address: text(row, 5) };
        if !known.contains(&key) {
            collector.count(Sighting::Client(client), &text(row, 6), &mut |_| {});
        }
        there.insert(key);
    }
    *known = there;
    Ok(())
}
