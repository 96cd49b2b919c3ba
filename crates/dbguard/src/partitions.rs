//! Partitions that are made after the guard: a statement trigger, which TRUNCATE needs, is not inherited.

use palisade_postgres::Session;
use serde::Serialize;

use crate::error::Error;
use crate::table::text;
use crate::work::{Patience, run};

/// The event trigger that guards a new partition in the transaction that makes it. Only a superuser can make one.
pub(crate) const WATCH: &str = "DO $palisade$ BEGIN\n  \
    IF NOT EXISTS (SELECT FROM pg_event_trigger e WHERE e.evtname = 'palisade_partitions') THEN\n    \
    CREATE EVENT TRIGGER palisade_partitions ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE')\n      \
    EXECUTE FUNCTION palisade.partition_made();\n  END IF;\nEND $palisade$;\n\
    ALTER EVENT TRIGGER palisade_partitions ENABLE ALWAYS;\n";

/// Takes the event trigger away, unless another guarded table has partitions.
pub(crate) fn unwatch(id: i32) -> String {
    format!(
        "DO $palisade$ BEGIN\n  IF NOT EXISTS (SELECT FROM palisade.guard g JOIN pg_class c ON c.oid = g.relation \
         WHERE c.relkind = 'p' AND g.id <> {id}) THEN\n    \
         DROP EVENT TRIGGER IF EXISTS palisade_partitions;\n  END IF;\nEND $palisade$;\n"
    )
}

/// A partition whose TRUNCATE was not guarded, and now is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Covered {
    /// Its name.
    pub partition: String,
}

const BARE: &str = "SELECT b.relation::text, format('SELECT palisade.cover(%s::oid, %s, %L)', b.relation::oid, b.rule, b.always) \
    FROM palisade.bare_partitions() b ORDER BY 1";

/// Gives every partition its guard against TRUNCATE that lacks it, as their owner.
///
/// # Errors
/// [`Error::Busy`] where a partition is in use at each attempt, or what the database says. What was covered before that
/// stays covered.
pub async fn repair(session: &Session, patience: Patience) -> Result<Vec<Covered>, Error> {
    let mut covered = Vec::new();
    for row in session.rows("look for partitions without a guard", BARE).await? {
        let partition = text(&row, 0);
        run(session, &partition, "guard a partition", &text(&row, 1), patience).await?;
        covered.push(Covered { partition });
    }
    Ok(covered)
}

/// Guarded tables whose new partitions nobody guards by itself.
pub(crate) async fn unwatched(session: &Session) -> Result<Vec<String>, Error> {
    const UNWATCHED: &str = "SELECT g.relation::text FROM palisade.guard g JOIN pg_catalog.pg_class c \
        ON c.oid = g.relation WHERE c.relkind = 'p' AND NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger e \
        WHERE e.evtname = 'palisade_partitions' AND e.evtenabled <> 'D') ORDER BY 1";
    let rows = session.rows("see who guards new partitions", UNWATCHED).await?;
    Ok(rows.iter().map(|row| text(row, 0)).collect())
}
