//! From the schema that an earlier build installed to that of this one.
//!
//! It expands, then contracts. First, in one transaction, whatever a later format added is added, every function is
//! replaced and each table's own functions are made anew; functions that nothing of this build calls stay, for a
//! statement that runs meanwhile may still be in the middle of an old one. Once those statements are over, they are
//! dropped. No table of an app is locked or written: triggers call functions by name.

use std::time::Duration;

use palisade_postgres::Session;
use serde::Serialize;

use crate::error::Error;
use crate::installed::{Installed, installed};
use crate::quote;
use crate::script::{self, Columns, OWNER, SCHEMA};
use crate::table::{Table, text};
use crate::work::{Patience, run};

/// The format of the schema that this build installs.
pub const FORMAT: u32 = 4;

/// What each format added to the one before it, which is the place in this list. It may find its work done. The third and
/// the fourth changed functions, and who may do what, only.
const STEPS: [&str; 3] = [include_str!("sql/watch.sql"), "", ""];

/// What a function bears that is dropped at the end.
pub(crate) const OUTGOING: &str = "outgoing: palisade guard upgrade table";

/// How a database's schema stands to this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "format")]
pub enum Standing {
    /// There is none.
    Absent,
    /// It is this build's.
    Current,
    /// It is this build's, and what it replaced is still there.
    Unfinished,
    /// An earlier build made it.
    Older(u32),
    /// A later build made it.
    Newer(u32),
}

/// Looks which format a database's guards have.
///
/// # Errors
/// What the database says.
pub async fn standing(session: &Session) -> Result<Standing, Error> {
    const LOOK: &str = "SELECT (n.oid IS NOT NULL)::text, coalesce(substring(obj_description(n.oid, 'pg_namespace') \
        FROM 'format ([0-9]{1,6})'), '1'), EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.pronamespace = n.oid \
        AND obj_description(p.oid, 'pg_proc') = $1)::text \
        FROM (SELECT to_regnamespace('palisade')::oid AS oid) n";
    let rows = session.ask("look which format the guards have", LOOK, &[Some(OUTGOING)]).await?;
    let row = rows.first().cloned().unwrap_or_default();
    let format = text(&row, 1).parse().unwrap_or(1);
    Ok(match (text(&row, 0) == "true", format) {
        (false, _) => Standing::Absent,
        (true, format) if format < FORMAT => Standing::Older(format),
        (true, format) if format > FORMAT => Standing::Newer(format),
        (true, _) if text(&row, 2) == "true" => Standing::Unfinished,
        (true, _) => Standing::Current,
    })
}

/// That this build may put a guard into the schema that is there.
///
/// # Errors
/// [`Error::Format`], or what the database says.
pub async fn expect_current(session: &Session) -> Result<(), Error> {
    match standing(session).await? {
        Standing::Older(found) | Standing::Newer(found) => Err(Error::Format { found, own: FORMAT }),
        Standing::Absent | Standing::Current | Standing::Unfinished => Ok(()),
    }
}

/// What an upgrade has to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The format that is there.
    pub from: u32,
    /// The one of this build.
    pub to: u32,
    /// Guarded tables whose own functions are made anew.
    pub tables: Vec<String>,
    /// Guarded tables that lack a column which their guard reads, or bear a name that ends its quotes: they keep the old
    /// functions.
    pub left: Vec<String>,
    /// The first step: the whole SQL, one transaction.
    pub sql: String,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Upgraded {
    /// How often the first step was tried.
    pub attempts: u32,
    /// Whether nothing of the old functions is left. If it is, running it again takes it away.
    pub finished: bool,
}

/// Looks what there is, and what would be done about it.
///
/// # Errors
/// [`Error::Unguarded`] where there is no schema, [`Error::Format`] where a later build made it, or what the database says.
pub async fn plan(session: &Session, lock_timeout: Duration) -> Result<Plan, Error> {
    let standing = standing(session).await?;
    let from = match standing {
        Standing::Absent => return Err(Error::Unguarded { table: "this database".to_owned() }),
        Standing::Newer(found) => return Err(Error::Format { found, own: FORMAT }),
        Standing::Older(found) => found,
        Standing::Current | Standing::Unfinished => FORMAT,
    };
    const WHOSE: &str = "SELECT pg_get_userbyid(n.nspowner)::text, (pg_get_userbyid(n.nspowner) = current_user)::text \
        FROM pg_catalog.pg_namespace n WHERE n.nspname = 'palisade'";
    let rows = session.ask("see who owns the guards", WHOSE, &[]).await?;
    let row = rows.first().cloned().unwrap_or_default();
    let (owner, own) = (text(&row, 0), text(&row, 1) == "true");
    let mut made = Made { hand: owner == OWNER, ..Made::default() };
    for guard in installed(session).await? {
        made.guard(session, &owner, &guard).await?;
    }
    let sql = match standing {
        Standing::Current => String::new(),
        _ => expand(from, (!own).then_some(&owner), &made, lock_timeout),
    };
    Ok(Plan { from, to: FORMAT, tables: made.tables, left: made.left, sql })
}

/// What is made for each guard.
#[derive(Debug, Default)]
struct Made {
    /// Whether a superuser installed them: a table's functions then have a role of their own.
    hand: bool,
    tables: Vec<String>,
    left: Vec<String>,
    functions: String,
    grants: String,
}

impl Made {
    async fn guard(&mut self, session: &Session, owner: &str, guard: &Installed) -> Result<(), Error> {
        let table = match Table::find(session, &guard.table).await {
            Ok(table) => table,
            Err(Error::Unfit { .. }) => {
                self.left.push(guard.table.clone());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let columns = Columns::numbered(&table, guard);
        self.functions.push_str(&script::callable(guard.id, &table.owner, self.hand));
        if self.hand {
            self.functions.push_str(&script::seen(&table, columns.as_ref()));
            self.functions.push_str(&script::unseen(&table, columns.as_ref()));
        }
        // A name may have become one that no function can be written with.
        let columns = columns.filter(|columns| !columns.ends_quotes(&table));
        let Some(columns) = columns else {
            self.left.push(guard.table.clone());
            return Ok(());
        };
        self.functions.push_str(&script::functions(guard.id, &table.qualified(), &columns, &guard.rules));
        if table.owner != owner {
            self.grants.push_str(&script::readable(&table.owner, false));
        }
        self.tables.push(guard.table.clone());
        Ok(())
    }
}

/// The first step. What is there may be of any format up to this build's.
fn expand(from: u32, owner: Option<&String>, made: &Made, lock_timeout: Duration) -> String {
    let mut sql = script::begin(lock_timeout);
    if made.hand {
        sql.push_str(&script::hand());
    }
    if let Some(owner) = owner {
        sql.push_str(&format!("SET LOCAL ROLE {};\n", quote::name(owner)));
    }
    let steps = STEPS.iter().skip(usize::try_from(from).unwrap_or(1).saturating_sub(1));
    steps.for_each(|step| sql.push_str(step));
    // A function may call one that comes after it.
    sql.push_str("SET LOCAL check_function_bodies = off;\n");
    for routine in script::routines(SCHEMA) {
        sql.push_str(&routine.replacen("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1));
        sql.push('\n');
    }
    // What this transaction has not written is of before.
    sql.push_str(&format!(
        "DO $palisade$ DECLARE old regprocedure; BEGIN\n  FOR old IN SELECT p.oid FROM pg_catalog.pg_proc p \
         WHERE p.pronamespace = 'palisade'::regnamespace AND p.proowner = current_user::regrole\n    AND p.xmin::text <> (pg_current_xact_id()::text::bigint \
         % 4294967296)::text AND p.proname !~ '^(rows|truncate)_[0-9]+$'\n  LOOP\n    \
         EXECUTE format('COMMENT ON FUNCTION %s IS %L', old, '{OUTGOING}');\n  END LOOP;\nEND $palisade$;\n"
    ));
    if made.hand {
        sql.push_str("RESET ROLE;\n");
    }
    sql.push_str(script::GRANTS);
    sql.push_str(&made.grants);
    sql.push_str(&made.functions);
    sql.push_str(&format!(
        "{};\nINSERT INTO palisade.change (guard, what) SELECT g.id, 'upgraded from format {from} to {FORMAT}' \
         FROM palisade.guard g;\nCOMMIT;\n",
        script::comment()
    ));
    sql
}

/// Carries a plan out, and takes away what it replaced once no statement can be in the middle of it.
///
/// # Errors
/// [`Error::Busy`] where somebody holds the guards' own tables at each attempt, or what the database says. Then nothing
/// was changed.
pub async fn upgrade(session: &Session, plan: &Plan, patience: Patience) -> Result<Upgraded, Error> {
    let attempts = match plan.sql.as_str() {
        "" => 0,
        _ => run(session, "the schema palisade", "upgrade the guards", &plan.sql, patience).await?,
    };
    let finished = plan.left.is_empty() && contract(session, patience).await?;
    Ok(Upgraded { attempts, finished })
}

/// The second step. Whoever writes a guarded table now may be in the middle of an old function; whoever comes later is not.
async fn contract(session: &Session, patience: Patience) -> Result<bool, Error> {
    const WRITERS: &str = "SELECT DISTINCT l.virtualtransaction FROM pg_catalog.pg_locks l WHERE l.granted \
        AND l.pid <> pg_backend_pid() AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database()) \
        AND l.mode = 'RowExclusiveLock' AND l.relation IN (SELECT t.relid FROM palisade.guard g, \
        pg_catalog.pg_partition_tree(g.relation) t UNION SELECT g.relation FROM palisade.guard g)";
    const LEFT: &str = "SELECT format('DROP FUNCTION %s', p.oid::regprocedure) FROM pg_catalog.pg_proc p \
        WHERE p.pronamespace = to_regnamespace('palisade') AND obj_description(p.oid, 'pg_proc') = $1";
    let left = session.ask("look what is left of before", LEFT, &[Some(OUTGOING)]).await?;
    if left.is_empty() {
        return Ok(true);
    }
    let writers = |rows: Vec<_>| rows.iter().map(|row| text(row, 0)).collect::<Vec<_>>();
    let mut waiting = writers(session.rows("look who writes", WRITERS).await?);
    for _ in 0..patience.attempts {
        if waiting.is_empty() {
            let mut sql = script::begin(patience.lock_timeout);
            left.iter().for_each(|row| sql.push_str(&format!("{};\n", text(row, 0))));
            sql.push_str("COMMIT;\n");
            run(session, "the schema palisade", "drop what was replaced", &sql, patience).await?;
            return Ok(true);
        }
        tokio::time::sleep(patience.lock_timeout.max(Duration::from_millis(20))).await;
        let now = writers(session.rows("look who writes", WRITERS).await?);
        waiting.retain(|writer| now.contains(writer));
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use palisade_core::canonical::hex;
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// What [`FORMAT`] stands for. Where this differs, something that a database keeps was changed: raise [`FORMAT`], write what
    /// the step adds into [`STEPS`], put the `--dry-run` of the format before into `tests/earlier`, and only then this.
    const DIGEST: &str = "baef1e28a7486f515d9422c136354cd742160441d9f63ec54c8c120248574969";

    #[test]
    fn a_change_of_what_is_installed_is_a_new_format() {
        let digest = hex(&Sha256::digest(script::everything()));
        assert_eq!(digest, DIGEST, "the SQL of a guard is not that of format {FORMAT} any more");
        assert_eq!(STEPS.len() + 1, FORMAT as usize);
        assert!(script::comment().contains(&format!("format {FORMAT}.")));
    }
}
