//! What can go wrong between here and a database.

use palisade_core::{Code, Exit};
use tokio_postgres::error::SqlState;

use crate::stamp::Standing;

/// A connection or a statement that failed. No message holds a password.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is not one that can be connected to.
    #[error("the database URL {problem}")]
    Url {
        /// What is wrong with it, without its text.
        problem: String,
    },
    /// Nobody answers.
    #[error("cannot reach PostgreSQL at {place}")]
    Unreachable {
        /// Host and port.
        place: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("PostgreSQL at {place} does not answer within {seconds} s")]
    Silent {
        /// Host and port.
        place: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The certificate store or a file of it cannot be used.
    #[error("cannot use the root certificates {place}: {problem}")]
    Roots {
        /// A file, or the system's store.
        place: String,
        /// Why not.
        problem: String,
    },
    /// The server was reached and would not let us in.
    #[error("PostgreSQL at {place} refuses the connection: {problem}")]
    Refused {
        /// Host and port.
        place: String,
        /// What it said.
        problem: String,
        /// The driver's error.
        #[source]
        source: Box<tokio_postgres::Error>,
    },
    /// A statement failed.
    #[error("PostgreSQL refuses to {what}: {problem}")]
    Statement {
        /// What it was for.
        what: String,
        /// What the server said, with its SQLSTATE.
        problem: String,
        /// The driver's error.
        #[source]
        source: Box<tokio_postgres::Error>,
    },
    /// Another database answered than the one that was expected.
    #[error("this is database {reached}, and {expected} was expected")]
    Mismatch {
        /// Whom we reached.
        reached: String,
        /// Whom we meant.
        expected: String,
    },
    /// An environment was asked for, and the database says none.
    #[error("this database bears no stamp, and {expected} was expected")]
    Unstamped {
        /// Which environment was meant.
        expected: String,
    },
    /// The database belongs to another environment.
    #[error("this is a database of {stamped}, and {expected} was expected")]
    Environment {
        /// What its stamp says.
        stamped: String,
        /// Which environment was meant.
        expected: String,
    },
    /// The stamp was made for another database.
    #[error("this database bears the stamp of {environment} and is not it: {standing}")]
    Copy {
        /// What the stamp says.
        environment: String,
        /// How it is known.
        standing: Standing,
    },
    /// Nobody who counts here signed the stamp.
    #[error("the stamp of {environment} is not signed by a key of {keys}")]
    Unsigned {
        /// What the stamp says.
        environment: String,
        /// The file of keys that count.
        keys: String,
    },
}

impl Error {
    pub(crate) fn statement(what: impl Into<String>, source: tokio_postgres::Error) -> Self {
        Self::Statement { what: what.into(), problem: said(&source), source: Box::new(source) }
    }

    /// The SQLSTATE of a statement that failed.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Statement { source, .. } | Self::Refused { source, .. } => {
                source.code().map(SqlState::code)
            }
            _ => None,
        }
    }

    /// Whether waiting for a lock took longer than `lock_timeout`, so that the same may work later.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self.sqlstate(), Some("55P03" | "40P01"))
    }

    /// Whether the role may not do that.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.sqlstate() == Some("42501")
    }

    /// The code with a page about it, if it has one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } | Self::Refused { .. } => Some(Code::Unreachable),
            Self::Mismatch { .. } => Some(Code::OtherDatabase),
            Self::Unstamped { .. } => Some(Code::StampMissing),
            Self::Environment { .. } => Some(Code::StampOther),
            Self::Copy { .. } => Some(Code::StampCopied),
            Self::Unsigned { .. } => Some(Code::StampUnsigned),
            Self::Url { .. } | Self::Roots { .. } | Self::Statement { .. } => None,
        }
    }

    /// The exit code of a command that ends with this.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Url { .. } => Exit::Usage,
            Self::Unreachable { .. } | Self::Silent { .. } | Self::Refused { .. } => Exit::Unreachable,
            Self::Mismatch { .. }
            | Self::Unstamped { .. }
            | Self::Environment { .. }
            | Self::Copy { .. }
            | Self::Unsigned { .. } => Exit::Refused,
            Self::Roots { .. } | Self::Statement { .. } => Exit::Failure,
        }
    }

    /// How to go on.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Url { .. } => "write it as postgres://ROLE:PASSWORD@HOST:PORT/DATABASE",
            Self::Unreachable { .. } | Self::Silent { .. } => {
                "look whether the server runs, and whether host and port are right; nothing was changed"
            }
            Self::Roots { .. } => "name a file of root certificates as sslrootcert=FILE in the URL",
            Self::Refused { .. } => {
                "look at role, password and database; for a server with a certificate of its own add sslrootcert=FILE"
            }
            Self::Statement { .. } => "nothing of this statement was kept",
            Self::Mismatch { .. } => "look at the URL: it leads to another database; nothing was changed",
            Self::Unstamped { .. } => {
                "say which it is: palisade db stamp --environment NAME; nothing was changed"
            }
            Self::Environment { .. } => "look at the URL and at --environment; nothing was changed",
            Self::Copy { standing: Standing::Promoted, .. } => {
                "after a failover: palisade db stamp accept --environment NAME; else look at the URL; nothing was changed"
            }
            Self::Copy { .. } => {
                "if the copy shall be one of its own: palisade db stamp accept --environment NAME; nothing was changed"
            }
            Self::Unsigned { .. } => {
                "look who made it: palisade db stamp show; a signer that counts is a line of that file"
            }
        }
    }
}

/// The server's own words where it has any, else the driver's.
pub(crate) fn said(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}")),
    }
}
