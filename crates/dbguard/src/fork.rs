//! A database of its own beside another one, with a role of its own and no rows.

use hmac::{Hmac, KeyInit as _, Mac as _};
use palisade_core::canonical;
use palisade_postgres::Session;
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::quote;
use crate::table::text;

/// Rounds of the password's digest, as PostgreSQL makes it.
const ROUNDS: u32 = 4096;

/// What is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Fork<'a> {
    /// The new database.
    pub database: &'a str,
    /// The new role, which owns it.
    pub role: &'a str,
    /// The role's password. It never reaches the server.
    pub password: &'a str,
    /// Random.
    pub salt: [u8; 16],
}

/// Makes role and database. Of a fork that fails nothing stays.
///
/// # Errors
/// [`Error::Fork`] if either is there already, or what the database says.
pub async fn make(session: &Session, fork: Fork<'_>) -> Result<(), Error> {
    let there = "SELECT EXISTS (SELECT FROM pg_catalog.pg_database d WHERE d.datname = $1)::text, \
        EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = $2)::text";
    let rows = session.ask("look what is there", there, &[Some(fork.database), Some(fork.role)]).await?;
    let row = rows.first().cloned().unwrap_or_default();
    for (at, what, name) in [(0, "database", fork.database), (1, "role", fork.role)] {
        if text(&row, at) == "true" {
            return Err(Error::Fork { problem: format!("there is a {what} {name:?} already") });
        }
    }
    let verifier = verifier(session, fork).await?;
    let (database, role) = (quote::name(fork.database), quote::name(fork.role));
    let create = format!("CREATE ROLE {role} LOGIN PASSWORD {}", quote::text(&verifier));
    session.run("make the role", &create).await?;
    // A role that is no superuser has to belong to the owner of what it makes; for a superuser this changes nothing.
    let superuser = session.ask("look who we are", "SELECT current_setting('is_superuser')", &[]).await?;
    let mut made = Ok(());
    if superuser.first().map(|row| text(row, 0)).as_deref() != Some("on") {
        made = session.run("join the role", &format!("GRANT {role} TO CURRENT_USER")).await;
    }
    if made.is_ok() {
        made = session
            .run("make the database", &format!("CREATE DATABASE {database} OWNER {role} TEMPLATE template0"))
            .await;
    }
    if made.is_ok() {
        made = session
            .run("close the database", &format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC"))
            .await;
    }
    if let Err(error) = made {
        unmake(session, fork).await?;
        return Err(error.into());
    }
    Ok(())
}

/// Takes role and database away again.
///
/// # Errors
/// What the database says.
pub async fn unmake(session: &Session, fork: Fork<'_>) -> Result<(), Error> {
    let (database, role) = (quote::name(fork.database), quote::name(fork.role));
    session.run("drop the database", &format!("DROP DATABASE IF EXISTS {database}")).await?;
    session.run("drop the role", &format!("DROP ROLE IF EXISTS {role}")).await?;
    Ok(())
}

/// Whether the new role may also log in to the database that was forked.
///
/// # Errors
/// What the database says.
pub async fn may_enter_original(session: &Session, role: &str) -> Result<bool, Error> {
    const MAY: &str = "SELECT has_database_privilege($1, current_database(), 'CONNECT')::text";
    let rows = session.ask("look where the role may log in", MAY, &[Some(role)]).await?;
    Ok(rows.first().map(|row| text(row, 0)).as_deref() == Some("true"))
}

/// What PostgreSQL keeps of a password (RFC 5803), so that the password itself is in no log of the server.
async fn verifier(session: &Session, fork: Fork<'_>) -> Result<String, Error> {
    let keys = keys(fork.password, &fork.salt);
    let hex = [canonical::hex(&fork.salt), canonical::hex(&keys[0]), canonical::hex(&keys[1])];
    let sql = "SELECT format('SCRAM-SHA-256$%s:%s$%s:%s', $1, encode(decode($2, 'hex'), 'base64'), \
        encode(decode($3, 'hex'), 'base64'), encode(decode($4, 'hex'), 'base64'))";
    let rounds = ROUNDS.to_string();
    let rows = session
        .ask(
            "write the password's digest",
            sql,
            &[Some(&rounds), Some(&hex[0]), Some(&hex[1]), Some(&hex[2])],
        )
        .await?;
    Ok(rows.first().map(|row| text(row, 0)).unwrap_or_default())
}

/// RFC 5802: the stored key and the server key of a password.
fn keys(password: &str, salt: &[u8]) -> [[u8; 32]; 2] {
    let mac = |key: &[u8], parts: &[&[u8]]| -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    };
    let mut round = mac(password.as_bytes(), &[salt, &[0, 0, 0, 1]]);
    let mut salted = round;
    for _ in 1..ROUNDS {
        round = mac(password.as_bytes(), &[&round]);
        salted.iter_mut().zip(round).for_each(|(byte, other)| *byte ^= other);
    }
    let client = mac(&salted, &[b"Client Key"]);
    [Sha256::digest(client).into(), mac(&salted, &[b"Server Key"])]
}
