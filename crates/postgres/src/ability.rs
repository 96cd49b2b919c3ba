//! What Palisade can and cannot do on a database, and why.

use serde::Serialize;

use crate::identity::{Between, Role, Server};

/// How much of a feature there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All of it.
    Full,
    /// Some of it; the reason says what is missing.
    Partial,
    /// Nothing.
    None,
}

/// One feature on one database under one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ability {
    /// Such as `guard tables`.
    pub feature: &'static str,
    /// How much of it.
    pub level: Level,
    /// Why, and what would change it.
    pub reason: &'static str,
}

/// What this role can have Palisade do on this server.
#[must_use]
pub fn abilities(server: &Server, role: &Role, between: Between) -> Vec<Ability> {
    let of = |feature, (level, reason)| Ability { feature, level, reason };
    vec![
        of("guard tables", tables(server, role)),
        of("guard against the table's owner", owner(role)),
        of("say who was refused", refused(role)),
        of("see every connection", connections(server, role, between)),
        of("keep who logs in", logins(server, role, between)),
        of("rotate a role", rotation(role)),
        of("let the database sleep", SLEEP),
    ]
}

fn tables(server: &Server, role: &Role) -> (Level, &'static str) {
    if server.standby {
        (Level::None, "this is a standby: connect to the primary")
    } else if server.version_number < 140_000 {
        (Level::None, "PostgreSQL 14 or newer is needed")
    } else if role.superuser {
        (Level::Full, "this role may guard every table")
    } else if !role.create_schema {
        (Level::None, "this role may not make a schema here: GRANT CREATE ON DATABASE")
    } else if role.tables_owned > 0 {
        (Level::Partial, "this role may guard the tables that it owns")
    } else {
        (
            Level::Partial,
            "this role owns no table here: it needs the TRIGGER privilege on a table to guard it",
        )
    }
}

fn owner(role: &Role) -> (Level, &'static str) {
    if role.superuser {
        (Level::Partial, "an app that does not own its table cannot remove the guard; an owner can")
    } else {
        (
            Level::None,
            "whoever owns the table can disable the guard: give the table an owner that no app uses",
        )
    }
}

fn refused(role: &Role) -> (Level, &'static str) {
    if role.reads_log {
        (Level::Full, "each refusal is a line in the server's log, which this role may read")
    } else {
        (
            Level::Partial,
            "clients that are still connected, and the count; the server's log, which SQL cannot read here, names all",
        )
    }
}

fn logins(server: &Server, role: &Role, between: Between) -> (Level, &'static str) {
    if server.version_number < 170_000 {
        (Level::None, "PostgreSQL 17 or newer has login triggers")
    } else if !role.superuser {
        (Level::None, "a login trigger needs a superuser, or a provider that lets this role make one")
    } else if between == Between::TransactionPooler {
        (Level::Partial, "behind a transaction pooler it sees the pooler's logins, not those of its clients")
    } else {
        (Level::Full, "this server has login triggers and this role may make one")
    }
}

fn rotation(role: &Role) -> (Level, &'static str) {
    if role.superuser {
        (Level::Full, "this role may make roles and take rights")
    } else if role.create_role {
        (Level::Partial, "for roles that this one administers, on tables that it owns")
    } else {
        (Level::None, "this role may not make roles: CREATEROLE")
    }
}

/// The guard itself asks nothing while nobody writes.
const SLEEP: (Level, &str) = (
    Level::Full,
    "a guard is triggers: nothing runs while nobody writes; choose --every longer than the database's idle time",
);

fn connections(server: &Server, role: &Role, between: Between) -> (Level, &'static str) {
    if between == Between::TransactionPooler {
        (
            Level::Partial,
            "behind a transaction pooler the server sees the pooler's address and few connections",
        )
    } else if role.superuser && server.version_number >= 170_000 {
        (Level::Full, "this server has login triggers and this role may make one")
    } else if role.sees_sessions {
        (
            Level::Partial,
            "by looking again and again, which misses short connections; log_connections misses none",
        )
    } else {
        (Level::None, "this role sees its own connections only: GRANT pg_read_all_stats")
    }
}
