//! From a table and its rules to SQL. Pure: what is shown is what runs.

use std::time::Duration;

use crate::error::Error;
use crate::installed::Installed;
use crate::quote;
use crate::rules::{Mode, Rules};
use crate::table::{Column, Table};

pub(crate) const SCHEMA: &str = concat!(
    include_str!("sql/schema.sql"),
    include_str!("sql/stamp.sql"),
    include_str!("sql/identity.sql"),
    include_str!("sql/grants.sql"),
);
const ROWS: &str = include_str!("sql/rows.sql");
const TRUNCATE: &str = include_str!("sql/truncate.sql");

/// The role that owns the guard where a superuser installs it, so that no code of the app runs as superuser.
pub const OWNER: &str = "palisade_owner";

/// What encloses the body of a generated function; nothing from outside may hold it.
pub(crate) const QUOTE: &str = "$palisade$";

/// Drops the role of [`OWNER`] with the last guard of a server.
pub const DROP_OWNER: &str = "DROP ROLE IF EXISTS palisade_owner";

/// Which columns a guard reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    status: Column,
    beat: Column,
    key: Vec<Column>,
    reason: Option<Column>,
    mark: Option<Column>,
}

/// The names of columns, as somebody typed them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// The state.
    pub status: String,
    /// The last beat.
    pub beat: String,
    /// What identifies a job; the primary key where it is empty.
    pub key: Vec<String>,
    /// Why a job ended.
    pub reason: Option<String>,
    /// What a user's cancel leaves.
    pub mark: Option<String>,
}

impl Columns {
    /// Looks the names up in the table, and whether they can be what they shall be.
    ///
    /// # Errors
    /// [`Error::Unfit`].
    pub fn of(table: &Table, named: &Named, rules: &Rules) -> Result<Self, Error> {
        let status = table.column(&named.status)?.clone();
        let states = rules.running.iter().chain(&rules.done).chain(&rules.own);
        let unknown = |state: &&String| {
            !status.labels.is_empty() && !status.labels.contains(state) && *state != "DELETE"
        };
        if let Some(state) = states.into_iter().find(unknown) {
            let labels = status.labels.join(", ");
            return Err(table.unfit(format!("{state:?} is no state of it; its states are {labels}")));
        }
        if table.partition_keys.contains(&status.name) {
            return Err(table.unfit(format!(
                "it is partitioned by {}, so that a change of state is a deletion and an insertion",
                status.name
            )));
        }
        let beat = table.column(&named.beat)?.clone();
        if !beat.kind.starts_with("timestamp") {
            return Err(
                table.unfit(format!("{} is {}, and a heartbeat has to be a timestamp", beat.name, beat.kind))
            );
        }
        let key: Vec<Column> = if named.key.is_empty() {
            table.columns.iter().filter(|column| column.key).cloned().collect()
        } else {
            named.key.iter().map(|name| table.column(name).cloned()).collect::<Result<_, _>>()?
        };
        if key.is_empty() {
            return Err(
                table.unfit("it has no primary key: name what identifies a job with --key".to_owned())
            );
        }
        let names = key.iter().chain([&status, &beat]).map(|column| &column.name);
        if names.chain(&named.reason).chain(&named.mark).any(|name| name.contains(QUOTE)) {
            return Err(
                table.unfit(format!("a column has {QUOTE} in its name, which ends the guard's own quotes"))
            );
        }
        let optional =
            |name: &Option<String>| name.as_ref().map(|name| table.column(name).cloned()).transpose();
        let (reason, mark) = (optional(&named.reason)?, optional(&named.mark)?);
        if reason.is_none() && rules.reason.is_some() {
            return Err(table.unfit("--reason needs the --reason-column that it is about".to_owned()));
        }
        Ok(Self { status, beat, key, reason, mark })
    }

    /// What identifies the job in that row.
    pub(crate) fn key_of(&self, row: &str) -> String {
        match self.key.as_slice() {
            [one] => field(row, one),
            several => {
                let fields: Vec<_> = several.iter().map(|column| field(row, column)).collect();
                format!("('(' || concat_ws(',', {}) || ')')", fields.join(", "))
            }
        }
    }

    /// That row `t` has the key of the old row, in a form that an index serves.
    fn same_key(&self) -> String {
        let equal = self.key.iter().map(|column| {
            let name = quote::name(&column.name);
            format!("t.{name} = OLD.{name}")
        });
        equal.collect::<Vec<_>>().join(" AND ")
    }

    pub(crate) fn status_name(&self) -> &str {
        &self.status.name
    }

    /// The type of the states, as SQL writes it.
    pub(crate) fn status_kind(&self) -> &str {
        &self.status.kind
    }

    pub(crate) fn reason_name(&self) -> Option<&str> {
        self.reason.as_ref().map(|column| column.name.as_str())
    }

    /// The columns of a guard that is there, under their names of now; `None` if one is gone.
    pub(crate) fn numbered(table: &Table, guard: &Installed) -> Option<Self> {
        let column = |number: i16| table.columns.iter().find(|column| column.number == number).cloned();
        let optional = |number: Option<i16>| match number {
            Some(number) => column(number).map(Some),
            None => Some(None),
        };
        let [status, beat, reason, mark] = guard.columns;
        Some(Self {
            status: column(status?)?,
            beat: column(beat?)?,
            key: guard.key.iter().map(|number| column(*number)).collect::<Option<_>>()?,
            reason: optional(reason)?,
            mark: optional(mark)?,
        })
    }
}

/// A column of a row, as text.
fn field(row: &str, column: &Column) -> String {
    format!("{row}.{}::text", quote::name(&column.name))
}

/// The whole SQL that puts a guard behind a table, or brings one up to date. One transaction.
#[must_use]
pub fn install(table: &Table, columns: &Columns, rules: &Rules, lock_timeout: Duration) -> String {
    let mut sql = begin(lock_timeout);
    if !table.schema_there {
        sql.push_str(&schema(table.superuser));
    }
    sql.push_str(&become_owner(table));
    sql.push_str(&rules_row(table, columns, rules));
    sql.push_str(&functions(table.id, &table.qualified(), columns, rules));
    sql.push_str(&readable(table));
    sql.push_str(if table.superuser { "RESET ROLE;\n\n" } else { "\n" });
    sql.push_str(&triggers(table));
    sql.push_str("COMMIT;\n");
    sql
}

pub(crate) fn begin(lock_timeout: Duration) -> String {
    format!("BEGIN;\nSET LOCAL lock_timeout = '{}ms';\n\n", lock_timeout.as_millis())
}

/// Everything that is in the schema before the first guard.
pub(crate) fn schema(superuser: bool) -> String {
    if !superuser {
        return format!("{SCHEMA}\n");
    }
    let role = format!(
        "DO $palisade$ BEGIN\n  IF to_regrole('{OWNER}') IS NULL THEN\n    CREATE ROLE {OWNER} NOLOGIN;\n  END IF;\n\
         END $palisade$;\n"
    );
    let (create, rest) = SCHEMA.split_once(";\n").expect("the schema begins with a statement");
    format!("{role}{create} AUTHORIZATION {OWNER};\nSET LOCAL ROLE {OWNER};\n{rest}RESET ROLE;\n\n")
}

/// A guard that a superuser installs belongs to a role that may do nothing else but count the table's rows.
fn become_owner(table: &Table) -> String {
    if !table.superuser {
        return String::new();
    }
    let counts =
        std::iter::once(table.qualified()).chain(table.partitions.iter().cloned()).collect::<Vec<_>>();
    format!(
        "GRANT USAGE ON SCHEMA {} TO {OWNER};\nGRANT SELECT ON {} TO {OWNER};\nSET LOCAL ROLE {OWNER};\n",
        quote::name(&table.schema),
        counts.join(", ")
    )
}

fn rules_row(table: &Table, columns: &Columns, rules: &Rules) -> String {
    let key: Vec<_> = columns.key.iter().map(|column| column.number.to_string()).collect();
    let number = |column: &Option<Column>| {
        column.as_ref().map_or("NULL".to_owned(), |column| column.number.to_string())
    };
    let values = [
        ("relation", format!("{}::regclass", quote::text(&table.qualified()))),
        ("mode", format!("'{}'", rules.mode)),
        ("status_column", columns.status.number.to_string()),
        ("beat_column", columns.beat.number.to_string()),
        ("key_columns", format!("'{{{}}}'", key.join(","))),
        ("reason_column", number(&columns.reason)),
        ("mark_column", number(&columns.mark)),
        ("running", quote::texts(&rules.running)),
        ("done", quote::texts(&rules.done)),
        ("own", quote::texts(&rules.own)),
        ("min_age", interval(rules.min_age)),
        ("quiet_after", interval(rules.quiet_after)),
        ("clock_skew", interval(rules.clock_skew)),
        ("reason", quote::optional(rules.reason.as_deref())),
        ("mark", quote::optional(rules.mark.as_deref())),
        ("budget", rules.budget.jobs.to_string()),
        ("budget_window", interval(rules.budget.window)),
        ("always", (!table.subscribed).to_string()),
    ];
    let names: Vec<_> = values.iter().map(|(name, _)| *name).collect();
    let texts: Vec<_> = values.iter().map(|(_, value)| value.as_str()).collect();
    let updates: Vec<_> = names.iter().map(|name| format!("{name} = excluded.{name}")).collect();
    let (id, jobs) = (table.id, rules.budget.jobs);
    let what = if table.guarded { "rules changed" } else { "installed" };
    format!(
        "INSERT INTO palisade.guard (id, {})\nVALUES ({id}, {})\nON CONFLICT (id) DO UPDATE SET {};\n\
         INSERT INTO palisade.change (guard, what) VALUES ({id}, '{what}, mode {}');\n\
         DELETE FROM palisade.slot WHERE guard = {id} AND slot > {jobs};\n\
         INSERT INTO palisade.slot (guard, slot) SELECT {id}, n FROM generate_series(1, {jobs}) n \
         ON CONFLICT DO NOTHING;\n",
        names.join(", "),
        texts.join(", "),
        updates.join(", "),
        rules.mode,
    )
}

/// The app may read what is kept about it, but for the verifier: a dump by its own role would fail otherwise.
fn readable(table: &Table) -> String {
    let owner = quote::name(&table.owner);
    format!(
        "GRANT USAGE ON SCHEMA palisade TO {owner};\nGRANT SELECT ON ALL TABLES IN SCHEMA palisade TO {owner};\n\
         GRANT SELECT ON ALL SEQUENCES IN SCHEMA palisade TO {owner};\n{}",
        if table.owned { String::new() } else { format!("REVOKE ALL ON palisade.secret FROM {owner};\n") }
    )
}

fn interval(duration: Duration) -> String {
    format!("'{} seconds'::interval", duration.as_secs())
}

/// The two functions that know the table's columns. Nobody is kept from executing them, because whoever adds a
/// partition needs that right; only a trigger can call them.
pub(crate) fn functions(id: i32, table: &str, columns: &Columns, rules: &Rules) -> String {
    let optional = |row: &str, column: &Option<Column>| {
        column.as_ref().map_or("NULL".to_owned(), |column| field(row, column))
    };
    // A beat without time zone is read as UTC, which is what libraries write.
    let zone = if columns.beat.kind.contains("without") { "\nSET timezone = 'UTC'" } else { "" };
    let rows = [
        ("{id}", id.to_string()),
        ("{zone}", zone.to_owned()),
        ("{running}", quote::texts(&rules.running)),
        ("{old_key}", columns.key_of("OLD")),
        ("{new_key}", columns.key_of("NEW")),
        ("{reason_was}", optional("OLD", &columns.reason)),
        ("{reason}", optional("NEW", &columns.reason)),
        ("{mark}", optional("NEW", &columns.mark)),
        ("{done}", quote::texts(&rules.done)),
        ("{table}", table.to_owned()),
        ("{same}", columns.same_key()),
        ("{moved_status}", field("t", &columns.status)),
        ("{moved_key}", columns.key_of("t")),
        ("{moved_reason}", optional("t", &columns.reason)),
        ("{moved_mark}", optional("t", &columns.mark)),
        ("{status}", quote::name(&columns.status.name)),
        ("{beat}", quote::name(&columns.beat.name)),
    ];
    let rows = fill(ROWS, &rows);
    let truncate = fill(TRUNCATE, &[("{id}", id.to_string())]);
    format!("{rows}{truncate}")
}

/// Puts values in the places of a template, in one pass: what a value holds is never taken for a place.
fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        filled.push_str(before);
        match values.iter().find(|(place, _)| from.starts_with(place)) {
            Some((place, value)) => {
                filled.push_str(value);
                rest = &from[place.len()..];
            }
            None => {
                filled.push('{');
                rest = &from[1..];
            }
        }
    }
    filled.push_str(rest);
    filled
}

fn triggers(table: &Table) -> String {
    let (id, name) = (table.id, table.qualified());
    let mut sql = format!(
        "CREATE OR REPLACE TRIGGER palisade_rows AFTER INSERT OR UPDATE OR DELETE ON {name}\n  \
         FOR EACH ROW EXECUTE FUNCTION palisade.rows_{id}();\n"
    );
    for relation in std::iter::once(&name).chain(&table.partitions) {
        sql.push_str(&format!(
            "CREATE OR REPLACE TRIGGER palisade_truncate BEFORE TRUNCATE ON {relation}\n  \
             FOR EACH STATEMENT EXECUTE FUNCTION palisade.truncate_{id}();\n"
        ));
    }
    if !table.subscribed {
        // Also in a session that has turned ordinary triggers off.
        sql.push_str(&format!("ALTER TABLE {name} ENABLE ALWAYS TRIGGER palisade_rows;\n"));
        for relation in std::iter::once(&name).chain(&table.partitions) {
            sql.push_str(&format!("ALTER TABLE {relation} ENABLE ALWAYS TRIGGER palisade_truncate;\n"));
        }
    }
    sql
}

/// The whole SQL that takes a guard away, and with the last one everything of ours, unless the database is stamped.
/// One transaction.
#[must_use]
pub fn remove(table: &Table, last: bool, keep_history: bool, lock_timeout: Duration) -> String {
    let (id, name) = (table.id, table.qualified());
    let mut sql = begin(lock_timeout);
    sql.push_str(&format!("DROP TRIGGER IF EXISTS palisade_rows ON {name};\n"));
    let relations: Vec<_> = std::iter::once(&name).chain(&table.partitions).collect();
    for relation in &relations {
        sql.push_str(&format!("DROP TRIGGER IF EXISTS palisade_truncate ON {relation};\n"));
    }
    if table.superuser {
        for relation in &relations {
            sql.push_str(&format!("REVOKE SELECT ON {relation} FROM {OWNER};\n"));
        }
    }
    if last && !keep_history && table.superuser {
        sql.push_str(&format!("REVOKE USAGE ON SCHEMA {} FROM {OWNER};\n", quote::name(&table.schema)));
    }
    if last && !keep_history && !table.stamped {
        sql.push_str("DROP SCHEMA palisade CASCADE;\n");
    } else {
        if last && !keep_history && table.superuser {
            let owner = quote::name(&table.owner);
            sql.push_str(&format!(
                "REVOKE ALL ON ALL TABLES IN SCHEMA palisade FROM {owner};\n\
                 REVOKE ALL ON ALL SEQUENCES IN SCHEMA palisade FROM {owner};\n\
                 REVOKE USAGE ON SCHEMA palisade FROM {owner};\n"
            ));
        }
        sql.push_str(&format!("DROP FUNCTION IF EXISTS palisade.rows_{id}(), palisade.truncate_{id}();\n"));
        sql.push_str(&format!("DELETE FROM palisade.guard WHERE id = {id};\n"));
        sql.push_str(&format!("DELETE FROM palisade.slot WHERE guard = {id};\n"));
        sql.push_str(&format!("INSERT INTO palisade.change (guard, what) VALUES ({id}, 'removed');\n"));
        if !keep_history {
            sql.push_str(&format!("DELETE FROM palisade.history WHERE guard = {id};\n"));
        }
    }
    sql.push_str("COMMIT;\n");
    sql
}

/// The SQL that changes a guard's mode. It touches no table of the app.
#[must_use]
pub fn mode(id: i32, mode: Mode) -> String {
    format!(
        "BEGIN;\nUPDATE palisade.guard SET mode = '{mode}' WHERE id = {id};\n\
         INSERT INTO palisade.change (guard, what) VALUES ({id}, 'mode {mode}');\nCOMMIT;\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_never_taken_for_a_place() {
        let values = [("{a}", "{b}".to_owned()), ("{b}", "x".to_owned())];
        assert_eq!(fill("{a}{b}'{running,{c}'", &values), "{b}x'{running,{c}'");
    }
}
