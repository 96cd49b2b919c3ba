//! Guards that are there.

use std::time::Duration;

use palisade_postgres::{Row, Session};
use serde::Serialize;

use crate::columns::Elsewhere;
use crate::error::Error;
use crate::rules::{Budget, Mode, Rules};
use crate::table::{Column, Table, text};

/// A guard, as the database has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// Its number.
    pub id: i32,
    /// The table, as SQL writes it; a number where the table is gone.
    pub table: String,
    /// Its rules.
    pub rules: Rules,
    /// When it was installed.
    pub installed_at: String,
    /// By whom.
    pub installed_by: String,
    /// Numbers of the columns: state, beat, reason, mark.
    #[serde(skip)]
    pub(crate) columns: [Option<i16>; 4],
    /// Numbers of the key's columns.
    #[serde(skip)]
    pub(crate) key: Vec<i16>,
    /// Numbers of the columns that tell a worker's own exit.
    #[serde(skip)]
    pub(crate) own: Vec<i16>,
    /// Whether a job runs as long as the column of states is not null.
    pub claimed: bool,
    /// Where the beat is, if not in the table itself.
    #[serde(skip)]
    pub(crate) elsewhere: Option<Elsewhere>,
    /// Whether its triggers also fire where ordinary ones are turned off.
    pub always: bool,
    /// Whether a claim or a foreign exit needs an identity.
    pub identity_required: bool,
}

const GUARDS: &str = "SELECT g.id, g.relation, g.mode, array_to_string(g.running, E'\\x1f'), \
    array_to_string(g.done, E'\\x1f'), array_to_string(g.own, E'\\x1f'), extract(epoch FROM g.min_age)::bigint, \
    extract(epoch FROM g.quiet_after)::bigint, extract(epoch FROM g.clock_skew)::bigint, g.reason, g.mark, \
    g.budget, extract(epoch FROM g.budget_window)::bigint, g.installed_at, g.installed_by, g.status_column, \
    CASE WHEN g.beat_relation IS NULL OR EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = g.beat_relation \
        AND a.attnum = g.beat_there AND NOT a.attisdropped) THEN g.beat_column END, g.reason_column, g.mark_column, array_to_string(g.key_columns, ','), g.always, \
    array_to_string(g.own_columns, ','), g.claimed, n.nspname, c.relname, b.attnum, b.attname, \
    format_type(b.atttypid, NULL), k.attnum, k.attname, g.identity_required \
    FROM palisade.guard g LEFT JOIN pg_catalog.pg_class c ON c.oid = g.beat_relation \
    LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_catalog.pg_attribute b ON b.attrelid = c.oid AND b.attnum = g.beat_there AND NOT b.attisdropped \
    LEFT JOIN pg_catalog.pg_attribute k ON k.attrelid = c.oid AND k.attnum = g.beat_key AND NOT k.attisdropped \
    ORDER BY 2";

/// Every guard of a database; none where Palisade was never used.
///
/// # Errors
/// What the database says.
pub async fn installed(session: &Session) -> Result<Vec<Installed>, Error> {
    let there = session.rows("look for guards", "SELECT to_regclass('palisade.guard')").await?;
    if there.first().and_then(|row| row.first()).is_none_or(Option::is_none) {
        return Ok(Vec::new());
    }
    let rows = session.rows("list the guards", GUARDS).await?;
    Ok(rows.iter().map(guard).collect())
}

/// A table that somebody typed, and its guard.
///
/// # Errors
/// [`Error::Unguarded`], or what the database says.
pub async fn guard_of(session: &Session, name: &str) -> Result<(Table, Installed), Error> {
    let table = Table::find(session, name).await?;
    let guards = installed(session).await?;
    let guard = guards.into_iter().find(|guard| table.guarded && guard.id == table.id);
    let guard = guard.ok_or_else(|| Error::Unguarded { table: name.to_owned() })?;
    Ok((table, guard))
}

fn guard(row: &Row) -> Installed {
    let texts = |at: usize| -> Vec<String> {
        text(row, at).split('\u{1f}').filter(|state| !state.is_empty()).map(str::to_owned).collect()
    };
    let seconds = |at: usize| Duration::from_secs(text(row, at).parse().unwrap_or_default());
    let number = |at: usize| text(row, at).parse().ok();
    let numbers = |at: usize| text(row, at).split(',').filter_map(|number| number.parse().ok()).collect();
    Installed {
        id: text(row, 0).parse().unwrap_or_default(),
        table: text(row, 1),
        rules: Rules {
            mode: if text(row, 2) == "enforce" { Mode::Enforce } else { Mode::Observe },
            running: texts(3),
            done: texts(4),
            own: texts(5),
            min_age: seconds(6),
            quiet_after: seconds(7),
            clock_skew: seconds(8),
            reason: row.get(9).cloned().flatten(),
            mark: row.get(10).cloned().flatten(),
            budget: Budget { jobs: text(row, 11).parse().unwrap_or_default(), window: seconds(12) },
        },
        installed_at: text(row, 13),
        installed_by: text(row, 14),
        columns: [number(15), number(16), number(17), number(18)],
        key: numbers(19),
        always: text(row, 20) == "t",
        own: numbers(21),
        claimed: text(row, 22) == "t",
        elsewhere: elsewhere(row),
        identity_required: text(row, 30) == "t",
    }
}

/// Where the beat is, if in another table that is still there.
fn elsewhere(row: &Row) -> Option<Elsewhere> {
    let column = |number: usize, name: usize, kind: String| {
        let number = text(row, number).parse().ok()?;
        Some(Column { number, name: text(row, name), kind, key: false, labels: Vec::new(), room: None })
    };
    Some(Elsewhere {
        schema: text(row, 23),
        name: text(row, 24),
        column: column(25, 26, text(row, 27))?,
        key: column(28, 29, String::new())?,
    })
}
