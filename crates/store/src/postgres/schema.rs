//! The tables, and how they grow from version to version.
//!
//! A version only adds. What it makes superfluous goes two versions later, so that a client of the version before
//! goes on working beside it, and one of two before is refused.

use palisade_postgres::Session;

use palisade_jobs::Error;

use super::pool::before;

/// The version that this client writes.
const VERSION: i64 = 5;

/// What each version adds, from 1.
const STEPS: [&str; 5] = [
    include_str!("first.sql"),
    include_str!("second.sql"),
    include_str!("third.sql"),
    include_str!("fourth.sql"),
    include_str!("fifth.sql"),
];

/// Brings the tables up to this version.
pub(super) async fn prepare(session: &Session, name: &str) -> Result<(), Error> {
    let found = version(session, name).await?;
    check_version(found, name)?;
    if found >= VERSION {
        return Ok(());
    }
    let run = |sql: String| async move {
        let done = session.run("make the tables of palisade_jobs", &sql).await;
        if let Err(error) = &done {
            // Without effect where the transaction is over.
            drop(session.run("take back", "ROLLBACK").await);
            if error.is_forbidden() {
                let who = who_may(session).await;
                return Err(Error::Version(format!(
                    "{name} has tables of version {found}, {VERSION} are needed, and this role may not make them: \
                     {error}. Let {who} run `palisade queue list` once; nothing was changed"
                )));
            }
        }
        done.map_err(|error| before(name, &error))
    };
    for (number, step) in (1_i64..).zip(STEPS).filter(|(number, _)| *number > found) {
        // One client makes them; others wait here, and find them made. The lock ends with the transaction.
        run("BEGIN; SET LOCAL lock_timeout = '20s'; SELECT pg_advisory_xact_lock(7302910, 1); \
             CREATE SCHEMA IF NOT EXISTS palisade_jobs; \
             CREATE TABLE IF NOT EXISTS palisade_jobs.meta (name text PRIMARY KEY, value bigint NOT NULL); \
             INSERT INTO palisade_jobs.meta VALUES ('schema', 0) ON CONFLICT DO NOTHING"
            .to_owned())
        .await?;
        let at = version_within(session).await.map_err(|error| before(name, &error))?;
        let step = if at < number { step } else { "" };
        run(format!("{step}; UPDATE palisade_jobs.meta SET value = greatest(value, {number}) WHERE name = 'schema'; COMMIT"))
            .await?;
    }
    Ok(())
}

/// Who can make the tables, or bring them up.
async fn who_may(session: &Session) -> String {
    const OWNER: &str =
        "SELECT tableowner FROM pg_tables WHERE schemaname = 'palisade_jobs' AND tablename = 'job'";
    let rows = session.rows("say whose the tables are", OWNER).await.unwrap_or_default();
    match rows.into_iter().flatten().next().flatten() {
        Some(owner) => format!("{owner}, which owns them,"),
        None => "a role that may create in this database".to_owned(),
    }
}

/// Whether the tables behind a new connection are of a version that this client serves.
pub(super) async fn check(session: &Session, name: &str) -> Result<(), Error> {
    let found = version(session, name).await?;
    check_version(found, name)?;
    if found == 0 {
        return Err(Error::Version(format!(
            "{name} has no tables of palisade_jobs any more; nothing was written"
        )));
    }
    Ok(())
}

fn check_version(found: i64, name: &str) -> Result<(), Error> {
    if found <= VERSION + 1 {
        return Ok(());
    }
    Err(Error::Version(format!(
        "{name} has tables of version {found}, and this palisade serves up to {}: install the newer palisade that \
         made them; nothing was changed",
        VERSION + 1
    )))
}

async fn version(session: &Session, name: &str) -> Result<i64, Error> {
    match version_within(session).await {
        Ok(found) => Ok(found),
        // No such schema or table.
        Err(error) if matches!(error.sqlstate(), Some("42P01" | "3F000")) => Ok(0),
        Err(error) => Err(before(name, &error)),
    }
}

async fn version_within(session: &Session) -> Result<i64, palisade_postgres::Error> {
    const VERSION_OF: &str = "SELECT value FROM palisade_jobs.meta WHERE name = 'schema'";
    let rows = session.rows("say which tables it has", VERSION_OF).await?;
    let value = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
    Ok(value.and_then(|value| value.parse().ok()).unwrap_or(0))
}
