//! Which role belongs to which environment.

use palisade_core::EnvironmentName;
use palisade_postgres::Session;
use serde::Serialize;

use crate::error::Error;
use crate::table::text;

/// A role and its environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Binding {
    /// The role, as it logs in.
    pub role: String,
    /// The environment that it belongs to.
    pub environment: String,
    /// When it was bound.
    pub at: String,
    /// By whom.
    pub by: String,
}

/// Every binding of a database; none where Palisade was never used.
///
/// # Errors
/// What the database says.
pub async fn bindings(session: &Session) -> Result<Vec<Binding>, Error> {
    if !there(session).await? {
        return Ok(Vec::new());
    }
    let sql = "SELECT b.role, b.environment, b.at::text, b.by FROM palisade.binding b ORDER BY b.role";
    let rows = session.ask("list the bindings", sql, &[]).await?;
    let binding =
        |row| Binding { role: text(row, 0), environment: text(row, 1), at: text(row, 2), by: text(row, 3) };
    Ok(rows.iter().map(binding).collect())
}

/// Binds a role to an environment, or with `None` to none; says whether it was another before.
///
/// # Errors
/// [`Error::Unguarded`] where Palisade was never used, [`Error::Rules`] where no role has that name, or what the database says.
pub async fn bind(session: &Session, role: &str, to: Option<&EnvironmentName>) -> Result<bool, Error> {
    const KNOWN: &str = "SELECT (SELECT count(*) FROM pg_catalog.pg_roles r WHERE r.rolname = $1)::text";
    const BIND: &str = "INSERT INTO palisade.binding AS b (role, environment) VALUES ($1, $2) ON CONFLICT (role) \
        DO UPDATE SET environment = excluded.environment, at = clock_timestamp(), by = session_user \
        WHERE b.environment <> excluded.environment RETURNING role";
    const UNBIND: &str = "DELETE FROM palisade.binding b WHERE b.role = $1 RETURNING role";
    if !there(session).await? {
        return Err(Error::Unguarded { table: "this database".to_owned() });
    }
    let Some(environment) = to else {
        return Ok(!session.ask("unbind the role", UNBIND, &[Some(role)]).await?.is_empty());
    };
    let known = session.ask("look for the role", KNOWN, &[Some(role)]).await?;
    if known.first().map(|row| text(row, 0)).as_deref() != Some("1") {
        return Err(Error::Rules { problem: format!("this server has no role {role:?}") });
    }
    let bound = session.ask("bind the role", BIND, &[Some(role), Some(environment.as_str())]).await?;
    Ok(!bound.is_empty())
}

async fn there(session: &Session) -> Result<bool, Error> {
    let sql = "SELECT (to_regclass('palisade.binding') IS NOT NULL)::text";
    let rows = session.ask("look for bindings", sql, &[]).await?;
    Ok(rows.first().is_some_and(|row| text(row, 0) == "true"))
}
