//! Carrying SQL out on a table that others use.

use std::time::Duration;

use palisade_postgres::Session;

use crate::error::Error;
use crate::rules::Mode;
use crate::script;

/// How long a change of a guard may make others wait, and how often it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The longest wait for a lock, which is also the longest that it can hold up anybody else.
    pub lock_timeout: Duration,
    /// How many attempts.
    pub attempts: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { lock_timeout: Duration::from_millis(200), attempts: 30 }
    }
}

/// What a transaction came to; where it failed, the session has left it.
///
/// # Errors
/// What failed, or that it could not be left.
pub(crate) async fn settled<T, E>(session: &Session, ran: Result<T, E>) -> Result<T, E>
where
    E: From<palisade_postgres::Error>,
{
    if ran.is_err() {
        session.run("go back", "ROLLBACK").await?;
    }
    ran
}

/// Runs a whole transaction, again and again while the table is in use.
///
/// # Errors
/// [`Error::Busy`] after the last attempt, or what the database says. Nothing of a failed attempt stays.
pub async fn run(
    session: &Session,
    table: &str,
    what: &str,
    sql: &str,
    patience: Patience,
) -> Result<u32, Error> {
    let mut attempt = 1;
    loop {
        let Err(error) = settled(session, session.run(what, sql).await).await else { return Ok(attempt) };
        if !error.is_busy() {
            return Err(error.into());
        }
        if attempt >= patience.attempts {
            return Err(Error::Busy { table: table.to_owned(), attempts: attempt, source: error });
        }
        // A pause as long as the wait: others get through what queued up behind us.
        tokio::time::sleep(patience.lock_timeout.max(Duration::from_millis(20))).await;
        attempt += 1;
    }
}

/// Changes a guard's mode. It waits for nobody, for it touches no table of the app.
///
/// # Errors
/// What the database says.
pub async fn mode(session: &Session, id: i32, mode: Mode) -> Result<(), Error> {
    Ok(settled(session, session.run("change the mode", &script::mode(id, mode)).await).await?)
}
