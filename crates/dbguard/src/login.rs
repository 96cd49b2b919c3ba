//! The login trigger of PostgreSQL 17 and later: who logged in to this database, also without a log.

use palisade_postgres::Session;
use serde::Serialize;

use crate::audit;
use crate::error::Error;
use crate::rules::Mode;
use crate::script::OWNER;
use crate::table::text;
use crate::work::settled;

const SQL: &str = include_str!("sql/login.sql");

const REMOVE: &str = "BEGIN;\nDROP EVENT TRIGGER IF EXISTS palisade_login;\n\
    DROP FUNCTION IF EXISTS palisade_audit.logged_in(), palisade_audit.objection();\nDROP TABLE IF EXISTS palisade_audit.login;\n\
    DO $palisade$ BEGIN\n  IF to_regnamespace('palisade_audit') IS NOT NULL AND to_regrole('palisade_owner') IS NOT NULL THEN\n    \
    REVOKE USAGE ON SCHEMA palisade_audit FROM palisade_owner;\n  END IF;\nEND $palisade$;\nCOMMIT;\n";

/// The whole SQL that makes the trigger, or makes it anew with another mode. One transaction.
#[must_use]
pub fn install_sql(schema_there: bool, mode: Mode) -> String {
    let (enforce, word) = match mode {
        Mode::Observe => ("false", "would be refused"),
        Mode::Enforce => ("true", "refused"),
    };
    let trigger = SQL.replace("{enforce}", enforce).replace("{word}", word);
    let schema = if schema_there { "" } else { audit::SCHEMA };
    format!(
        "BEGIN;\nSET LOCAL check_function_bodies = off;\n{schema}DO $palisade$ BEGIN\n  IF to_regrole('{OWNER}') IS NULL THEN\n    CREATE ROLE {OWNER} NOLOGIN;\n  \
         END IF;\nEND $palisade$;\n{trigger}COMMIT;\n"
    )
}

/// The whole SQL that takes the trigger away, with what it kept.
#[must_use]
pub fn remove_sql() -> &'static str {
    REMOVE
}

/// What [`install_sql`] has to know of a database.
///
/// # Errors
/// [`Error::Rules`] before PostgreSQL 17, which has no login triggers, on a standby, and for a trigger that shall refuse
/// where nothing is known that it could refuse by.
pub async fn fit(session: &Session, mode: Mode) -> Result<bool, Error> {
    let sql = "SELECT to_regnamespace('palisade_audit') IS NOT NULL, current_setting('server_version_num')::int >= 170000, \
        pg_is_in_recovery(), current_database(), \
        (SELECT pg_get_userbyid(n.nspowner) FROM pg_catalog.pg_namespace n WHERE n.nspname = 'palisade')";
    let row = session.rows("look for a login trigger", sql).await?.into_iter().next().unwrap_or_default();
    if text(&row, 1) != "t" {
        return Err(Error::Rules {
            problem:
                "login triggers need PostgreSQL 17: read the server's log instead, with palisade db audit"
                    .to_owned(),
        });
    }
    if text(&row, 2) == "t" {
        return Err(Error::Rules { problem: "this is a standby: install it on the primary".to_owned() });
    }
    if mode == Mode::Enforce && text(&row, 4) != OWNER {
        let problem = match text(&row, 4).as_str() {
            "" => "it refuses by stamp, bindings, quarantines and epochs, and there are none: palisade db stamp \
                   --environment E"
                .to_owned(),
            owner => format!(
                "the guards here belong to {owner}: a login is refused only by what belongs to a role that nobody \
                 logs in as, so stamp and install them as a superuser first"
            ),
        };
        return Err(Error::Rules { problem });
    }
    Ok(text(&row, 0) == "t")
}

/// A client that the rules of the trigger keep out, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unwelcome {
    /// The name that it gave itself.
    pub app: String,
    /// Its role.
    pub role: String,
    /// Where it came from; `local` for a socket.
    pub address: String,
    /// The rule, such as 335.
    pub code: u16,
    /// How often it was kept.
    pub times: u64,
}

/// Who came within the last seven days and would have been refused.
///
/// # Errors
/// What the database says.
pub async fn unwelcome(session: &Session) -> Result<Vec<Unwelcome>, Error> {
    const WOULD: &str = "SELECT l.app, l.role, coalesce(host(l.address), 'local'), l.code::text, count(*)::text \
        FROM palisade_audit.login l WHERE l.code IS NOT NULL AND l.at > now() - interval '7 days' \
        GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4";
    match session.rows("see who would be refused", WOULD).await {
        Ok(rows) => Ok(rows
            .iter()
            .map(|row| Unwelcome {
                app: text(row, 0),
                role: text(row, 1),
                address: text(row, 2),
                code: text(row, 3).parse().unwrap_or_default(),
                times: text(row, 4).parse().unwrap_or_default(),
            })
            .collect()),
        // No trigger yet, or one of before that had no rules.
        Err(error) if matches!(error.sqlstate(), Some("42P01" | "42703" | "3F000")) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Runs one of the two.
///
/// # Errors
/// [`Error::Forbidden`] where the role is no superuser, or what the database says. Nothing of it stays.
pub async fn run(session: &Session, sql: &str) -> Result<(), Error> {
    Ok(settled(session, session.run("change the login trigger", sql).await).await?)
}

/// Forgets logins that are older than thirty days. Says whether this role may.
///
/// # Errors
/// What the database says.
pub async fn prune(session: &Session) -> Result<bool, Error> {
    let sql = "DELETE FROM palisade_audit.login WHERE at < now() - interval '30 days'";
    match session.run("forget old logins", sql).await {
        Ok(()) => Ok(true),
        Err(error) if error.is_forbidden() || error.sqlstate() == Some("25006") => Ok(false),
        Err(error) => Err(error.into()),
    }
}
