//! Keys and epochs of apps, and tables that ask for an identity.

use std::time::Duration;

use palisade_core::text::nearest;
use palisade_core::{AppName, EnvironmentName};
use palisade_postgres::{Row, Session};
use serde::Serialize;

use crate::error::Error;
use crate::proof::AppKey;
use crate::table::text;

/// An app, as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct App {
    /// Its name.
    pub app: String,
    /// Its environment.
    pub environment: String,
    /// Which key of it counts; 0 where it has none.
    pub generation: u32,
    /// Until when the key before that counts too, if it still does.
    pub previous_until: Option<String>,
    /// The lowest epoch of a build that may begin anything.
    pub minimum_epoch: Option<u64>,
    /// When any of this was changed last.
    pub changed_at: String,
    /// By which role.
    pub changed_by: String,
    /// Claims within the last seven days whose build said no epoch, under this name.
    pub unknown_epoch: u64,
}

const KEY: &str = "WITH app AS (INSERT INTO palisade.app AS a (app, environment, generation) VALUES ($1, $2, 1) \
    ON CONFLICT (app, environment) DO UPDATE SET generation = greatest(a.generation, 1), changed_at = clock_timestamp(), \
    changed_by = session_user RETURNING a.generation), \
    noted AS (INSERT INTO palisade.change (guard, what) SELECT 0, format('key %s of %s/%s given out', generation, $1, $2) FROM app) \
    SELECT generation::text, encode(palisade.key($1, $2, generation), 'hex'), palisade.database_id() FROM app";

const ROTATE: &str = "WITH app AS (UPDATE palisade.app a SET generation = a.generation + 1, \
    previous_until = clock_timestamp() + $3::interval, changed_at = clock_timestamp(), changed_by = session_user \
    WHERE a.app = $1 AND a.environment = $2 AND a.generation > 0 RETURNING a.generation), \
    noted AS (INSERT INTO palisade.change (guard, what) SELECT 0, format('key %s of %s/%s given out', generation, $1, $2) FROM app) \
    SELECT generation::text, encode(palisade.key($1, $2, generation), 'hex'), palisade.database_id() FROM app";

/// The key of an app that counts now; the first one where it had none.
///
/// # Errors
/// What the database says.
pub async fn key(session: &Session, app: &AppName, environment: &EnvironmentName) -> Result<AppKey, Error> {
    let rows = session.ask("give out a key", KEY, &[Some(app.as_str()), Some(environment.as_str())]).await?;
    made(&rows, app, environment)
}

/// The next key of an app. The one before counts for `grace` longer.
///
/// # Errors
/// [`Error::Keyless`], or what the database says.
pub async fn rotate(
    session: &Session,
    app: &AppName,
    environment: &EnvironmentName,
    grace: Duration,
) -> Result<AppKey, Error> {
    let grace = format!("{} seconds", grace.as_secs());
    let named = [Some(app.as_str()), Some(environment.as_str()), Some(grace.as_str())];
    let rows = session.ask("rotate a key", ROTATE, &named).await?;
    made(&rows, app, environment)
}

fn made(rows: &[Row], app: &AppName, environment: &EnvironmentName) -> Result<AppKey, Error> {
    let keyless = || Error::Keyless { app: app.to_string(), environment: environment.to_string() };
    let row = rows.first().ok_or_else(keyless)?;
    let generation = text(row, 0).parse().unwrap_or_default();
    AppKey::new(&text(row, 2), app.clone(), environment.clone(), generation, &text(row, 1))
        .map_err(|_| keyless())
}

/// Every app that the database knows.
///
/// # Errors
/// What the database says.
pub async fn apps(session: &Session) -> Result<Vec<App>, Error> {
    const APPS: &str = "SELECT a.app, a.environment, a.generation::text, \
        CASE WHEN a.previous_until > clock_timestamp() THEN a.previous_until::text END, a.minimum_epoch::text, \
        a.changed_at::text, a.changed_by, \
        (SELECT count(*) FROM palisade.history h WHERE h.event = 'entry' AND h.epoch IS NULL \
            AND h.at > clock_timestamp() - interval '7 days' AND (h.identity = a.app || '/' || a.environment \
            OR h.identity IS NULL AND h.app ~ ('^' || replace(a.app, '.', '\\.') || '($|[/@ :])')))::text \
        FROM palisade.app a ORDER BY 1, 2";
    let rows = session.ask("list the apps", APPS, &[]).await?;
    let app = |row: &Row| App {
        app: text(row, 0),
        environment: text(row, 1),
        generation: text(row, 2).parse().unwrap_or_default(),
        previous_until: row.get(3).cloned().flatten(),
        minimum_epoch: text(row, 4).parse().ok(),
        changed_at: text(row, 5),
        changed_by: text(row, 6),
        unknown_epoch: text(row, 7).parse().unwrap_or_default(),
    };
    Ok(rows.iter().map(app).collect())
}

/// Sets the lowest epoch of a build that may claim, cancel or reap.
///
/// # Errors
/// What the database says.
pub async fn set_minimum_epoch(
    session: &Session,
    app: &AppName,
    environment: &EnvironmentName,
    minimum: u64,
) -> Result<(), Error> {
    const SET: &str = "WITH app AS (INSERT INTO palisade.app AS a (app, environment, minimum_epoch) \
        VALUES ($1, $2, $3::bigint) ON CONFLICT (app, environment) DO UPDATE SET minimum_epoch = excluded.minimum_epoch, \
        changed_at = clock_timestamp(), changed_by = session_user RETURNING 1) \
        INSERT INTO palisade.change (guard, what) SELECT 0, format('minimum epoch of %s/%s: %s', $1, $2, $3) \
        FROM app RETURNING what";
    let minimum = minimum.to_string();
    let named = [Some(app.as_str()), Some(environment.as_str()), Some(minimum.as_str())];
    session.ask("set the minimum epoch", SET, &named).await?;
    Ok(())
}

/// Takes the minimum epoch of an app away.
///
/// # Errors
/// [`Error::WithoutMinimum`] if it has none, which names an app that has one and is called much like it; or what the database says.
pub async fn clear_minimum_epoch(
    session: &Session,
    app: &AppName,
    environment: &EnvironmentName,
) -> Result<(), Error> {
    const CLEAR: &str = "WITH app AS (UPDATE palisade.app a SET minimum_epoch = NULL, changed_at = clock_timestamp(), \
        changed_by = session_user WHERE a.app = $1 AND a.environment = $2 AND a.minimum_epoch IS NOT NULL RETURNING 1) \
        INSERT INTO palisade.change (guard, what) SELECT 0, format('minimum epoch of %s/%s: none', $1, $2) \
        FROM app RETURNING what";
    let named = [Some(app.as_str()), Some(environment.as_str())];
    if !session.ask("clear the minimum epoch", CLEAR, &named).await?.is_empty() {
        return Ok(());
    }
    let name = |app: &str, environment: &str| format!("{app}/{environment}");
    let known: Vec<_> = apps(session).await?;
    let known = known.iter().filter(|app| app.minimum_epoch.is_some());
    let known: Vec<_> = known.map(|app| name(&app.app, &app.environment)).collect();
    let app = name(app.as_str(), environment.as_str());
    let meant = nearest(&app, known.iter().map(String::as_str)).map(str::to_owned);
    Err(Error::WithoutMinimum { app, meant })
}

/// A minimum that a restore from a backup has set back, and what it was raised to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Raised {
    /// The app.
    pub app: String,
    /// Its environment.
    pub environment: String,
    /// What the backup had.
    pub from: u64,
    /// What it is now.
    pub to: u64,
}

/// After a restore: raises each minimum epoch that there is to the highest epoch that a build of that app has proven
/// here, and above `shown`, the highest that anybody was seen with. What a client only claims raises nothing: it could
/// lock everybody out. An app without a minimum gets none.
///
/// # Errors
/// What the database says.
pub async fn raise_minimum_epochs(session: &Session, shown: Option<u64>) -> Result<Vec<Raised>, Error> {
    const RAISE: &str = "WITH known AS (SELECT a.app, a.environment, a.minimum_epoch AS was, greatest(a.minimum_epoch, \
          $1::bigint + 1, (SELECT max(h.epoch) FROM palisade.history h WHERE h.identity = a.app || '/' || a.environment)) AS raised \
          FROM palisade.app a WHERE a.minimum_epoch IS NOT NULL FOR UPDATE), \
        app AS (UPDATE palisade.app a SET minimum_epoch = k.raised, changed_at = clock_timestamp(), \
          changed_by = session_user FROM known k WHERE k.app = a.app AND k.environment = a.environment AND k.raised > k.was \
          RETURNING a.app, a.environment, k.was, k.raised), \
        noted AS (INSERT INTO palisade.change (guard, what) SELECT 0, format('minimum epoch of %s/%s after a restore: %s', \
          app, environment, raised) FROM app) \
        SELECT app, environment, was::text, raised::text FROM app ORDER BY 1, 2";
    const THERE: &str = "SELECT to_regclass('palisade.app')";
    let there = session.rows("look for apps", THERE).await?;
    if there.first().and_then(|row| row.first()).is_none_or(Option::is_none) {
        return Ok(Vec::new());
    }
    let shown = shown.map(|shown| shown.to_string());
    let rows = session.ask("raise the minimum epochs", RAISE, &[shown.as_deref()]).await?;
    let raised = |row: &Row| Raised {
        app: text(row, 0),
        environment: text(row, 1),
        from: text(row, 2).parse().unwrap_or_default(),
        to: text(row, 3).parse().unwrap_or_default(),
    };
    Ok(rows.iter().map(raised).collect())
}

/// Lets a guard ask for an identity, or not, and which lease gives the right to end jobs of others (any, if `None`).
///
/// # Errors
/// What the database says.
pub async fn require(
    session: &Session,
    guard: i32,
    required: bool,
    lease: Option<&str>,
) -> Result<(), Error> {
    const REQUIRE: &str = "WITH guard AS (UPDATE palisade.guard SET identity_required = $2::boolean, lease = $3 \
        WHERE id = $1::integer RETURNING id) \
        INSERT INTO palisade.change (guard, what) SELECT id, format('identity required: %s, lease %s', $2, \
        coalesce($3, 'any')) FROM guard RETURNING what";
    let (guard, required) = (guard.to_string(), required.to_string());
    session.ask("change the guard", REQUIRE, &[Some(&guard), Some(&required), lease]).await?;
    Ok(())
}
