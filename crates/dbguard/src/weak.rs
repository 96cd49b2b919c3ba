//! Rights with which somebody may void a guard. They are no damage: as long as nobody uses them, the guard holds.

use palisade_postgres::{Row, Session};
use serde::Serialize;

use crate::error::Error;
use crate::installed::Installed;
use crate::partitions;
use crate::script;
use crate::table::text;

/// A right that voids a rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Weakness {
    /// The table, or what is concerned besides.
    pub table: String,
    /// Who has it, and what it allows.
    pub problem: String,
    /// What takes it away.
    pub fix: String,
}

/// Who can act as the owner of a guarded table: a superuser can anyway.
const OWNERS: &str = "SELECT pg_get_userbyid(c.relowner)::text, string_agg(r.rolname, ', ' ORDER BY r.rolname) \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r ON r.rolcanlogin AND NOT r.rolsuper \
    AND pg_has_role(r.oid, c.relowner, 'MEMBER') WHERE c.oid = to_regclass($1) GROUP BY 1";

/// Who else may add triggers to it.
const TRIGGERS: &str = "SELECT r.rolname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_roles r \
    ON r.rolcanlogin AND NOT r.rolsuper AND NOT pg_has_role(r.oid, c.relowner, 'MEMBER') \
    AND has_table_privilege(r.oid, c.oid, 'TRIGGER') WHERE c.oid = to_regclass($1) ORDER BY 1";

/// Who can change the guards' own schema.
const SCHEMA: &str = "SELECT pg_get_userbyid(n.nspowner)::text, string_agg(DISTINCT r.rolname, ', ') \
    FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.rolcanlogin AND NOT r.rolsuper \
    AND (pg_has_role(r.oid, n.nspowner, 'MEMBER') OR has_schema_privilege(r.oid, n.oid, 'CREATE') \
        OR EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.pronamespace = n.oid AND pg_has_role(r.oid, p.proowner, 'MEMBER')) \
        OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p') \
            AND (pg_has_role(r.oid, c.relowner, 'MEMBER') OR has_table_privilege(r.oid, c.oid, 'INSERT') \
            OR has_table_privilege(r.oid, c.oid, 'UPDATE') OR has_table_privilege(r.oid, c.oid, 'DELETE')))) \
    WHERE n.nspname = 'palisade' GROUP BY 1";

/// Superusers that wrote guarded tables of late: an app that works as one is bound by nothing.
const SUPERUSERS: &str = "SELECT DISTINCT r.rolname::text FROM palisade.history h \
    JOIN pg_catalog.pg_roles r ON r.rolname = h.role AND r.rolsuper WHERE h.at > now() - interval '7 days' ORDER BY 1";

/// For whom ordinary triggers are off: roles and databases that have it set, and roles that may set it.
const REPLICATION: &str = "SELECT coalesce(r.rolname, 'every role') || ' (a setting of its own)' \
    FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole \
    WHERE EXISTS (SELECT FROM unnest(s.setconfig) c WHERE c ~* '^session_replication_role=(replica|local)') ORDER BY 1";

const MAY_REPLICATE: &str = "SELECT r.rolname || ' (may set it)' FROM pg_catalog.pg_roles r \
    WHERE r.rolcanlogin AND NOT r.rolsuper AND has_parameter_privilege(r.oid, 'session_replication_role', 'SET') ORDER BY 1";

/// Functions of the guard that run with other rights or another search path than they were made with. Those of `$1` have
/// none of their own: they are called for each row, by functions that have one.
const FUNCTIONS: &str = "SELECT p.proname::text, (EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c LIKE 'search_path=%' \
        AND (c <> 'search_path=pg_catalog, pg_temp' OR p.proname = ANY (string_to_array($1, ',')))) \
        OR NOT p.proname = ANY (string_to_array($1, ',')) AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c \
        WHERE c LIKE 'search_path=%'))::text, (pg_get_userbyid(p.proowner) <> CASE \
        WHEN p.proname ~ '^(rows|truncate)_[0-9]+$' AND pg_get_userbyid(n.nspowner) = 'palisade_owner' THEN 'palisade_hand' \
        ELSE pg_get_userbyid(n.nspowner) END)::text, \
    (p.proname ~ '^(rows|truncate)_[0-9]+$' AND NOT p.prosecdef)::text, \
    (count(*) OVER (PARTITION BY p.proname) > 1)::text, \
    (p.proname ~ '^(rows|truncate)_[0-9]+$' AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, \
        acldefault('f', p.proowner))) a WHERE a.grantee = 0))::text, \
    EXISTS (SELECT FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid WHERE t.tgfoid = p.oid \
        AND c.relkind = 'p' AND t.tgname = 'palisade_rows' AND NOT has_function_privilege(c.relowner, p.oid, 'EXECUTE'))::text \
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'palisade' ORDER BY 1";

/// Looks who may void the guards of a database.
///
/// # Errors
/// What the database says.
pub async fn weaknesses(session: &Session, guards: &[Installed]) -> Result<Vec<Weakness>, Error> {
    let mut found = Vec::new();
    for guard in guards {
        found.extend(of_table(session, guard).await?);
    }
    if !guards.is_empty() {
        found.extend(partitions::unwatched(session).await?.into_iter().map(|table| Weakness {
            table,
            problem: "TRUNCATE of a partition that is made from now on is not guarded".to_owned(),
            fix: "after making one: palisade guard verify table --repair; or install the guard as a superuser, \
                  whose event trigger does it"
                .to_owned(),
        }));
    }
    if guards.iter().any(|guard| !guard.always) {
        found.extend(replication(session).await?);
    }
    for row in session.rows("see who owns the guards", SCHEMA).await? {
        found.push(Weakness {
            table: "(every table)".to_owned(),
            problem: format!(
                "{} can change the guards themselves, which belong to {}",
                text(&row, 1),
                text(&row, 0)
            ),
            fix:
                "remove the guards and install them as a superuser: then they belong to a role without login"
                    .to_owned(),
        });
    }
    for row in optional(session, SUPERUSERS).await? {
        found.push(Weakness {
            table: "(every table)".to_owned(),
            problem: format!(
                "{} is a superuser and wrote guarded tables: no rule binds it that it does not want",
                text(&row, 0)
            ),
            fix: "give the app a role of its own".to_owned(),
        });
    }
    Ok(found)
}

/// Who may act as the owner of one table, or add triggers to it.
async fn of_table(session: &Session, guard: &Installed) -> Result<Vec<Weakness>, Error> {
    let mut found = Vec::new();
    let name = Some(guard.table.as_str());
    for row in session.ask("see who owns the table", OWNERS, &[name]).await? {
        found.push(Weakness {
            table: guard.table.clone(),
            problem: format!(
                "{} can act as its owner {}, who may disable the guard",
                text(&row, 1),
                text(&row, 0)
            ),
            fix: "give it an owner that nobody logs in as: ALTER TABLE .. OWNER TO, or palisade db rotate"
                .to_owned(),
        });
    }
    for row in session.ask("see who may add triggers", TRIGGERS, &[name]).await? {
        found.push(Weakness {
            table: guard.table.clone(),
            problem: format!("{} may add triggers of its own", text(&row, 0)),
            fix: format!("REVOKE TRIGGER ON {} FROM {}", guard.table, text(&row, 0)),
        });
    }
    Ok(found)
}

/// What is wrong with the guards' functions besides their bodies, as problems.
pub(crate) async fn functions(session: &Session) -> Result<Vec<String>, Error> {
    let inner = script::routines(script::SCHEMA).into_iter().filter_map(|routine| {
        let (head, _) = routine.split_once(script::QUOTE)?;
        let (name, _) = head.split_once("FUNCTION palisade.")?.1.split_once('(')?;
        (!head.contains("SET search_path")).then_some(name)
    });
    let inner = inner.collect::<Vec<_>>().join(",");
    let rows = session.ask("look at the functions", FUNCTIONS, &[Some(&inner)]).await?;
    let wrong = [
        (1, "has another search_path than it was made with"),
        (2, "belongs to another role than it did"),
        (3, "runs with the rights of whoever writes the table"),
        (4, "is there more than once"),
        (5, "may be put behind a table of anybody's"),
        (6, "may not be put behind a new partition by the table's owner"),
    ];
    let problems = |row: &Row| {
        let row = row.clone();
        wrong.into_iter().filter(move |(at, _)| text(&row, *at) == "true").map(|(_, problem)| problem)
    };
    let mut found: Vec<String> = rows
        .iter()
        .flat_map(|row| {
            problems(row).map(|problem| format!("the function palisade.{} {problem}", text(row, 0)))
        })
        .collect();
    found.dedup();
    Ok(found)
}

async fn replication(session: &Session) -> Result<Vec<Weakness>, Error> {
    let mut who = session.rows("see for whom triggers are off", REPLICATION).await?;
    // Before PostgreSQL 15 only superusers may set it.
    who.extend(optional(session, MAY_REPLICATE).await?);
    let weakness = |row: &Row| Weakness {
        table: "(tables that receive logical replication)".to_owned(),
        problem: format!("session_replication_role turns the guard off for {}", text(row, 0)),
        fix: "ALTER ROLE .. RESET session_replication_role, REVOKE SET ON PARAMETER session_replication_role"
            .to_owned(),
    };
    Ok(who.iter().map(weakness).collect())
}

/// Rows of what this version may not have or this role may not read.
async fn optional(session: &Session, sql: &str) -> Result<Vec<Row>, Error> {
    match session.rows("see who may", sql).await {
        Ok(rows) => Ok(rows),
        Err(error) if error.is_forbidden() || matches!(error.sqlstate(), Some("42883" | "42P01")) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error.into()),
    }
}
