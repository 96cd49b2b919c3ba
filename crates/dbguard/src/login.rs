//! The login trigger of PostgreSQL 17 and later: who logged in to this database, also without a log.

use palisade_postgres::Session;

use crate::audit;
use crate::error::Error;
use crate::script::OWNER;
use crate::table::text;

const SQL: &str = include_str!("sql/login.sql");

const REMOVE: &str = "BEGIN;\nDROP EVENT TRIGGER IF EXISTS palisade_login;\n\
    DROP FUNCTION IF EXISTS palisade_audit.logged_in();\nDROP TABLE IF EXISTS palisade_audit.login;\n\
    DO $palisade$ BEGIN\n  IF to_regnamespace('palisade_audit') IS NOT NULL AND to_regrole('palisade_owner') IS NOT NULL THEN\n    \
    REVOKE USAGE ON SCHEMA palisade_audit FROM palisade_owner;\n  END IF;\nEND $palisade$;\nCOMMIT;\n";

/// The whole SQL that makes the trigger, or makes it anew. One transaction.
#[must_use]
pub fn install_sql(schema_there: bool) -> String {
    let schema = if schema_there { "" } else { audit::SCHEMA };
    format!(
        "BEGIN;\n{schema}DO $palisade$ BEGIN\n  IF to_regrole('{OWNER}') IS NULL THEN\n    CREATE ROLE {OWNER} NOLOGIN;\n  \
         END IF;\nEND $palisade$;\n{SQL}COMMIT;\n"
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
/// [`Error::Unfit`] before PostgreSQL 17, which has no login triggers; [`Error::Rules`] on a standby.
pub async fn fit(session: &Session) -> Result<bool, Error> {
    let sql = "SELECT to_regnamespace('palisade_audit') IS NOT NULL, current_setting('server_version_num')::int >= 170000, \
        pg_is_in_recovery(), current_database()";
    let row = session.rows("look for a login trigger", sql).await?.into_iter().next().unwrap_or_default();
    if text(&row, 1) != "t" {
        let problem = "login triggers need PostgreSQL 17: read the server's log instead".to_owned();
        return Err(Error::Unfit { table: text(&row, 3), problem });
    }
    if text(&row, 2) == "t" {
        return Err(Error::Rules { problem: "this is a standby: install it on the primary".to_owned() });
    }
    Ok(text(&row, 0) == "t")
}

/// Runs one of the two.
///
/// # Errors
/// [`Error::Forbidden`] where the role is no superuser, or what the database says. Nothing of it stays.
pub async fn run(session: &Session, sql: &str) -> Result<(), Error> {
    let ran = session.run("change the login trigger", sql).await;
    if ran.is_err() {
        session.run("go back", "ROLLBACK").await?;
    }
    Ok(ran?)
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
