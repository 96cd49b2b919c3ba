//! Saying which environment a database belongs to.

use std::time::Duration;

use palisade_core::EnvironmentName;
use palisade_postgres::{Bound, Session};

use crate::error::Error;
use crate::quote;
use crate::script;
use crate::table::text;
use crate::work::settled;

/// What is in the schema of a database already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct There {
    /// The schema itself.
    pub schema: bool,
    /// Guards.
    pub guards: u32,
    /// Whether the connected role is a superuser.
    pub superuser: bool,
}

impl There {
    /// Looks.
    ///
    /// # Errors
    /// What the database says.
    pub async fn look(session: &Session) -> Result<Self, Error> {
        const THERE: &str = "SELECT (to_regnamespace('palisade') IS NOT NULL)::text, \
            (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user)::text";
        let rows = session.ask("look what is there", THERE, &[]).await?;
        let row = rows.first().cloned().unwrap_or_default();
        let schema = text(&row, 0) == "true";
        let guards = if schema {
            let rows =
                session.ask("count the guards", "SELECT count(*)::text FROM palisade.guard", &[]).await?;
            rows.first().map(|row| text(row, 0)).unwrap_or_default().parse().unwrap_or_default()
        } else {
            0
        };
        Ok(Self { schema, guards, superuser: text(&row, 1) == "true" })
    }
}

/// A stamp to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct New {
    /// The environment.
    pub environment: EnvironmentName,
    /// What it is bound to.
    pub bound: Bound,
    /// When, in seconds since 1970.
    pub at_s: u64,
    /// `NAME BASE64`, over [`palisade_postgres::Stamp::text`].
    pub signature: String,
    /// Whether every key that an app holds shall stop counting.
    pub rotate: bool,
}

/// The whole SQL that stamps a database. One transaction.
#[must_use]
pub fn write(there: There, new: &New, lock_timeout: Duration) -> String {
    let mut sql = script::begin(lock_timeout);
    if !there.schema {
        sql.push_str(&script::schema(there.superuser));
    }
    let Bound { system_identifier, database_oid, timeline, branch } = &new.bound;
    let environment = quote::text(new.environment.as_str());
    sql.push_str("DELETE FROM palisade.stamp;\n");
    sql.push_str(&format!(
        "INSERT INTO palisade.stamp (environment, system_identifier, database_oid, timeline, branch, stamped_at, signature)\n\
         VALUES ({environment}, {}, {database_oid}, {}, {}, to_timestamp({}), {});\n",
        quote::optional(system_identifier.as_deref()),
        timeline.map_or_else(|| "NULL".to_owned(), |timeline| timeline.to_string()),
        quote::text(branch),
        new.at_s,
        quote::text(&new.signature),
    ));
    sql.push_str(&noted(&format!("stamped {}", new.environment)));
    if new.rotate {
        sql.push_str("REFRESH MATERIALIZED VIEW palisade.secret;\nDELETE FROM palisade.beacon;\n");
        sql.push_str(&noted("every key of an app rotated"));
    }
    sql.push_str("COMMIT;\n");
    sql
}

/// The whole SQL that takes a stamp away, and with it the schema where no guard needs it. One transaction.
#[must_use]
pub fn remove(there: There, lock_timeout: Duration) -> String {
    let mut sql = script::begin(lock_timeout);
    if there.guards == 0 {
        sql.push_str("DROP SCHEMA palisade CASCADE;\n");
    } else {
        sql.push_str("DELETE FROM palisade.stamp;\nDELETE FROM palisade.beacon;\n");
        sql.push_str(&noted("stamp removed"));
    }
    sql.push_str("COMMIT;\n");
    sql
}

/// A line of the table of changes that is about the whole database.
pub(crate) fn noted(what: &str) -> String {
    format!("INSERT INTO palisade.change (guard, what) VALUES (0, {});\n", quote::text(what))
}

/// Runs SQL that is one transaction; of a failed one nothing stays.
///
/// # Errors
/// What the database says.
pub async fn run(session: &Session, what: &str, sql: &str) -> Result<(), Error> {
    Ok(settled(session, session.run(what, sql).await).await?)
}

/// Renews the beacon of a database; a database whose stamp is not its own gets none.
///
/// # Errors
/// What the database says.
pub async fn renew(session: &Session, max_age: Duration, agent: &str) -> Result<(), Error> {
    const RENEW: &str = "INSERT INTO palisade.beacon (at, max_age, agent) VALUES (clock_timestamp(), $1::interval, $2) \
        ON CONFLICT (one) DO UPDATE SET at = excluded.at, max_age = excluded.max_age, agent = excluded.agent RETURNING agent";
    let max_age = format!("{} seconds", max_age.as_secs());
    session.ask("renew the beacon", RENEW, &[Some(&max_age), Some(agent)]).await?;
    Ok(())
}

/// Takes the beacon away: from then on nobody is expected to renew it.
///
/// # Errors
/// What the database says.
pub async fn end_beacon(session: &Session) -> Result<(), Error> {
    session.run("end the beacon", "DELETE FROM palisade.beacon").await?;
    Ok(())
}
