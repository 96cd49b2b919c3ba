//! What a database expects, as it keeps it itself.

use std::collections::{BTreeMap, BTreeSet};

use palisade_audit::{Expectations, Expected, Finding, Kind, split_epoch};
use palisade_postgres::{Row, Session};

use super::SCHEMA;
use crate::error::Error;
use crate::table::text;
use crate::work::settled;

/// What stands between the parts of a list.
const BETWEEN: &str = "\u{1f}";

/// One change of the expectations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The environment of this database.
    Environment(String),
    /// An app is expected. Lists are added to what is there; `None` and `false` change nothing.
    App(Expected),
    /// An app is not expected any more.
    NoApp(String),
    /// A pooler stands at that address or network.
    Pooler(String),
    /// No pooler does.
    NoPooler(String),
}

const THERE: &str = "SELECT to_regnamespace('palisade_audit')";

const APPS: &str = "SELECT app, array_to_string(roles, E'\\x1f'), array_to_string(networks, E'\\x1f'), \
    ddl, array_to_string(writes, E'\\x1f') FROM palisade_audit.app ORDER BY 1";

const ADD_APP: &str = "INSERT INTO palisade_audit.app AS a (app, roles, networks, ddl, writes) \
    VALUES ($1, string_to_array($2, E'\\x1f'), string_to_array($3, E'\\x1f'), $4::boolean, \
    string_to_array($5, E'\\x1f')) ON CONFLICT (app) DO UPDATE SET \
    roles = ARRAY(SELECT DISTINCT unnest(a.roles || excluded.roles) ORDER BY 1), \
    networks = ARRAY(SELECT DISTINCT unnest(a.networks || excluded.networks) ORDER BY 1), \
    ddl = a.ddl OR excluded.ddl, \
    writes = ARRAY(SELECT DISTINCT unnest(a.writes || excluded.writes) ORDER BY 1)";

/// What a database expects; `None` where nobody ever said.
///
/// # Errors
/// What the database says.
pub async fn expectations(session: &Session) -> Result<Option<Expectations>, Error> {
    if !there(session).await? {
        return Ok(None);
    }
    let one = session.rows("read its environment", "SELECT environment FROM palisade_audit.database").await?;
    let apps = session.rows("read the expected apps", APPS).await?;
    let poolers =
        session.rows("read the poolers", "SELECT network FROM palisade_audit.pooler ORDER BY 1").await?;
    let retired = "SELECT old FROM palisade_audit.rotation WHERE step IN ('restricted', 'retired')";
    let retired = session.rows("read the retired roles", retired).await?;
    let seen = session.rows("read the names that were seen", "SELECT app FROM palisade_audit.seen").await?;
    let names = |rows: &[Row]| -> BTreeSet<String> { rows.iter().map(|row| text(row, 0)).collect() };
    Ok(Some(Expectations {
        environment: one.first().and_then(|row| row.first().cloned().flatten()),
        apps: apps.iter().map(expected).collect(),
        poolers: poolers.iter().filter_map(|row| text(row, 0).parse().ok()).collect(),
        minimums: minimums(session).await?,
        retired: names(&retired),
        known: Some(names(&seen)),
    }))
}

/// The lowest epochs of builds that the guard asks for in the environment of this database's stamp. They have one home,
/// which `palisade db epoch` writes; empty where there is none, or this role may not read it.
///
/// # Errors
/// What the database says.
pub async fn minimums(session: &Session) -> Result<BTreeMap<String, u64>, Error> {
    const MINIMUMS: &str = "SELECT a.app, a.minimum_epoch::text FROM palisade.app a JOIN palisade.stamp s \
        ON s.environment = a.environment WHERE a.minimum_epoch IS NOT NULL";
    match session.rows("read the minimum epochs", MINIMUMS).await {
        Ok(rows) => {
            let minimum = |row: &Row| Some((text(row, 0), text(row, 1).parse().ok()?));
            Ok(rows.iter().filter_map(minimum).collect())
        }
        Err(error) if error.is_forbidden() || error.sqlstate() == Some("42P01") => Ok(BTreeMap::new()),
        Err(error) => Err(error.into()),
    }
}

fn expected(row: &Row) -> Expected {
    let list = |at: usize| -> Vec<String> {
        text(row, at).split(BETWEEN).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    Expected {
        app: text(row, 0),
        roles: list(1),
        networks: list(2).iter().filter_map(|network| network.parse().ok()).collect(),
        ddl: text(row, 3) == "t",
        writes: list(4),
    }
}

async fn there(session: &Session) -> Result<bool, Error> {
    let there = session.rows("look for expectations", THERE).await?;
    Ok(there.first().and_then(|row| row.first()).is_some_and(Option::is_some))
}

/// Makes the schema of the expectations where it is missing.
///
/// # Errors
/// What the database says.
pub(crate) async fn prepare(session: &Session) -> Result<(), Error> {
    if there(session).await? {
        return Ok(());
    }
    let sql = format!("BEGIN;\n{SCHEMA}COMMIT;");
    Ok(settled(session, session.run("make the schema of expectations", &sql).await).await?)
}

/// Changes the expectations, and records who did.
///
/// # Errors
/// [`Error::Forbidden`] where the role may not, or what the database says.
pub async fn change(session: &Session, change: &Change) -> Result<(), Error> {
    prepare(session).await?;
    let what = match change {
        Change::Environment(environment) => {
            let sql = "UPDATE palisade_audit.database SET environment = $1";
            session.ask("set its environment", sql, &[Some(environment)]).await?;
            format!("environment {environment}")
        }
        Change::App(app) => {
            let networks: Vec<_> = app.networks.iter().map(ToString::to_string).collect();
            let (roles, networks, writes) =
                (app.roles.join(BETWEEN), networks.join(BETWEEN), app.writes.join(BETWEEN));
            let ddl = app.ddl.to_string();
            let values = [&app.app, &roles, &networks].map(|text| Some(text.as_str()));
            let values = [&values[..], &[Some(ddl.as_str()), Some(writes.as_str())]].concat();
            session.ask("expect an app", ADD_APP, &values).await?;
            format!("app {}", app.app)
        }
        Change::NoApp(app) => {
            let sql = "DELETE FROM palisade_audit.app WHERE app = $1 RETURNING app";
            if session.ask("expect an app no more", sql, &[Some(app)]).await?.is_empty() {
                return Err(Error::Rules { problem: format!("no app {app:?} is expected here") });
            }
            format!("app {app} no more")
        }
        Change::Pooler(network) => {
            let sql = "INSERT INTO palisade_audit.pooler VALUES ($1) ON CONFLICT DO NOTHING";
            session.ask("expect a pooler", sql, &[Some(network)]).await?;
            format!("pooler {network}")
        }
        Change::NoPooler(network) => {
            let sql = "DELETE FROM palisade_audit.pooler WHERE network = $1 RETURNING network";
            if session.ask("expect a pooler no more", sql, &[Some(network)]).await?.is_empty() {
                return Err(Error::Rules { problem: format!("no pooler {network:?} is expected here") });
            }
            format!("pooler {network} no more")
        }
    };
    let record = "INSERT INTO palisade_audit.change (what) VALUES ($1)";
    session.ask("record the change", record, &[Some(&what)]).await?;
    Ok(())
}

/// Takes everything away that an audit keeps. Says whether there was anything.
///
/// # Errors
/// What the database says.
pub async fn forget(session: &Session) -> Result<bool, Error> {
    if !there(session).await? {
        return Ok(false);
    }
    session.run("forget the expectations", "DROP SCHEMA palisade_audit CASCADE").await?;
    Ok(true)
}

/// Keeps names that were seen, without their epochs. Says whether this role may.
///
/// # Errors
/// What the database says.
pub async fn remember<'a>(session: &Session, apps: impl Iterator<Item = &'a str>) -> Result<bool, Error> {
    let names: BTreeSet<&str> = apps.map(|app| split_epoch(app).0).filter(|app| !app.is_empty()).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(BETWEEN);
    let sql = "INSERT INTO palisade_audit.seen (app) SELECT unnest(string_to_array($1, E'\\x1f')) ON CONFLICT DO NOTHING";
    match session.ask("keep the names that were seen", sql, &[Some(&names)]).await {
        Ok(_) => Ok(true),
        Err(error) if may_not_write(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A role without the right, or a standby.
fn may_not_write(error: &palisade_postgres::Error) -> bool {
    error.is_forbidden() || error.sqlstate() == Some("25006")
}

const HASH: &str = "SELECT md5(coalesce(string_agg(line, E'\\n' ORDER BY line), '')) FROM ( \
    SELECT format('%I.%I %s %I %s %s %s', n.nspname, c.relname, a.attnum, a.attname, \
        format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)) AS line \
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f') \
    AND NOT c.relispartition AND n.nspname !~ '^(pg_|information_schema$|palisade)' \
    UNION ALL SELECT format('%s %s', k.conrelid::regclass, pg_get_constraintdef(k.oid)) \
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE NOT c.relispartition \
    AND n.nspname !~ '^(pg_|information_schema$|palisade)') lines";

/// Whether tables, columns or constraints are other ones than when an audit last looked. What is there now counts as
/// known from here on, where the role may write that down.
///
/// # Errors
/// What the database says.
pub async fn schema_changed(session: &Session) -> Result<Option<Finding>, Error> {
    let hash = session.rows("read its schema", HASH).await?;
    let hash = hash.first().map(|row| text(row, 0)).unwrap_or_default();
    let known = "SELECT schema_hash, schema_at::text FROM palisade_audit.database";
    let known = session.rows("read the schema that was known", known).await?;
    let known = known.into_iter().next().unwrap_or_default();
    let (was, at) = (text(&known, 0), text(&known, 1));
    if was == hash {
        return Ok(None);
    }
    let keep = "UPDATE palisade_audit.database SET schema_hash = $1, schema_at = clock_timestamp()";
    match session.ask("keep its schema", keep, &[Some(&hash)]).await {
        Ok(_) => {}
        Err(error) if may_not_write(&error) => {}
        Err(error) => return Err(error.into()),
    }
    let changed = format!("tables, columns or constraints are not those of {at}");
    Ok((!was.is_empty()).then(|| Finding::new(Kind::Ddl, changed, None)))
}

// Palisade's own reaper and undo are no app. The name alone is a claim: its role has held the reaper's lease of that table, or
// could take the guard away.
const WRITERS: &str = "SELECT DISTINCT g.relation::text, h.app FROM palisade.history h \
    JOIN palisade.guard g ON g.id = h.guard JOIN pg_catalog.pg_class c ON c.oid = g.relation \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE h.at > now() - $1::interval AND h.app IS NOT NULL AND NOT (h.app = 'palisade' AND (EXISTS (SELECT FROM palisade.lease l \
      WHERE l.name = format('reaper/%s.%s', n.nspname, c.relname) AND l.role = h.role) \
    OR coalesce(pg_has_role(to_regrole(quote_ident(h.role)), (SELECT o.nspowner FROM pg_catalog.pg_namespace o \
      WHERE o.nspname = 'palisade'), 'MEMBER'), false)))";

/// Which claimed names wrote which guarded table within the last `seconds`; nothing where no table is guarded or this
/// role may not see it.
///
/// # Errors
/// What the database says.
pub async fn writers(session: &Session, seconds: u64) -> Result<BTreeSet<(String, String)>, Error> {
    let there = session.rows("look for guards", "SELECT to_regclass('palisade.history')").await?;
    if there.first().and_then(|row| row.first()).is_none_or(Option::is_none) {
        return Ok(BTreeSet::new());
    }
    let since = format!("{seconds} seconds");
    match session.ask("read who wrote guarded tables", WRITERS, &[Some(&since)]).await {
        Ok(rows) => Ok(rows.iter().map(|row| (text(row, 0), text(row, 1))).collect()),
        Err(error) if error.is_forbidden() => Ok(BTreeSet::new()),
        Err(error) => Err(error.into()),
    }
}
