//! The SQL of each step, drawn from the catalogue.

use palisade_postgres::Session;

use super::{Rotation, Step, of};
use crate::columns::Columns;
use crate::error::Error;
use crate::installed::{Installed, installed};
use crate::quote;
use crate::table::{Table, text};

const GRANTS: &str = include_str!("../sql/rotate.sql");

/// What a step is going to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The old role.
    pub old: String,
    /// The new role.
    pub new: String,
    /// Its statements, each without a semicolon at its end.
    pub statements: Vec<String>,
    /// What it does not do, or what somebody should know.
    pub notes: Vec<String>,
    /// A question that answers with a table and a right for each right that the old role keeps although it should not.
    pub(super) check: Option<String>,
}

impl Plan {
    /// The whole SQL.
    #[must_use]
    pub fn sql(&self) -> String {
        self.statements.iter().map(|statement| format!("{statement};\n")).collect()
    }

    fn new(old: &str, new: &str) -> Self {
        let (old, new) = (old.to_owned(), new.to_owned());
        Self { old, new, statements: Vec::new(), notes: Vec::new(), check: None }
    }

    /// The row of the rotation, and who wrote it.
    fn reaches(&mut self, step: Step, moved: &[u32]) {
        let oids: Vec<_> = moved.iter().map(ToString::to_string).collect();
        let (old, new) = (quote::text(&self.old), quote::text(&self.new));
        let step = step.as_str();
        self.statements.push(format!(
            "INSERT INTO palisade_audit.rotation (old, new, step, moved) VALUES ({old}, {new}, '{step}', '{{{}}}') \
             ON CONFLICT (old) DO UPDATE SET step = excluded.step, moved = excluded.moved",
            oids.join(",")
        ));
        self.records(&format!("rotation of {} to {}: {step}", self.old, self.new));
    }

    fn records(&mut self, what: &str) {
        self.statements
            .push(format!("INSERT INTO palisade_audit.change (what) VALUES ({})", quote::text(what)));
    }
}

const ROLE: &str = "SELECT r.rolsuper::text, r.rolinherit::text, r.rolconnlimit::text, r.rolcanlogin::text, \
    concat_ws(', ', CASE WHEN r.rolcreatedb THEN 'CREATEDB' END, CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END, \
    CASE WHEN r.rolreplication THEN 'REPLICATION' END, CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END), \
    (SELECT count(*) FROM pg_catalog.pg_shdepend d WHERE d.refobjid = r.oid AND d.deptype = 'o' \
        AND d.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))::text, \
    (SELECT count(*) FROM pg_catalog.pg_shdepend d WHERE d.refobjid = r.oid AND d.dbid NOT IN \
        (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())))::text, \
    (SELECT count(*) FROM pg_catalog.pg_policy p WHERE r.oid = ANY (p.polroles))::text \
    FROM pg_catalog.pg_roles r WHERE r.rolname = $1";

const SETTINGS: &str = "SELECT format('ALTER ROLE %I%s SET %I TO %s', $2, \
    coalesce(' IN DATABASE ' || quote_ident(d.datname), ''), split_part(c, '=', 1), \
    CASE WHEN split_part(c, '=', 1) IN ('search_path', 'temp_tablespaces', 'session_preload_libraries', \
        'local_preload_libraries', 'DateStyle', 'unix_socket_directories') THEN substr(c, strpos(c, '=') + 1) \
    ELSE quote_literal(substr(c, strpos(c, '=') + 1)) END) \
    FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_roles r ON r.oid = s.setrole \
    LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) c WHERE r.rolname = $1 ORDER BY 1";

/// A new role with everything that the old one was given by name in this database. `verifier` is its password as
/// [`palisade_postgres::scram_verifier`] makes it.
///
/// # Errors
/// [`Error::Rules`] where the roles cannot be rotated, or what the database says.
pub async fn prepare(session: &Session, old: &str, new: &str, verifier: &str) -> Result<Plan, Error> {
    let rules = |problem: String| Error::Rules { problem };
    let role = session.ask("look at the old role", ROLE, &[Some(old)]).await?;
    let Some(role) = role.first() else { return Err(rules(format!("there is no role {old:?}"))) };
    if text(role, 0) == "true" {
        return Err(rules(format!("{old} is a superuser: no right of it can be taken")));
    }
    if !session.ask("look for the new role", ROLE, &[Some(new)]).await?.is_empty() {
        return Err(rules(format!("the role {new:?} is there already")));
    }
    if new.is_empty() || new.len() > 63 || new.chars().any(char::is_control) {
        return Err(rules(format!("{new:?} can be no name of a role: 1 to 63 bytes, no control characters")));
    }
    let mut plan = Plan::new(old, new);
    let inherit = if text(role, 1) == "true" { "" } else { " NOINHERIT" };
    plan.statements.push(format!(
        "CREATE ROLE {} LOGIN{inherit} CONNECTION LIMIT {} PASSWORD {}",
        quote::name(new),
        text(role, 2),
        quote::text(verifier)
    ));
    plan.statements.extend(grants(session, old, new, "").await?);
    let settings = session.ask("read the old role's settings", SETTINGS, &[Some(old), Some(new)]).await?;
    plan.statements.extend(settings.iter().map(|row| text(row, 0)));
    let attributes = text(role, 4);
    for (there, note) in [
        (!attributes.is_empty(), format!("{old} has {attributes}, which {new} does not get")),
        (
            text(role, 5) != "0",
            format!("{old} owns {} objects here: {new} may use them and does not own them", text(role, 5)),
        ),
        (
            text(role, 6) != "0",
            format!("{old} has rights in other databases of this server: they are not copied"),
        ),
        (
            text(role, 7) != "0",
            format!("{} policies of row security name {old}: add {new} to them", text(role, 7)),
        ),
    ] {
        if there {
            plan.notes.push(note);
        }
    }
    plan.reaches(Step::Prepared, &[]);
    Ok(plan)
}

/// The old role loses what takes jobs: UPDATE of guarded columns, DELETE and TRUNCATE, on every guarded table. Where it
/// owns such a table, `owner` does from then on.
///
/// # Errors
/// [`Error::Rules`] where nothing is guarded or the rotation is elsewhere, or what the database says.
pub async fn restrict(session: &Session, old: &str, owner: Option<&str>) -> Result<Plan, Error> {
    let rotation = at(session, old, Step::Prepared).await?;
    let guards = installed(session).await?;
    if guards.is_empty() {
        let problem =
            "no table of this database is guarded, so no column is: retire the old role instead".to_owned();
        return Err(Error::Rules { problem });
    }
    let mut plan = Plan::new(old, &rotation.new);
    let mut moved = Vec::new();
    let mut checks = Vec::new();
    for guard in &guards {
        let table = Table::find(session, &guard.table).await?;
        let Some(guarded) = guarded(&table, guard) else {
            let problem = format!("a column that the guard of {} reads is gone", guard.table);
            return Err(Error::Unfit { table: guard.table.clone(), problem });
        };
        for relation in std::iter::once(table.qualified()).chain(table.partitions.iter().cloned()) {
            let (statements, oid) =
                take(session, &table, &relation, &guarded, &rotation, owner.unwrap_or(&rotation.new)).await?;
            plan.statements.extend(statements);
            moved.extend(oid);
            checks.push(check(&relation, &guarded, old));
        }
    }
    if !moved.is_empty() && owner.is_none() {
        plan.notes.push(format!(
            "{} owns the guarded tables from then on: an owner that no app logs in as is better (--owner ROLE)",
            rotation.new
        ));
    }
    plan.reaches(Step::Restricted, &moved);
    plan.check = Some(checks.join(" UNION ALL "));
    Ok(plan)
}

/// The statements for one table or partition, and its oid if it changes its owner.
async fn take(
    session: &Session,
    table: &Table,
    relation: &str,
    guarded: &[String],
    rotation: &Rotation,
    owner: &str,
) -> Result<(Vec<String>, Option<u32>), Error> {
    let old = quote::name(&rotation.old);
    let facts = "SELECT c.oid::text, (pg_get_userbyid(c.relowner) = $2)::text, \
        has_any_column_privilege($2, c.oid, 'UPDATE')::text, has_table_privilege($2, c.oid, 'INSERT')::text \
        FROM pg_catalog.pg_class c WHERE c.oid = to_regclass($1)";
    let facts = session.ask("look at its rights", facts, &[Some(relation), Some(&rotation.old)]).await?;
    let facts = facts.into_iter().next().unwrap_or_default();
    let yes = |at: usize| text(&facts, at) == "true";
    let mut statements = Vec::new();
    let oid = yes(1).then(|| text(&facts, 0).parse().ok()).flatten();
    if oid.is_some() {
        statements.push(format!("ALTER TABLE {relation} OWNER TO {}", quote::name(owner)));
        // With the ownership every right of the old owner goes to the new one.
        statements.push(format!("GRANT SELECT, INSERT, REFERENCES ON {relation} TO {old}"));
        if owner != rotation.new {
            let new = quote::name(&rotation.new);
            statements
                .push(format!("GRANT SELECT, INSERT, UPDATE, DELETE, REFERENCES ON {relation} TO {new}"));
        }
    }
    statements.push(format!("REVOKE UPDATE, DELETE, TRUNCATE, TRIGGER ON {relation} FROM {old}"));
    let free: Vec<_> =
        table.columns.iter().map(|column| &column.name).filter(|name| !guarded.contains(*name)).collect();
    if yes(2) && !free.is_empty() {
        let free: Vec<_> = free.into_iter().map(|name| quote::name(name)).collect();
        statements.push(format!("GRANT UPDATE ({}) ON {relation} TO {old}", free.join(", ")));
    }
    Ok((statements, oid))
}

/// State, beat and key of a guard's jobs; `None` if one is gone.
fn guarded(table: &Table, guard: &Installed) -> Option<Vec<String>> {
    Columns::numbered(table, guard).map(|columns| columns.guarded_names())
}

/// Asks for every right that the role keeps although it should not: its own, or one of a role that it can become.
fn check(relation: &str, guarded: &[String], role: &str) -> String {
    let (shown, role) = (quote::text(relation), quote::text(role));
    let columns = quote::texts(guarded);
    let may = |right: &str| {
        format!(
            "EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE pg_has_role({role}, r.oid, 'MEMBER') AND {right})"
        )
    };
    format!(
        "SELECT {shown}, 'UPDATE of ' || c FROM unnest({columns}) c WHERE {} \
         UNION ALL SELECT {shown}, p FROM unnest(ARRAY['DELETE', 'TRUNCATE']) p WHERE {} \
         UNION ALL SELECT {shown}, 'ownership' FROM pg_catalog.pg_class c \
         WHERE c.oid = to_regclass({shown}) AND pg_has_role({role}, c.relowner, 'MEMBER')",
        may(&format!("has_column_privilege(r.oid, {shown}, c, 'UPDATE')")),
        may(&format!("has_table_privilege(r.oid, {shown}, p)")),
    )
}

/// The old role loses its login. Sessions that are there go on, unless `terminate`.
///
/// # Errors
/// [`Error::Rules`] where the rotation is elsewhere, or what the database says.
pub async fn retire(session: &Session, old: &str, terminate: bool) -> Result<Plan, Error> {
    let rotation = of(session, old).await?;
    if rotation.step == Step::Retired {
        return Err(Error::Rules { problem: format!("{old} is retired already") });
    }
    let mut plan = Plan::new(old, &rotation.new);
    plan.statements.push(format!("ALTER ROLE {} NOLOGIN", quote::name(old)));
    if terminate {
        plan.statements.push(format!(
            "SELECT pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usename = {}",
            quote::text(old)
        ));
    } else {
        plan.notes.push("sessions that are there go on until they end: --terminate ends them".to_owned());
    }
    plan.reaches(Step::Retired, &rotation.moved);
    Ok(plan)
}

/// Takes the last step of a rotation back.
///
/// # Errors
/// [`Error::Rules`] where there is none, [`Error::Barred`] where the new role has made objects, or what the database
/// says.
pub async fn undo(session: &Session, old: &str) -> Result<(Plan, Step), Error> {
    let rotation = of(session, old).await?;
    let mut plan = Plan::new(old, &rotation.new);
    match rotation.step {
        Step::Retired => {
            plan.statements.push(format!("ALTER ROLE {} LOGIN", quote::name(old)));
            let restricted = !grants_missing(session, &rotation).await?;
            plan.reaches(if restricted { Step::Prepared } else { Step::Restricted }, &rotation.moved);
        }
        Step::Restricted => give_back(session, &rotation, &mut plan).await?,
        Step::Prepared => {
            let role = session.ask("look at the new role", ROLE, &[Some(&rotation.new)]).await?;
            let owns = role.first().map(|row| text(row, 5)).unwrap_or_default();
            if owns != "0" && !owns.is_empty() {
                let problem =
                    format!("{} owns {owns} objects here: give them another owner first", rotation.new);
                return Err(Error::Barred { role: old.to_owned(), problem });
            }
            let new = quote::name(&rotation.new);
            // It owns nothing, so this only takes its rights.
            plan.statements.push(format!("DROP OWNED BY {new}"));
            plan.statements.push(format!("DROP ROLE {new}"));
            plan.statements
                .push(format!("DELETE FROM palisade_audit.rotation WHERE old = {}", quote::text(old)));
            plan.records(&format!("rotation of {old} to {}: taken back", rotation.new));
        }
    }
    Ok((plan, rotation.step))
}

/// The old role gets on the guarded tables what the new one has there, and owns what it owned.
async fn give_back(session: &Session, rotation: &Rotation, plan: &mut Plan) -> Result<(), Error> {
    for guard in installed(session).await? {
        let table = Table::find(session, &guard.table).await?;
        for relation in std::iter::once(table.qualified()).chain(table.partitions.iter().cloned()) {
            plan.statements.extend(grants(session, &rotation.new, &rotation.old, &relation).await?);
            let oid = session.ask("find it", "SELECT to_regclass($1)::oid::text", &[Some(&relation)]).await?;
            let oid = oid.first().and_then(|row| text(row, 0).parse().ok());
            if oid.is_some_and(|oid: u32| rotation.moved.contains(&oid)) {
                plan.statements
                    .push(format!("ALTER TABLE {relation} OWNER TO {}", quote::name(&rotation.old)));
                // With the ownership the new role's rights went along.
                plan.statements.push(format!("GRANT ALL ON {relation} TO {}", quote::name(&rotation.new)));
            }
        }
    }
    plan.reaches(Step::Prepared, &[]);
    Ok(())
}

/// Whether the old role lacks rights on guarded tables that the new one has.
async fn grants_missing(session: &Session, rotation: &Rotation) -> Result<bool, Error> {
    for guard in installed(session).await? {
        let table = Table::find(session, &guard.table).await?;
        let sql =
            "SELECT has_table_privilege($1, $3, 'UPDATE')::text, has_table_privilege($2, $3, 'UPDATE')::text";
        let name = table.qualified();
        let row = session
            .ask("compare their rights", sql, &[Some(&rotation.old), Some(&rotation.new), Some(&name)])
            .await?;
        if row.first().is_some_and(|row| text(row, 0) == "false" && text(row, 1) == "true") {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn at(session: &Session, old: &str, step: Step) -> Result<Rotation, Error> {
    let rotation = of(session, old).await?;
    if rotation.step != step {
        let problem =
            format!("the rotation of {old} is {}, and has to be {}", rotation.step.as_str(), step.as_str());
        return Err(Error::Rules { problem });
    }
    Ok(rotation)
}

/// What `from` was given by name, as statements that give it to `to`; of one relation only, unless it is empty.
async fn grants(session: &Session, from: &str, to: &str, relation: &str) -> Result<Vec<String>, Error> {
    let rows = session.ask("read its rights", GRANTS, &[Some(from), Some(to), Some(relation)]).await?;
    Ok(rows.iter().map(|row| text(row, 0)).collect())
}
