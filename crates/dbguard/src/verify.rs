//! Whether guards still are what was installed.

use std::collections::BTreeMap;

use palisade_postgres::Session;
use serde::Serialize;

use crate::error::Error;
use crate::installed::Installed;
use crate::script::{self, Columns};
use crate::table::{Table, text};
use crate::upgrade::{self, Standing};
use crate::weak;

/// Something that weakens a guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The table.
    pub table: String,
    /// What is wrong with its guard.
    pub problem: String,
    /// How to mend it.
    pub fix: String,
}

const TRIGGERS: &str = "SELECT t.tgname::text, format('%I.%I', n.nspname, c.relname), t.tgenabled::text, \
    p.proname::text FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid \
    WHERE t.tgname IN ('palisade_rows', 'palisade_truncate') AND p.pronamespace = 'palisade'::regnamespace";

const FUNCTIONS: &str = "SELECT p.proname::text, p.prosrc, p.prosecdef::text \
    FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'palisade'::regnamespace \
    AND obj_description(p.oid, 'pg_proc') IS DISTINCT FROM $1";

/// Whether the row that judgements look at first is kept, and says what is.
const WATCH: &str = "SELECT ((SELECT count(*) FROM pg_catalog.pg_trigger t WHERE t.tgname = 'sum_up' AND t.tgenabled <> 'D' \
    AND t.tgfoid = to_regprocedure('palisade.sum_up()')) = 4 AND coalesce(w.watched, true) = ( \
    EXISTS (SELECT FROM palisade.app a WHERE a.minimum_epoch IS NOT NULL) OR EXISTS (SELECT FROM palisade.binding) \
    OR EXISTS (SELECT FROM palisade.quarantine q WHERE q.lifted_at IS NULL)) \
    AND w.home IS NOT DISTINCT FROM (SELECT s.environment FROM palisade.stamp s))::text \
    FROM (SELECT) one LEFT JOIN palisade.watch w ON true";

/// Trigger and relation, to how it fires and which function it runs.
type Triggers = BTreeMap<(String, String), (String, String)>;

/// Looks at every guard of a database: its triggers, its functions, its table.
///
/// # Errors
/// What the database says.
pub async fn verify(session: &Session, guards: &[Installed]) -> Result<Vec<Damage>, Error> {
    if guards.is_empty() {
        return Ok(Vec::new());
    }
    let triggers = session.ask("read the triggers", TRIGGERS, &[]).await?;
    let triggers: Triggers =
        triggers.iter().map(|row| ((text(row, 0), text(row, 1)), (text(row, 2), text(row, 3)))).collect();
    let functions = session.ask("read the functions", FUNCTIONS, &[Some(upgrade::OUTGOING)]).await?;
    let functions: BTreeMap<_, _> = functions.iter().map(|row| (text(row, 0), text(row, 1))).collect();
    let format = upgrade::standing(session).await?;
    // What another build made is not compared with what this one would make.
    let comparable = matches!(format, Standing::Current | Standing::Unfinished);
    let mut found: Vec<Damage> = formed(format).into_iter().collect();
    if comparable {
        let own = bodies(script::SCHEMA);
        let changed = changed(&own, &functions);
        let others = if format == Standing::Current { weak::functions(session).await? } else { Vec::new() };
        let watch = session.ask("look what judgements look at first", WATCH, &[]).await?;
        let kept = watch.first().is_some_and(|row| text(row, 0) == "true");
        let unkept = (!kept).then(|| "palisade.watch does not say what is, or is not kept".to_owned());
        found.extend(changed.chain(others).chain(unkept).map(|problem| Damage {
            table: "(every table)".to_owned(),
            problem,
            fix: "see who changed it, then remove the guards and install them again".to_owned(),
        }));
    }
    for guard in guards {
        let problems = match Table::find(session, &guard.table).await {
            Ok(table) => problems(guard, &table, &triggers, comparable.then_some(&functions)),
            Err(Error::Unfit { .. }) => vec!["the table is gone, or became something else".to_owned()],
            Err(error) => return Err(error),
        };
        found.extend(problems.into_iter().map(|problem| Damage {
            table: guard.table.clone(),
            problem,
            fix: format!("palisade guard install table {} with the same rules", guard.table),
        }));
    }
    Ok(found)
}

/// A schema that is not what this build installs, and not because somebody changed it.
fn formed(format: Standing) -> Option<Damage> {
    let (problem, fix) = match format {
        Standing::Absent | Standing::Current => return None,
        Standing::Unfinished => (
            "the upgrade is not finished: functions of before are still there".to_owned(),
            "palisade guard upgrade table, once the transactions that it names are over",
        ),
        Standing::Older(found) => (
            format!("the guards are older than this build: format {found}, and not {}", upgrade::FORMAT),
            "palisade guard upgrade table",
        ),
        Standing::Newer(found) => (
            format!("the guards are newer than this build: format {found}, and not {}", upgrade::FORMAT),
            "look with the build that installed them, or a later one",
        ),
    };
    Some(Damage { table: "(every table)".to_owned(), problem, fix: fix.to_owned() })
}

fn problems(
    guard: &Installed,
    table: &Table,
    triggers: &Triggers,
    functions: Option<&BTreeMap<String, String>>,
) -> Vec<String> {
    let mut found: Vec<String> =
        expected(table).filter_map(|(trigger, relation)| fires(guard, trigger, relation, triggers)).collect();
    match (Columns::numbered(table, guard), functions) {
        (None, _) => found.push("a column that it reads is gone".to_owned()),
        (Some(_), None) => {}
        (Some(columns), Some(functions)) => {
            let own = bodies(&script::functions(guard.id, &table.qualified(), &columns, &guard.rules));
            found.extend(
                changed(&own, functions)
                    .map(|problem| format!("{problem}, or the table or a column was renamed")),
            );
        }
    }
    found
}

/// What is wrong with one trigger.
fn fires(guard: &Installed, trigger: &str, relation: String, triggers: &Triggers) -> Option<String> {
    let function = format!("{}_{}", trigger.trim_start_matches("palisade_"), guard.id);
    let on = format!("the trigger {trigger}");
    match triggers.get(&(trigger.to_owned(), relation.clone())) {
        None => Some(format!("{on} is missing on {relation}")),
        Some((_, runs)) if *runs != function => Some(format!("{on} on {relation} runs another function")),
        Some((enabled, _)) if enabled == "D" => Some(format!("{on} on {relation} is disabled")),
        Some((enabled, _)) if guard.always && enabled != "A" => {
            Some(format!("{on} on {relation} can be turned off by a session"))
        }
        Some(_) => None,
    }
}

/// The functions that are not what they should be.
fn changed(
    expected: &BTreeMap<String, String>,
    there: &BTreeMap<String, String>,
) -> impl Iterator<Item = String> {
    let wrong = expected.iter().filter(|(name, body)| there.get(*name) != Some(*body));
    wrong.map(|(name, _)| format!("the function palisade.{name} is not the one that was installed"))
}

/// Each trigger that a table has to have, with the relation that it stands on.
fn expected(table: &Table) -> impl Iterator<Item = (&'static str, String)> {
    let name = table.bare();
    let relations = std::iter::once(name).chain(table.partitions.iter().cloned());
    relations.flat_map(|relation| [("palisade_rows", relation.clone()), ("palisade_truncate", relation)])
}

/// The functions that a script makes, by name, with their bodies.
fn bodies(sql: &str) -> BTreeMap<String, String> {
    let body = |routine: &str| {
        let (_, named) = routine.split_once("FUNCTION palisade.")?;
        Some((named.split_once('(')?.0.to_owned(), routine.split(script::QUOTE).nth(1)?.to_owned()))
    };
    script::routines(sql).into_iter().filter_map(body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_of_the_schema_is_compared() {
        let found = bodies(script::SCHEMA);
        assert_eq!(found.len(), script::SCHEMA.matches("CREATE FUNCTION").count());
        assert!(found["take_slot"].contains("pg_try_advisory_xact_lock"));
    }
}
