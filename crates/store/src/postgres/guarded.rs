//! What a guard of this database says about it, and what follows from a restore.

use palisade_jobs::Error;

use super::pool::Pool;
use super::rows::{field, number, unsigned};

/// Looks at the beacon, where the database has one and this role may see it.
pub(super) async fn dispatch(pool: &Pool) -> Result<(), Error> {
    const THERE: &str =
        "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'palisade' AND c.relname = 'beacon' AND has_schema_privilege(n.oid, 'USAGE')
            AND has_table_privilege(c.oid, 'SELECT')";
    const AGE: &str = "SELECT greatest(extract(epoch FROM clock_timestamp() - at), 0)::bigint AS age,
            extract(epoch FROM max_age)::bigint AS most, agent FROM palisade.beacon";
    if !pool.knows_environment() || pool.read("look for a beacon", THERE, &[]).await?.is_empty() {
        return Ok(());
    }
    let rows = pool.read("look at the beacon", AGE, &[]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let (age, most): (i64, i64) = (field(row, "age")?, field(row, "most")?);
    if age <= most {
        return Ok(());
    }
    let agent: String = field(row, "agent")?;
    Err(Error::Stale(format!(
        "the beacon of {} is stale: {agent} last renewed it {age} s ago, and {most} s are the most. It may be a copy, whose \
         jobs are done elsewhere. Start `palisade db beacon`, or stop what reads jobs here",
        pool.place()
    )))
}

/// Far above what may have been handed out since the backup.
const RESTORED: i64 = 1 << 32;

pub(super) async fn after_restore(pool: &Pool) -> Result<u64, Error> {
    const RAISE: &str = "SELECT setval('palisade_jobs.token', nextval('palisade_jobs.token') + $1),
        setval('palisade_jobs.event_number', nextval('palisade_jobs.event_number') + $1),
        (SELECT count(*) FROM palisade_jobs.job_run) AS held";
    let rows = pool.write("raise the tokens", RAISE, &[number(&RESTORED)]).await?;
    rows.first().map_or(Ok(0), |row| Ok(unsigned(field(row, "held")?)))
}
