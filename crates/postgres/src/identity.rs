//! Whom did I reach.

use std::fmt;

use serde::Serialize;

use crate::ability::{self, Ability};
use crate::error::Error;
use crate::session::{Row, Session};
use crate::stamp::{self, Bound, Stamp};
use crate::target::{Encryption, Target};

/// A database, as it answers for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// What tells this database from every other one: `SYSTEM/OID`, and `/BRANCH` where the provider has branches.
    pub id: String,
    /// The server.
    pub server: Server,
    /// The database's name.
    pub database: String,
    /// Who we are there.
    pub role: Role,
    /// What stands between.
    pub between: Between,
    /// How the connection is encrypted.
    pub encryption: &'static str,
    /// The environment stamp, if the database has one.
    pub stamp: Option<Stamp>,
    /// Tables that a guard of Palisade watches.
    pub guarded: Vec<String>,
    /// What Palisade can and cannot do here.
    pub abilities: Vec<Ability>,
}

/// The server behind the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Address and port as the server itself has them, such as `10.0.0.5:5432`; `None` over a local socket.
    pub address: Option<String>,
    /// Such as `18.4`.
    pub version: String,
    /// Such as 180004.
    pub version_number: u32,
    /// The cluster's identifier; a physical copy has the same one.
    pub system_identifier: Option<String>,
    /// The database's oid.
    pub database_oid: u32,
    /// The timeline: it grows with every promotion.
    pub timeline: Option<u32>,
    /// Whether it is a standby.
    pub standby: bool,
    /// When it started.
    pub started: String,
    /// Who runs it, as far as its settings show.
    pub provider: Option<&'static str>,
    /// The provider's own identifiers.
    pub provider_ids: Vec<(String, String)>,
}

/// The role of this connection and what it may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// May do anything.
    pub superuser: bool,
    /// May make roles.
    pub create_role: bool,
    /// May make schemas in this database.
    pub create_schema: bool,
    /// Sees who else is connected, and from where.
    pub sees_sessions: bool,
    /// May read the server's log through SQL.
    pub reads_log: bool,
    /// Tables that it owns here.
    pub tables_owned: u32,
}

/// What stands between this connection and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Between {
    /// Nothing: the server sees our own port.
    Nothing,
    /// A pooler that hands one server connection from client to client, transaction by transaction: seen.
    TransactionPooler,
    /// Something that is not told apart: a proxy, a session pooler or a translated address.
    Something,
}

impl fmt::Display for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing: a direct connection",
            Self::TransactionPooler => {
                "a pooler in transaction mode: two connections shared one server process"
            }
            Self::Something => {
                "a proxy, a session pooler or a translated address: the server sees another port"
            }
        })
    }
}

impl Identity {
    /// Which database, for a record.
    #[must_use]
    pub fn place(&self) -> String {
        format!("database {} ({})", self.database, self.id)
    }

    /// Ends with an error unless this is the database that was expected.
    ///
    /// # Errors
    /// [`Error::Mismatch`].
    pub fn expect(&self, expected: Option<&str>) -> Result<(), Error> {
        match expected {
            Some(expected) if expected != self.id => {
                Err(Error::Mismatch { reached: self.id.clone(), expected: expected.to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Ends with an error unless the database bears the stamp of this environment, as its own.
    ///
    /// # Errors
    /// [`Error::Unstamped`], [`Error::Environment`] or [`Error::Copy`].
    pub fn expect_environment(&self, expected: &str) -> Result<(), Error> {
        match &self.stamp {
            Some(stamp) => stamp.expect(&[expected]),
            None => Err(Error::Unstamped { expected: expected.to_owned() }),
        }
    }
}

/// Asks a database who it is. It is only read.
///
/// # Errors
/// A connection or a statement that failed.
pub async fn identify(target: &Target) -> Result<(Session, Identity), Error> {
    let session = Session::connect(target).await?;
    let between = between(&session, target).await?;
    let (server, facts) = server_of(&session).await?;
    let guarded = guarded(&session).await?;
    let role = role(&facts);
    let stamp = stamp::read(&session, &Bound::of(&server)).await?;
    let abilities = ability::abilities(&server, &role, between);
    let identity = Identity {
        id: id(&server),
        server,
        database: text(&facts, 2),
        role,
        between,
        encryption: match target.encryption() {
            Encryption::None => "none",
            Encryption::Verified => "verified",
            Encryption::Unverified => "unverified",
        },
        stamp,
        guarded,
        abilities,
    };
    Ok((session, identity))
}

/// The environment stamp of the database behind a connection, if it bears one.
///
/// # Errors
/// A statement that failed.
pub async fn stamp_of(session: &Session) -> Result<Option<Stamp>, Error> {
    let (server, _) = server_of(session).await?;
    stamp::read(session, &Bound::of(&server)).await
}

async fn server_of(session: &Session) -> Result<(Server, Row), Error> {
    let facts = session.rows("say who it is", FACTS).await?;
    let facts = facts.first().cloned().unwrap_or_default();
    // Functions that some providers and forks do not have or do not allow.
    let system = optional(session, "SELECT system_identifier FROM pg_control_system()").await?;
    let timeline = optional(session, TIMELINE).await?;
    let provider_ids = session.rows("name its provider", PROVIDER_IDS).await?;
    Ok((server(&facts, system, timeline, &provider_ids), facts))
}

/// Which database is behind a connection: its [`Identity::id`] alone, in one round trip.
///
/// # Errors
/// A statement that failed.
pub async fn id_of(session: &Session) -> Result<String, Error> {
    const WITHOUT: &str = "SELECT oid::text, current_setting('neon.branch_id', true), NULL \
        FROM pg_catalog.pg_database WHERE datname = current_database()";
    const WITH: &str = "SELECT oid::text, current_setting('neon.branch_id', true), \
        (SELECT system_identifier::text FROM pg_control_system()) \
        FROM pg_catalog.pg_database WHERE datname = current_database()";
    let rows = match session.rows("say who it is", WITH).await {
        Err(error) if is_absent(&error) => session.rows("say who it is", WITHOUT).await?,
        answer => answer?,
    };
    let row = rows.first().cloned().unwrap_or_default();
    let branch = row.get(1).cloned().flatten().filter(|branch| !branch.is_empty());
    Ok(composed(row.get(2).cloned().flatten().as_deref(), &text(&row, 0), branch.as_deref()))
}

/// A function that this server does not have, or that this role may not call.
fn is_absent(error: &Error) -> bool {
    error.is_forbidden() || error.sqlstate().is_some_and(|state| state == "42883" || state == "0A000")
}

fn composed(system: Option<&str>, oid: &str, branch: Option<&str>) -> String {
    let branch = branch.map(|branch| format!("/{branch}")).unwrap_or_default();
    format!("{}/{oid}{branch}", system.unwrap_or("unknown"))
}

const FACTS: &str = "SELECT current_setting('server_version'), current_setting('server_version_num'), \
    current_database(), d.oid, pg_is_in_recovery(), pg_postmaster_start_time(), current_user, r.rolsuper, \
    r.rolcreaterole, has_database_privilege(d.oid, 'CREATE'), \
    r.rolsuper OR pg_has_role('pg_read_all_stats', 'USAGE'), current_setting('logging_collector') = 'on' AND \
    has_function_privilege('pg_read_binary_file(text, bigint, bigint, boolean)', 'EXECUTE'), \
    (SELECT count(*) FROM pg_catalog.pg_class c WHERE c.relowner = r.oid AND c.relkind IN ('r', 'p')), \
    host(inet_server_addr()) || ':' || inet_server_port() \
    FROM pg_catalog.pg_database d, pg_catalog.pg_roles r \
    WHERE d.datname = current_database() AND r.rolname = current_user";

const TIMELINE: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint()) \
    ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END";

/// Identifiers by name, whether an extension declares them or only a file sets them; beside them whatever a provider declares.
const PROVIDER_IDS: &str = "SELECT name, current_setting(name, true) FROM unnest(ARRAY['neon.project_id', 'neon.branch_id', \
    'neon.endpoint_id', 'neon.timeline_id', 'neon.tenant_id']) name WHERE coalesce(current_setting(name, true), '') <> '' \
    UNION SELECT name, setting FROM pg_catalog.pg_settings WHERE setting <> '' AND split_part(name, '.', 1) IN \
    ('neon', 'rds', 'aurora', 'cloudsql', 'azure', 'supautils') ORDER BY name";

/// Settings that identify; the others of a provider's prefix only show who it is.
const IDS: [&str; 5] =
    ["neon.project_id", "neon.branch_id", "neon.endpoint_id", "neon.timeline_id", "neon.tenant_id"];

async fn guarded(session: &Session) -> Result<Vec<String>, Error> {
    let there = "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = 'palisade' AND c.relname = 'guard'";
    if session.rows("look for guards", there).await?.is_empty() {
        return Ok(Vec::new());
    }
    let names = "SELECT relation FROM palisade.guard ORDER BY 1";
    match session.rows("list its guards", names).await {
        Ok(rows) => Ok(rows.iter().map(|row| text(row, 0)).collect()),
        // A role that may not read the guards still may know that there are some.
        Err(error) if error.is_forbidden() => Ok(vec!["(this role may not see which)".to_owned()]),
        Err(error) => Err(error),
    }
}

/// Two connections at once: a server process that both were given is handed from client to client.
async fn between(first: &Session, target: &Target) -> Result<Between, Error> {
    const WHO: &str = "SELECT pg_backend_pid(), inet_client_port()";
    let second = Session::connect(target).await?;
    let mut processes = Vec::new();
    let mut direct = true;
    for session in [first, &second, first, &second] {
        let rows = session.rows("say who serves", WHO).await?;
        let row = rows.first().cloned().unwrap_or_default();
        direct &= text(&row, 1).parse() == Ok(session.local_port());
        processes.push(text(&row, 0));
    }
    let shared = processes[0] == processes[1] || processes[1] == processes[2] || processes[2] == processes[3];
    Ok(match (shared, direct) {
        (true, _) => Between::TransactionPooler,
        (false, true) => Between::Nothing,
        (false, false) => Between::Something,
    })
}

async fn optional(session: &Session, sql: &str) -> Result<Option<String>, Error> {
    match session.rows("identify itself", sql).await {
        Ok(rows) => Ok(rows.into_iter().next().and_then(|row| row.into_iter().next().flatten())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn text(row: &Row, at: usize) -> String {
    row.get(at).cloned().flatten().unwrap_or_default()
}

fn yes(row: &Row, at: usize) -> bool {
    text(row, at) == "t"
}

fn server(facts: &Row, system: Option<String>, timeline: Option<String>, settings: &[Row]) -> Server {
    let settings: Vec<_> = settings.iter().map(|row| (text(row, 0), text(row, 1))).collect();
    let prefix = |name: &str| settings.iter().any(|(setting, _)| setting.starts_with(name));
    let provider = [
        ("neon.", "Neon"),
        ("aurora.", "Amazon Aurora"),
        ("rds.", "Amazon RDS"),
        ("cloudsql.", "Google Cloud SQL"),
        ("azure.", "Azure Database"),
        ("supautils.", "Supabase"),
    ];
    Server {
        address: facts.get(13).cloned().flatten(),
        version: text(facts, 0),
        version_number: text(facts, 1).parse().unwrap_or_default(),
        system_identifier: system,
        database_oid: text(facts, 3).parse().unwrap_or_default(),
        timeline: timeline.and_then(|number| number.parse().ok()),
        standby: yes(facts, 4),
        started: text(facts, 5),
        provider: provider.iter().find(|(name, _)| prefix(name)).map(|(_, provider)| *provider),
        provider_ids: settings.into_iter().filter(|(name, _)| IDS.contains(&name.as_str())).collect(),
    }
}

fn role(facts: &Row) -> Role {
    Role {
        name: text(facts, 6),
        superuser: yes(facts, 7),
        create_role: yes(facts, 8),
        create_schema: yes(facts, 9),
        sees_sessions: yes(facts, 10),
        reads_log: yes(facts, 11),
        tables_owned: text(facts, 12).parse().unwrap_or_default(),
    }
}

fn id(server: &Server) -> String {
    let branch = server.provider_ids.iter().find(|(name, _)| name == "neon.branch_id");
    let oid = server.database_oid.to_string();
    composed(server.system_identifier.as_deref(), &oid, branch.map(|(_, branch)| branch.as_str()))
}
