//! The history of jobs by days: a day that nobody needs any more is dropped as a whole.

use palisade_postgres::Error as PgError;

use palisade_jobs::Error;

use super::pool::{Line, Pool, Stop, transact};
use super::rows::{field, number};

/// Days without a partition of their own, from tomorrow on: what happens today may lie in the default one already.
const MISSING: &str = "SELECT 'event_' || to_char(day, 'YYYYMMDD') AS name,
        (extract(epoch FROM day) * 1000)::bigint AS begins, (extract(epoch FROM day) * 1000)::bigint + 86400000 AS ends
    FROM generate_series(1, 7) n, LATERAL (SELECT date_trunc('day', clock_timestamp() AT TIME ZONE 'UTC')
        + n * interval '1 day') d (day)
    WHERE to_regclass('palisade_jobs.event_' || to_char(day, 'YYYYMMDD')) IS NULL";

/// Partitions of days that ended before the longest retention.
const OLD: &str = "SELECT c.relname::text AS name FROM pg_catalog.pg_inherits i
        JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'palisade_jobs.event'::regclass AND c.relname ~ '^event_[0-9]{8}$'
        AND (extract(epoch FROM to_date(right(c.relname, 8), 'YYYYMMDD')) * 1000)::bigint + 86400000
            < palisade_jobs.now_ms() - (SELECT max(retention_ms) FROM palisade_jobs.queue)
    ORDER BY 1";

/// What lies in the default partition: before the first day of its own, or where this role may make no tables.
const REST: &str = "DELETE FROM palisade_jobs.event_rest WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM palisade_jobs.event_rest
    WHERE at_ms < palisade_jobs.now_ms() - (SELECT max(retention_ms) FROM palisade_jobs.queue) LIMIT $1))";

/// Reaps before the longest retention.
const REAPS: &str = "DELETE FROM palisade_jobs.reap WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM palisade_jobs.reap
    WHERE at_ms < palisade_jobs.now_ms() - (SELECT max(retention_ms) FROM palisade_jobs.queue) LIMIT $1))";

/// Makes the partitions of the next days and drops those of old ones. What is busy or not allowed waits for the next
/// call: events then lie in the default partition, and nothing is lost.
pub(super) async fn tend(pool: &Pool, most: u32) -> Result<(), Error> {
    for row in pool.read("look for days without a partition", MISSING, &[]).await? {
        let (begins, ends): (i64, i64) = (field(&row, "begins")?, field(&row, "ends")?);
        let name: &str = field(&row, "name")?;
        let make = format!("CREATE TABLE palisade_jobs.{name} (LIKE palisade_jobs.event INCLUDING ALL)");
        let attach = format!(
            "ALTER TABLE palisade_jobs.event ATTACH PARTITION palisade_jobs.{name} FOR VALUES FROM ({begins}) TO ({ends})"
        );
        if !change(pool, &[make, attach]).await? {
            break;
        }
    }
    for row in pool.read("look for old days", OLD, &[]).await? {
        let name: &str = field(&row, "name")?;
        if !change(pool, &[format!("DROP TABLE palisade_jobs.{name}")]).await? {
            break;
        }
    }
    let most = i64::from(most);
    pool.write("forget old events", REST, &[number(&most)]).await?;
    pool.write("forget old reaps", REAPS, &[number(&most)]).await.map(drop)
}

/// Changes tables without making anybody wait for long. `false` where that was not possible now, or not for this role.
async fn change(pool: &Pool, statements: &[String]) -> Result<bool, Error> {
    transact!(pool, "tend the days of events", line => all(line, statements))
}

async fn all(line: &Line<'_>, statements: &[String]) -> Result<bool, Stop> {
    const WHAT: &str = "tend the days of events";
    line.ask(WHAT, "SET LOCAL lock_timeout = '500ms'", &[]).await?;
    // Several machines may do the same: one does.
    let first = "SELECT pg_try_advisory_xact_lock(7302910, 2) AS first";
    if !line.ask(WHAT, first, &[]).await?.first().map_or(Ok(false), |row| field(row, "first"))? {
        return Ok(false);
    }
    line.ask(WHAT, "SAVEPOINT change", &[]).await?;
    for statement in statements {
        match line.ask(WHAT, statement, &[]).await {
            Ok(_) => {}
            Err(error) if waits(&error) => {
                line.ask(WHAT, "ROLLBACK TO SAVEPOINT change", &[]).await?;
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Busy, not for this role, or done by somebody else.
fn waits(error: &PgError) -> bool {
    error.is_busy() || error.is_forbidden() || matches!(error.sqlstate(), Some("42P07" | "42P01" | "23514"))
}
