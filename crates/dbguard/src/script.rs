//! From a table and its rules to SQL. Pure: what is shown is what runs.

use std::time::Duration;

pub use crate::columns::{Columns, Named};
use crate::columns::{Elsewhere, optional};
use crate::partitions;
use crate::quote;
use crate::rules::{Mode, Rules};
use crate::table::{Column, Table};

pub(crate) const SCHEMA: &str = concat!(
    include_str!("sql/schema.sql"),
    include_str!("sql/stamp.sql"),
    include_str!("sql/identity.sql"),
    include_str!("sql/foreign.sql"),
    include_str!("sql/watch.sql"),
    include_str!("sql/partitions.sql"),
    include_str!("sql/grants.sql"),
);
/// Who may call what of it.
pub(crate) const GRANTS: &str = include_str!("sql/grants.sql");
const ROWS: &str = include_str!("sql/rows.sql");
/// What a table's function does with what it read; it stands there twice.
const ACT: &str = include_str!("sql/act.sql");
const TRUNCATE: &str = include_str!("sql/truncate.sql");

/// The role that owns the guard where a superuser installs it, so that no code of the app runs as superuser.
pub const OWNER: &str = "palisade_owner";

/// What encloses the body of a generated function; nothing from outside may hold it.
pub(crate) const QUOTE: &str = "$palisade$";

/// The role that a table's own functions run as where a superuser installs it. What the table's owner makes of its columns, such
/// as a cast of a type of its own, runs with its rights: it may write what is kept about jobs, and change neither a function nor a rule.
pub const HAND: &str = "palisade_hand";

/// Drops the roles of [`OWNER`] and [`HAND`] with the last guard of a server.
pub const DROP_OWNER: &str = "DROP ROLE IF EXISTS palisade_owner, palisade_hand";

/// The whole SQL that puts a guard behind a table, or brings one up to date. One transaction.
#[must_use]
pub fn install(table: &Table, columns: &Columns, rules: &Rules, lock_timeout: Duration) -> String {
    let mut sql = begin(lock_timeout);
    if !table.schema_there {
        sql.push_str(&schema(table.superuser));
    }
    if table.superuser {
        sql.push_str(&seen(table, Some(columns)));
    }
    // By whoever installs: the owner of the guards cannot even name a table in a schema of the app's.
    sql.push_str(&rules_row(table, columns, rules));
    let readable = readable(&table.owner, table.owned);
    sql.push_str(&if table.superuser {
        format!("SET LOCAL ROLE {OWNER};\n{readable}RESET ROLE;\n\n")
    } else {
        readable + "\n"
    });
    sql.push_str(&functions(table.id, &table.qualified(), columns, rules));
    sql.push_str(&callable(table.id, &table.owner, table.superuser));
    sql.push_str(&triggers(table));
    if table.superuser && table.is_partitioned() {
        sql.push_str(partitions::WATCH);
    }
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
        "DO $palisade$ BEGIN\n  IF to_regrole('{OWNER}') IS NULL THEN\n    CREATE ROLE {OWNER} NOLOGIN;\n  \
         END IF;\nEND $palisade$;\n{}",
        hand()
    );
    let (create, rest) = SCHEMA.split_once(";\n").expect("the schema begins with a statement");
    format!("{role}{create} AUTHORIZATION {OWNER};\nSET LOCAL ROLE {OWNER};\n{rest}RESET ROLE;\n\n")
}

/// The role of [`HAND`], if it is not there.
pub(crate) fn hand() -> String {
    format!(
        "DO $palisade$ BEGIN\n  IF to_regrole('{HAND}') IS NULL THEN\n    CREATE ROLE {HAND} NOLOGIN BYPASSRLS;\n  \
         END IF;\nEND $palisade$;\n"
    )
}

/// Who may put a table's functions behind a table: whoever adds a partition to it needs that right. Behind a table of somebody
/// else's they would run his code.
pub(crate) fn callable(id: i32, owner: &str, superuser: bool) -> String {
    let both = format!("palisade.rows_{id}(), palisade.truncate_{id}()");
    let mut sql = String::new();
    if superuser {
        for function in both.split(", ") {
            sql.push_str(&format!("ALTER FUNCTION {function} OWNER TO {HAND};\n"));
        }
    }
    sql.push_str(&format!(
        "REVOKE ALL ON FUNCTION {both} FROM PUBLIC;\nGRANT EXECUTE ON FUNCTION {both} TO {};\n",
        quote::name(owner)
    ));
    sql
}

/// The rights of [`HAND`] on what a guard reads.
pub(crate) fn seen(table: &Table, columns: Option<&Columns>) -> String {
    format!(
        "GRANT USAGE ON SCHEMA {} TO {HAND};\nGRANT SELECT ON {} TO {HAND};\n",
        schemas(table, columns),
        reads(table, columns).join(", ")
    )
}

/// What [`OWNER`] had of it in earlier formats.
pub(crate) fn unseen(table: &Table, columns: Option<&Columns>) -> String {
    format!("REVOKE SELECT ON {} FROM {OWNER};\n", reads(table, columns).join(", "))
        + &format!("REVOKE USAGE ON SCHEMA {} FROM {OWNER};\n", schemas(table, columns))
}

/// Every relation that a guard reads: the table, its partitions, and where the beat is.
fn reads(table: &Table, columns: Option<&Columns>) -> Vec<String> {
    let own = std::iter::once(table.qualified()).chain(table.partitions.iter().cloned());
    own.chain(columns.and_then(Columns::elsewhere).map(Elsewhere::qualified)).collect()
}

fn schemas(table: &Table, columns: Option<&Columns>) -> String {
    let mut schemas = vec![quote::name(&table.schema)];
    schemas.extend(columns.and_then(Columns::elsewhere).map(|there| quote::name(&there.schema)));
    schemas.dedup();
    schemas.join(", ")
}

fn rules_row(table: &Table, columns: &Columns, rules: &Rules) -> String {
    let numbers = |columns: &[Column]| {
        let numbers: Vec<_> = columns.iter().map(|column| column.number.to_string()).collect();
        format!("'{{{}}}'", numbers.join(","))
    };
    let number =
        |column: Option<&Column>| column.map_or("NULL".to_owned(), |column| column.number.to_string());
    let there = columns.elsewhere();
    let values = [
        ("relation", format!("{}::regclass", quote::text(&table.qualified()))),
        ("mode", format!("'{}'", rules.mode)),
        ("status_column", columns.status.number.to_string()),
        ("claimed", columns.claimed.to_string()),
        ("beat_column", columns.beat.number.to_string()),
        (
            "beat_relation",
            there.map_or("NULL".to_owned(), |there| format!("{}::regclass", quote::text(&there.qualified()))),
        ),
        ("beat_there", number(there.map(|there| &there.column))),
        ("beat_key", number(there.map(|there| &there.key))),
        ("key_columns", numbers(&columns.key)),
        ("own_columns", numbers(&columns.own)),
        ("reason_column", number(columns.reason.as_ref())),
        ("mark_column", number(columns.mark.as_ref())),
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

/// The app may read what is kept about it, but for the verifier: a dump by its own role would fail otherwise. Whoever
/// owns the guards too keeps that.
pub(crate) fn readable(owner: &str, owned: bool) -> String {
    let owner = quote::name(owner);
    format!(
        "GRANT USAGE ON SCHEMA palisade TO {owner};\nGRANT SELECT ON ALL TABLES IN SCHEMA palisade TO {owner};\n\
         GRANT SELECT ON ALL SEQUENCES IN SCHEMA palisade TO {owner};\n{}",
        if owned { String::new() } else { format!("REVOKE ALL ON palisade.secret FROM {owner};\n") }
    )
}

/// The statements of a script that make functions, each to its end.
pub(crate) fn routines(sql: &str) -> Vec<&str> {
    let starts = sql.match_indices("CREATE ").map(|(at, _)| &sql[at..]);
    let made = starts.filter(|rest| {
        let rest = &rest["CREATE ".len()..];
        rest.strip_prefix("OR REPLACE ").unwrap_or(rest).starts_with("FUNCTION palisade.")
    });
    made.filter_map(|rest| {
        let body = rest.find(QUOTE)? + QUOTE.len();
        let end = body + rest[body..].find(QUOTE)? + QUOTE.len();
        Some(&rest[..end + rest[end..].find(';')? + 1])
    })
    .collect()
}

/// Every text that a guard is made from.
#[cfg(test)]
pub(crate) fn everything() -> String {
    [SCHEMA, ROWS, ACT, TRUNCATE].concat()
}

/// The statement that says what the schema is, and of which format.
pub(crate) fn comment() -> &'static str {
    let from = SCHEMA.find("COMMENT ON SCHEMA").expect("the schema says what it is");
    SCHEMA[from..].split(';').next().expect("a split has a first part")
}

fn interval(duration: Duration) -> String {
    format!("'{} seconds'::interval", duration.as_secs())
}

/// The two functions that know the table's columns.
pub(crate) fn functions(id: i32, table: &str, columns: &Columns, rules: &Rules) -> String {
    // A beat without time zone is read as UTC, which is what libraries write.
    let zone = if columns.beat_kind().contains("without") { "\nSET timezone = 'UTC'" } else { "" };
    let done = quote::texts(&rules.done);
    let act = fill(ACT, &[("{id}", id.to_string()), ("{done}", done.clone())]);
    let rows = [
        ("{id}", id.to_string()),
        ("{act}", act),
        ("{zone}", zone.to_owned()),
        ("{running}", quote::texts(&rules.running)),
        ("{old_key}", columns.key_of("OLD")),
        ("{new_key}", columns.key_of("NEW")),
        ("{reason_was}", optional("OLD", &columns.reason)),
        ("{reason}", optional("NEW", &columns.reason)),
        ("{mark}", optional("NEW", &columns.mark)),
        ("{done}", done),
        ("{table}", table.to_owned()),
        ("{same}", columns.same_key()),
        ("{was}", columns.state_of("OLD")),
        ("{became}", columns.state_of("NEW")),
        ("{beat}", columns.beat_of("OLD")),
        ("{became_beat}", columns.beat_of("NEW")),
        ("{beats}", columns.beats()),
        // A beat that is elsewhere is not written here, and another worker's may be older.
        ("{still}", columns.elsewhere().map_or("", |_| "\n  became_beat := beat;").to_owned()),
        ("{mine}", columns.mine()),
        ("{moved_status}", columns.state_of("t")),
        ("{moved_beat}", columns.beat_of("t")),
        ("{moved_key}", columns.key_of("t")),
        ("{moved_reason}", optional("t", &columns.reason)),
        ("{moved_mark}", optional("t", &columns.mark)),
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
    if !keep_history && (!last || table.stamped) {
        // Before the table is locked: this may take its time.
        sql.push_str(&format!("DELETE FROM palisade.history WHERE guard = {id};\n"));
    }
    sql.push_str(&format!("DROP TRIGGER IF EXISTS palisade_rows ON {name};\n"));
    let relations: Vec<_> = std::iter::once(&name).chain(&table.partitions).collect();
    for relation in &relations {
        sql.push_str(&format!("DROP TRIGGER IF EXISTS palisade_truncate ON {relation};\n"));
    }
    if table.superuser {
        sql.push_str(&partitions::unwatch(id));
        for relation in &relations {
            sql.push_str(&of_each_role(|role| format!("REVOKE SELECT ON {relation} FROM {role}")));
        }
        sql.push_str(&revoke_elsewhere(id));
    }
    if last && !keep_history && table.superuser {
        let schema = quote::name(&table.schema);
        sql.push_str(&of_each_role(|role| format!("REVOKE USAGE ON SCHEMA {schema} FROM {role}")));
    }
    if last && !keep_history && !table.stamped {
        sql.push_str("DROP SCHEMA palisade CASCADE;\n");
        if table.superuser {
            // Whatever else it was granted in this database, for this guard or for one that went before.
            sql.push_str(&of_each_role(|role| format!("DROP OWNED BY {role}")));
        }
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
        sql.push_str(&format!("DELETE FROM palisade.job WHERE guard = {id};\n"));
    }
    sql.push_str("COMMIT;\n");
    sql
}

/// A statement about each role of the guards that is there: an earlier format had one, and where the table's owner installed the
/// guard there is none.
fn of_each_role(statement: impl Fn(&str) -> String) -> String {
    let ifs = [OWNER, HAND].map(|role| {
        let statement = statement(role);
        let body = format!("BEGIN IF to_regrole('{role}') IS NOT NULL THEN {statement}; END IF; END");
        format!("DO {};\n", quote::text(&body))
    });
    ifs.concat()
}

/// The right to read the table of the beats, unless another guard needs it.
fn revoke_elsewhere(id: i32) -> String {
    let revoke = [OWNER, HAND].map(|role| {
        format!(
            "  IF there IS NOT NULL AND to_regrole('{role}') IS NOT NULL THEN\n    \
             EXECUTE format('REVOKE SELECT ON %s FROM {role}', there);\n  END IF;\n"
        )
    });
    format!(
        "DO $palisade$ DECLARE there regclass := (SELECT g.beat_relation FROM palisade.guard g \
         JOIN pg_class c ON c.oid = g.beat_relation WHERE g.id = {id} AND NOT EXISTS (SELECT FROM palisade.guard o \
         WHERE o.id <> g.id AND g.beat_relation IN (o.beat_relation, o.relation)));\nBEGIN\n{}END $palisade$;\n",
        revoke.concat()
    )
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
