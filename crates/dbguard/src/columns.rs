//! Which columns a guard reads, and how they are read in SQL.

use palisade_postgres::Session;
use serde::Serialize;

use crate::error::Error;
use crate::installed::Installed;
use crate::quote;
use crate::rules::Rules;
use crate::script::QUOTE;
use crate::table::{Column, Table};

/// The state of a job whose column of [`Named::claimed`] is not null.
pub const CLAIMED: &str = "claimed";

/// The state of a job whose column of [`Named::claimed`] is null.
pub const FREE: &str = "free";

/// Which columns a guard reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    pub(crate) status: Column,
    /// Whether a job runs as long as that column is not null.
    pub(crate) claimed: bool,
    /// The beat, or what finds it in another table.
    pub(crate) beat: Column,
    elsewhere: Option<Elsewhere>,
    pub(crate) key: Vec<Column>,
    pub(crate) own: Vec<Column>,
    pub(crate) reason: Option<Column>,
    pub(crate) mark: Option<Column>,
}

/// The names of columns, as somebody typed them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// The state, or what is not null as long as a job runs.
    pub status: String,
    /// Whether it is the latter; the states are then [`CLAIMED`] and [`FREE`].
    pub claimed: bool,
    /// The last beat, or the column that finds it in `elsewhere`.
    pub beat: String,
    /// The other table that the beat is in.
    pub elsewhere: Option<Elsewhere>,
    /// What identifies a job; the primary key where it is empty.
    pub key: Vec<String>,
    /// Columns of which a worker's own exit changes at least one.
    pub own: Vec<String>,
    /// Why a job ended.
    pub reason: Option<String>,
    /// What a user's cancel leaves.
    pub mark: Option<String>,
}

/// A beat that is kept in another table, such as that of the workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Elsewhere {
    pub(crate) schema: String,
    pub(crate) name: String,
    /// The beat.
    pub(crate) column: Column,
    /// What the job's own column is the value of: the primary key.
    pub(crate) key: Column,
}

impl Elsewhere {
    /// Looks up `TABLE.COLUMN`.
    ///
    /// # Errors
    /// [`Error::Unfit`], or what the database says.
    pub async fn find(session: &Session, typed: &str) -> Result<Self, Error> {
        let unfit = |problem: &str| Error::Unfit { table: typed.to_owned(), problem: problem.to_owned() };
        let (table, column) = quote::split_last(typed)
            .ok_or_else(|| unfit("name where the beat is as TABLE.COLUMN, such as processes.last_beat"))?;
        Self::of(&Table::find(session, table).await?, &column)
    }

    /// A beat in the column of that name.
    ///
    /// # Errors
    /// [`Error::Unfit`].
    pub fn of(table: &Table, column: &str) -> Result<Self, Error> {
        let column = table.column(column)?.clone();
        let mut keys = table.columns.iter().filter(|column| column.key);
        let (Some(key), None) = (keys.next().cloned(), keys.next()) else {
            return Err(table.unfit("the beat is looked up by a primary key of one column".to_owned()));
        };
        Ok(Self { schema: table.schema.clone(), name: table.name.clone(), column, key })
    }

    pub(crate) fn qualified(&self) -> String {
        format!("{}.{}", quote::name(&self.schema), quote::name(&self.name))
    }

    /// The beat of the job in that row, whose column `by` finds it.
    fn beat(&self, row: &str, by: &Column) -> String {
        let [column, key, by] = [&self.column, &self.key, by].map(|column| quote::name(&column.name));
        format!("(SELECT b.{column} FROM {} b WHERE b.{key} = {row}.{by})", self.qualified())
    }
}

impl Columns {
    /// Looks the names up in the table, and whether they can be what they shall be.
    ///
    /// # Errors
    /// [`Error::Unfit`].
    pub fn of(table: &Table, named: &Named, rules: &Rules) -> Result<Self, Error> {
        let status = table.column(&named.status)?.clone();
        check_states(table, &status, named.claimed, rules)?;
        let list = |names: &[String]| -> Result<Vec<Column>, Error> {
            names.iter().map(|name| table.column(name).cloned()).collect()
        };
        let optional =
            |name: &Option<String>| name.as_ref().map(|name| table.column(name).cloned()).transpose();
        let key = match named.key.as_slice() {
            [] => table.columns.iter().filter(|column| column.key).cloned().collect(),
            names => list(names)?,
        };
        if key.is_empty() {
            return Err(
                table.unfit("it has no primary key: name what identifies a job with --key".to_owned())
            );
        }
        let found = Self {
            status,
            claimed: named.claimed,
            beat: table.column(&named.beat)?.clone(),
            elsewhere: named.elsewhere.clone(),
            key,
            own: list(&named.own)?,
            reason: optional(&named.reason)?,
            mark: optional(&named.mark)?,
        };
        found.check(table)?;
        if found.reason.is_none() && rules.reason.is_some() {
            return Err(table.unfit("--reason needs the --reason-column that it is about".to_owned()));
        }
        Ok(found)
    }

    fn check(&self, table: &Table) -> Result<(), Error> {
        let beat = self.elsewhere.as_ref().map_or(&self.beat, |there| &there.column);
        if !beat.kind.starts_with("timestamp") {
            return Err(
                table.unfit(format!("{} is {}, and a heartbeat has to be a timestamp", beat.name, beat.kind))
            );
        }
        if self.ends_quotes(table) {
            return Err(table.unfit(format!(
                "the table or a column has {QUOTE} in its name, which ends the guard's own quotes"
            )));
        }
        Ok(())
    }

    /// Whether a name that goes into the body of a function would end it there.
    pub(crate) fn ends_quotes(&self, table: &Table) -> bool {
        let there = self.elsewhere.iter().flat_map(|there| [&there.column, &there.key]);
        let own = self.key.iter().chain(&self.own).chain(&self.reason).chain(&self.mark);
        let names = own.chain([&self.status, &self.beat]).chain(there).map(|column| &column.name);
        let tables = self.elsewhere.iter().flat_map(|there| [&there.schema, &there.name]);
        names.chain(tables).chain([&table.schema, &table.name]).any(|name| name.contains(QUOTE))
    }

    /// State, beat and key: the columns that only the right code may change.
    pub(crate) fn guarded_names(&self) -> Vec<String> {
        [&self.status, &self.beat].into_iter().chain(&self.key).map(|column| column.name.clone()).collect()
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

    /// The parts of a key of several columns in that row, as JSON; NULL where the key is one column.
    pub(crate) fn parts_of(&self, row: &str) -> String {
        if self.key.len() == 1 {
            return "NULL".to_owned();
        }
        let fields =
            self.key.iter().enumerate().map(|(at, column)| format!("'k{at}', {}", field(row, column)));
        format!("json_build_object({})::text", fields.collect::<Vec<_>>().join(", "))
    }

    /// The columns of the key: what [`Columns::parts_of`] calls each, its name and its type.
    pub(crate) fn key_kinds(&self) -> Vec<(String, &str, &str)> {
        let columns = self.key.iter().enumerate();
        columns.map(|(at, column)| (format!("k{at}"), column.name.as_str(), column.cast())).collect()
    }

    /// The state of the job in that row.
    pub(crate) fn state_of(&self, row: &str) -> String {
        if !self.claimed {
            return field(row, &self.status);
        }
        let name = quote::name(&self.status.name);
        format!("(CASE WHEN {row}.{name} IS NULL THEN '{FREE}' ELSE '{CLAIMED}' END)")
    }

    /// That the job in that row runs, in a form that an index of states serves.
    pub(crate) fn runs(&self, row: &str, running: &[String]) -> String {
        let name = format!("{row}.{}", quote::name(&self.status.name));
        if self.claimed {
            return match running.iter().any(|state| state == CLAIMED) {
                true => format!("{name} IS NOT NULL"),
                false => "false".to_owned(),
            };
        }
        let list = |kind: &str| {
            let states: Vec<_> = running.iter().map(|state| quote::text(state) + kind).collect();
            states.join(", ")
        };
        let as_text = format!("{} IN ({})", self.state_of(row), list(""));
        match self.status.kind.as_str() {
            "text" => as_text,
            _ if !self.status.labels.is_empty() => {
                format!("{name} IN ({})", list(&format!("::{}", self.status.cast())))
            }
            "character varying" => format!("{name} IN ({})", list("")),
            // Whatever equality such a type has: the guard compares text.
            _ => format!("{name} IN ({}) AND {as_text}", list(&format!("::{}", self.status.cast()))),
        }
    }

    /// How many characters a reason may have, where its column says so.
    pub(crate) fn room_for_reason(&self) -> Option<usize> {
        self.reason.as_ref()?.room
    }

    /// The last beat of the job in that row.
    pub(crate) fn beat_of(&self, row: &str) -> String {
        match &self.elsewhere {
            Some(there) => there.beat(row, &self.beat),
            None => format!("{row}.{}", quote::name(&self.beat.name)),
        }
    }

    /// That an update of a running job is a beat, or nothing that a guard looks at.
    pub(crate) fn beats(&self) -> String {
        if self.elsewhere.is_some() {
            return "true".to_owned();
        }
        format!("{} BETWEEN {} AND clock_timestamp()", self.beat_of("NEW"), self.beat_of("OLD"))
    }

    /// That an update may be a worker's own exit.
    pub(crate) fn mine(&self) -> String {
        if self.own.is_empty() {
            return "true".to_owned();
        }
        let changed = self
            .own
            .iter()
            .map(|column| format!("{} IS DISTINCT FROM {}", field("OLD", column), field("NEW", column)));
        changed.collect::<Vec<_>>().join(" OR ")
    }

    /// The type of the beat, as SQL writes it.
    pub(crate) fn beat_kind(&self) -> &str {
        &self.elsewhere.as_ref().map_or(&self.beat, |there| &there.column).kind
    }

    pub(crate) fn elsewhere(&self) -> Option<&Elsewhere> {
        self.elsewhere.as_ref()
    }

    /// That row `t` has the key of the old row, in a form that an index serves.
    pub(crate) fn same_key(&self) -> String {
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
        self.status.cast()
    }

    pub(crate) fn reason_name_and_kind(&self) -> Option<(&str, &str)> {
        self.reason.as_ref().map(|column| (column.name.as_str(), column.cast()))
    }

    /// The columns of a guard that is there, under their names of now; `None` if one is gone.
    pub(crate) fn numbered(table: &Table, guard: &Installed) -> Option<Self> {
        let column = |number: i16| table.columns.iter().find(|column| column.number == number).cloned();
        let list = |numbers: &[i16]| numbers.iter().map(|number| column(*number)).collect::<Option<_>>();
        let optional = |number: Option<i16>| match number {
            Some(number) => column(number).map(Some),
            None => Some(None),
        };
        let [status, beat, reason, mark] = guard.columns;
        Some(Self {
            status: column(status?)?,
            claimed: guard.claimed,
            beat: column(beat?)?,
            elsewhere: guard.elsewhere.clone(),
            key: list(&guard.key)?,
            own: list(&guard.own)?,
            reason: optional(reason)?,
            mark: optional(mark)?,
        })
    }
}

fn check_states(table: &Table, status: &Column, claimed: bool, rules: &Rules) -> Result<(), Error> {
    let mut states = rules.running.iter().chain(&rules.done).chain(&rules.own);
    let known: Vec<&str> = match claimed {
        true => vec![CLAIMED, FREE],
        false => status.labels.iter().map(String::as_str).collect(),
    };
    let unknown =
        |state: &&String| !known.is_empty() && !known.contains(&state.as_str()) && *state != "DELETE";
    if let Some(state) = states.find(unknown) {
        let known = known.join(", ");
        return Err(table.unfit(format!("{state:?} is no state of it; its states are {known}")));
    }
    if table.partition_keys.contains(&status.name) {
        return Err(table.unfit(format!(
            "it is partitioned by {}, so that a change of state is a deletion and an insertion",
            status.name
        )));
    }
    Ok(())
}

/// A column of a row, as text.
pub(crate) fn field(row: &str, column: &Column) -> String {
    format!("{row}.{}::text", quote::name(&column.name))
}

/// The same of a column that a guard need not have.
pub(crate) fn optional(row: &str, column: &Option<Column>) -> String {
    column.as_ref().map_or("NULL".to_owned(), |column| field(row, column))
}
