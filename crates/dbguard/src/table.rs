//! A table as the catalogue has it. Every name that goes into generated SQL comes from here.

use palisade_postgres::{Row, Session};
use serde::Serialize;

use crate::error::Error;
use crate::quote;

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Its number, which a rename does not change.
    pub number: i16,
    /// Its name.
    pub name: String,
    /// Its type, as SQL writes it.
    pub kind: String,
    /// Whether it is part of the primary key.
    pub key: bool,
    /// The labels of an enum.
    pub labels: Vec<String>,
    /// So many characters are all that it holds, where it says so, by itself or by its domain.
    #[serde(skip)]
    pub(crate) room: Option<usize>,
}

impl Column {
    /// A column of that number, name and type, which is part of the primary key or not.
    #[must_use]
    pub fn new(number: i16, name: &str, kind: &str, key: bool) -> Self {
        let (name, kind) = (name.to_owned(), kind.to_owned());
        Self { number, name, kind, key, labels: Vec::new(), room: None }
    }

    /// Its type for a cast that changes no value: without a length `character` means one character.
    pub(crate) fn cast(&self) -> &str {
        match self.kind.as_str() {
            "character" => "bpchar",
            kind => kind,
        }
    }
}

/// A table that may be guarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Both, as the server writes them: quoted where they have to be.
    #[serde(skip)]
    bare: String,
    /// Who owns it.
    pub owner: String,
    /// Whether the connected role is that owner.
    pub owned: bool,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// Names of its partitions, qualified and quoted.
    pub partitions: Vec<String>,
    /// Columns that decide in which partition a row is, at any level.
    pub partition_keys: Vec<String>,
    /// Whether rows come from another server by logical replication, so that a guard must not see them.
    pub subscribed: bool,
    /// The id of its guard, or of the next one.
    pub id: i32,
    /// Whether it has a guard.
    pub guarded: bool,
    /// Whether the database has the schema of the guards.
    pub schema_there: bool,
    /// Whether the database bears a stamp, which outlives its guards.
    pub stamped: bool,
    /// Whether the connected role is a superuser, so that the guard gets an owner of its own.
    pub superuser: bool,
}

const TABLE: &str = "SELECT c.oid::text, n.nspname::text, c.relname::text, c.relkind::text, \
    pg_get_userbyid(c.relowner)::text, c.relispartition::text, \
    EXISTS (SELECT FROM pg_catalog.pg_subscription_rel s WHERE s.srrelid = c.oid)::text, \
    (to_regnamespace('palisade') IS NOT NULL)::text, \
    (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user)::text, \
    format('%I.%I', n.nspname, c.relname), (pg_get_userbyid(c.relowner) = current_user)::text \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.oid = to_regclass($1)";

const COLUMNS: &str = "SELECT a.attnum::text, a.attname::text, format_type(a.atttypid, NULL), \
    EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary \
        AND a.attnum = ANY (i.indkey))::text, \
    (SELECT string_agg(e.enumlabel, E'\\x1f' ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e \
        WHERE e.enumtypid = a.atttypid), \
    CASE WHEN y.oid IN (1042, 1043) AND a.atttypmod > 4 THEN a.atttypmod - 4 \
        WHEN y.typbasetype IN (1042, 1043) AND y.typtypmod > 4 THEN y.typtypmod - 4 END::text \
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type y ON y.oid = a.atttypid WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped \
    ORDER BY a.attnum";

const PARTITIONS: &str = "SELECT t.relid::regclass::oid::text, format('%I.%I', n.nspname, c.relname), \
    t.isleaf::text FROM pg_catalog.pg_partition_tree($1::oid) t JOIN pg_catalog.pg_class c ON c.oid = t.relid \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE t.relid <> $1::oid ORDER BY 2";

const PARTITION_KEYS: &str = "SELECT DISTINCT a.attname::text FROM pg_catalog.pg_partition_tree($1::oid) t \
    JOIN pg_catalog.pg_partitioned_table p ON p.partrelid = t.relid \
    JOIN pg_catalog.pg_attribute a ON a.attrelid = t.relid AND (a.attnum = ANY (p.partattrs) OR p.partexprs IS NOT NULL \
    AND a.attnum > 0) ORDER BY 1";

impl Table {
    /// A table that has no guard yet, in a database without one, as a role sees it that does not own it: for who makes SQL
    /// without a server.
    #[must_use]
    pub fn new(schema: &str, name: &str, owner: &str, columns: Vec<Column>) -> Self {
        Self {
            schema: schema.to_owned(),
            name: name.to_owned(),
            bare: format!("{}.{}", quote::name(schema), quote::name(name)),
            owner: owner.to_owned(),
            owned: false,
            columns,
            partitions: Vec::new(),
            partition_keys: Vec::new(),
            subscribed: false,
            id: 1,
            guarded: false,
            schema_there: false,
            stamped: false,
            superuser: false,
        }
    }

    /// Looks up a name as SQL would: folded unless quoted, in the search path unless it has a schema.
    ///
    /// # Errors
    /// [`Error::Unfit`] if there is no such table or it cannot have such triggers.
    pub async fn find(session: &Session, typed: &str) -> Result<Self, Error> {
        let unfit = |problem: &str| Error::Unfit { table: typed.to_owned(), problem: problem.to_owned() };
        let rows = session.ask("look for the table", TABLE, &[Some(typed)]).await?;
        let row = rows.into_iter().next().ok_or_else(|| unfit("this database has no such table"))?;
        if text(&row, 1) == "palisade" {
            return Err(unfit("it is one of Palisade's own"));
        }
        match text(&row, 3).as_str() {
            "r" | "p" => {}
            "v" | "m" => return Err(unfit("it is a view: guard the table behind it")),
            "f" => return Err(unfit("it is a foreign table: guard it where its rows are")),
            _ => return Err(unfit("it is no table")),
        }
        if text(&row, 5) == "true" {
            return Err(unfit("it is a partition: guard the table that it belongs to"));
        }
        let oid = text(&row, 0);
        let of = Some(oid.as_str());
        let columns = session.ask("read its columns", COLUMNS, &[of]).await?;
        let partitions = session.ask("read its partitions", PARTITIONS, &[of]).await?;
        let partition_keys = session.ask("read its partition keys", PARTITION_KEYS, &[of]).await?;
        let schema_there = text(&row, 7) == "true";
        let (id, guarded, stamped) = if schema_there { id(session, &oid).await? } else { (1, false, false) };
        Ok(Self {
            schema: text(&row, 1),
            name: text(&row, 2),
            bare: text(&row, 9),
            owner: text(&row, 4),
            owned: text(&row, 10) == "true",
            columns: columns.iter().map(column).collect(),
            partitions: partitions.iter().map(|row| text(row, 1)).collect(),
            partition_keys: partition_keys.iter().map(|row| text(row, 0)).collect(),
            subscribed: text(&row, 6) == "true",
            id,
            guarded,
            schema_there,
            stamped,
            superuser: text(&row, 8) == "true",
        })
    }

    /// Whether it has partitions, or may get some.
    #[must_use]
    pub fn is_partitioned(&self) -> bool {
        !self.partition_keys.is_empty()
    }

    /// Its name, qualified and quoted.
    #[must_use]
    pub fn qualified(&self) -> String {
        format!("{}.{}", quote::name(&self.schema), quote::name(&self.name))
    }

    /// Its name as `format('%I.%I')` writes it: quoted only where it has to be.
    pub(crate) fn bare(&self) -> String {
        self.bare.clone()
    }

    /// Its name as people write it.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The column of that name.
    ///
    /// # Errors
    /// [`Error::Unfit`], with the names that there are.
    pub fn column(&self, name: &str) -> Result<&Column, Error> {
        let missing = || {
            let names: Vec<_> = self.columns.iter().map(|column| column.name.as_str()).collect();
            self.unfit(format!("it has no column {name:?}; its columns are {}", names.join(", ")))
        };
        self.columns.iter().find(|column| column.name == name).ok_or_else(missing)
    }

    pub(crate) fn unfit(&self, problem: String) -> Error {
        Error::Unfit { table: self.shown(), problem }
    }
}

/// The id of the guard of a table, or the next free one; whether it is there; whether the database is stamped.
async fn id(session: &Session, oid: &str) -> Result<(i32, bool, bool), Error> {
    const ID: &str = "SELECT (SELECT g.id FROM palisade.guard g WHERE g.relation = $1::oid)::text, \
        (SELECT coalesce(max(g.id), 0) + 1 FROM palisade.guard g)::text, \
        EXISTS (SELECT FROM palisade.stamp)::text";
    let rows = session.ask("look for its guard", ID, &[Some(oid)]).await?;
    let row = rows.first().cloned().unwrap_or_default();
    let there = row.first().cloned().flatten().and_then(|id| id.parse().ok());
    let stamped = text(&row, 2) == "true";
    Ok((there.unwrap_or_else(|| text(&row, 1).parse().unwrap_or(1)), there.is_some(), stamped))
}

fn column(row: &Row) -> Column {
    let labels = row.get(4).cloned().flatten().unwrap_or_default();
    Column {
        number: text(row, 0).parse().unwrap_or_default(),
        name: text(row, 1),
        kind: text(row, 2),
        key: text(row, 3) == "true",
        room: text(row, 5).parse().ok(),
        labels: labels.split('\u{1f}').filter(|label| !label.is_empty()).map(str::to_owned).collect(),
    }
}

pub(crate) fn text(row: &Row, at: usize) -> String {
    row.get(at).cloned().flatten().unwrap_or_default()
}
