//! Stores of leases. PostgreSQL and SQLite fence: the transaction that writes compares the term. Redis coordinates only.

mod any;
pub mod postgres;
pub mod redis;
pub mod sqlite;
mod wire;

pub use any::Leases;
pub use postgres::PostgresLeases;
pub use redis::RedisLeases;
pub use sqlite::SqliteLeases;

use palisade_core::{Code, Exit};

/// Why a store of leases did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL did not.
    #[error(transparent)]
    Postgres(#[from] palisade_postgres::Error),
    /// No answer in time. Whether it was done is not known; asking for a lease again is safe.
    #[error("{store} does not answer within {seconds} s")]
    Silent {
        /// Which store, without secrets.
        store: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// SQLite did not.
    #[error("cannot {what} in {path}")]
    Sqlite {
        /// What was tried.
        what: &'static str,
        /// The database file.
        path: String,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// The boot of this machine cannot be told from another, so that no lease could be measured.
    #[error("cannot read which boot of the machine this is")]
    Boot(#[source] palisade_host::files::Error),
    /// The URL is not one that can be connected to.
    #[error("the Redis URL {problem}")]
    Url {
        /// What is wrong with it, without its text.
        problem: String,
    },
    /// Redis could not be reached, or said something that makes no sense.
    #[error("Redis at {place}: {problem}")]
    Redis {
        /// Host and port.
        place: String,
        /// What happened.
        problem: String,
    },
    /// The store holds what no lease can be.
    #[error("{store} holds a lease that cannot be read: {problem}")]
    Damaged {
        /// Which store, without secrets.
        store: String,
        /// What is wrong.
        problem: String,
    },
}

impl Error {
    /// The code with a page about it, if it has one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Postgres(error) => error.code(),
            Self::Silent { .. } | Self::Redis { .. } => Some(Code::Unreachable),
            Self::Sqlite { .. } | Self::Boot(_) | Self::Url { .. } | Self::Damaged { .. } => None,
        }
    }

    /// The exit code of a command that ends with this.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Postgres(error) => error.exit(),
            Self::Silent { .. } | Self::Redis { .. } => Exit::Unreachable,
            Self::Url { .. } => Exit::Usage,
            Self::Sqlite { .. } | Self::Boot(_) | Self::Damaged { .. } => Exit::Failure,
        }
    }

    /// How to go on.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Postgres(error) => error.fix(),
            Self::Silent { .. } | Self::Redis { .. } => "look whether the server runs and is not overloaded",
            Self::Sqlite { .. } => {
                "look whether the file is there, is this user's own and lies on a local disk"
            }
            Self::Boot(_) => "mount /proc",
            Self::Url { .. } => "write it as redis://USER:PASSWORD@HOST:PORT/DATABASE",
            Self::Damaged { .. } => "look who else writes there; terms must not start over",
        }
    }
}
