//! Why a guard could not be made, changed or read.

use palisade_core::{Code, Exit};

/// What went wrong. Nothing was changed, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rules contradict themselves.
    #[error("{problem}")]
    Rules {
        /// Which one, and why.
        problem: String,
    },
    /// There is no such table, or it cannot be guarded.
    #[error("{table} cannot be guarded this way: {problem}")]
    Unfit {
        /// As it was typed, or as the catalogue has it.
        table: String,
        /// Why.
        problem: String,
    },
    /// The table is not guarded.
    #[error("{table} has no guard")]
    Unguarded {
        /// As it was typed.
        table: String,
    },
    /// The role may not do it.
    #[error("this role may not do that: {problem}")]
    Forbidden {
        /// In the server's words.
        problem: String,
        /// The error itself.
        #[source]
        source: palisade_postgres::Error,
    },
    /// No moment was found at which the table could be locked.
    #[error("{table} was in use at each of {attempts} attempts")]
    Busy {
        /// The table.
        table: String,
        /// How often it was tried.
        attempts: u32,
        /// The last error.
        #[source]
        source: palisade_postgres::Error,
    },
    /// The guards were made by a build of another format.
    #[error("the guards of this database are of format {found}, and this build's of format {own}")]
    Format {
        /// What is there.
        found: u32,
        /// What this build makes.
        own: u32,
    },
    /// A database cannot be forked so.
    #[error("the database cannot be forked so: {problem}")]
    Fork {
        /// Why.
        problem: String,
    },
    /// An app has no key in this database.
    #[error("{app}/{environment} has no key in this database")]
    Keyless {
        /// The app.
        app: String,
        /// Its environment.
        environment: String,
    },
    /// An app has no minimum epoch in this database.
    #[error("{app} has no minimum epoch in this database{}", did_you_mean(meant.as_deref()))]
    WithoutMinimum {
        /// The app and its environment, as `APP/ENVIRONMENT`.
        app: String,
        /// One that has a minimum and is called much like it.
        meant: Option<String>,
    },
    /// The guard asks for an identity, and nothing proves one.
    #[error("{table} asks for an identity")]
    Nameless {
        /// The table.
        table: String,
    },
    /// A step of a rotation would hit somebody, or would stop nobody.
    #[error("this step is barred for the role {role}: {problem}")]
    Barred {
        /// The role.
        role: String,
        /// Why.
        problem: String,
    },
    /// The server's log cannot be read.
    #[error("the server's log cannot be read: {problem}")]
    Log {
        /// Why not.
        problem: String,
    },
    /// The database.
    #[error(transparent)]
    Database(palisade_postgres::Error),
}

fn did_you_mean(meant: Option<&str>) -> String {
    meant.map(|meant| format!(": did you mean {meant}?")).unwrap_or_default()
}

impl From<palisade_postgres::Error> for Error {
    fn from(error: palisade_postgres::Error) -> Self {
        if error.is_forbidden() {
            Self::Forbidden { problem: error.to_string(), source: error }
        } else {
            Self::Database(error)
        }
    }
}

impl Error {
    /// Whether a statement was refused, or something found wrong, over a connection that is as good as before.
    pub(crate) fn is_of_a_statement(&self) -> bool {
        match self {
            Self::Database(source) | Self::Forbidden { source, .. } | Self::Busy { source, .. } => {
                source.sqlstate().is_some_and(|state| !state.starts_with("57P") && !state.starts_with("08"))
            }
            _ => true,
        }
    }

    /// The code with a page about it, if it has one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Rules { .. } | Self::WithoutMinimum { .. } => None,
            Self::Keyless { .. } => Some(Code::ProofRefused),
            Self::Nameless { .. } => Some(Code::IdentityRequired),
            Self::Fork { .. } => Some(Code::ForkBarred),
            Self::Format { .. } => Some(Code::GuardOfAnotherFormat),
            Self::Unfit { .. } => Some(Code::TableUnfit),
            Self::Unguarded { .. } => Some(Code::GuardMissing),
            Self::Forbidden { .. } => Some(Code::RoleUnfit),
            Self::Busy { .. } => Some(Code::TableBusy),
            Self::Log { .. } => Some(Code::LogUnreadable),
            Self::Barred { .. } => Some(Code::RotationBarred),
            Self::Database(error) => error.code(),
        }
    }

    /// The exit code of a command that ends with this.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Rules { .. } | Self::Nameless { .. } | Self::WithoutMinimum { .. } => Exit::Usage,
            Self::Unfit { .. }
            | Self::Unguarded { .. }
            | Self::Forbidden { .. }
            | Self::Busy { .. }
            | Self::Keyless { .. }
            | Self::Fork { .. }
            | Self::Format { .. }
            | Self::Log { .. } => Exit::Failure,
            Self::Barred { .. } => Exit::Refused,
            Self::Database(error) => error.exit(),
        }
    }

    /// How to go on.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Rules { .. } => "",
            Self::Fork { .. } => "choose another name or environment; the original was not touched",
            Self::Format { found, own } if found < own => {
                "bring them up to this build: palisade guard upgrade table"
            }
            Self::Format { .. } => "use the build that installed them, or a later one",
            Self::Keyless { .. } => "give it one: palisade db key create --app APP --environment ENVIRONMENT",
            Self::WithoutMinimum { .. } => {
                "see which apps have one: palisade db epoch list; nothing was changed"
            }
            Self::Nameless { .. } => {
                "make a key: palisade db key create --app APP --key FILE, and name it with --key-file FILE"
            }
            Self::Unfit { .. } => "see what Palisade finds: palisade guard install table NAME --inspect",
            Self::Unguarded { .. } => "see which tables are guarded: palisade guard list table",
            Self::Forbidden { .. } => {
                "connect as a role that may (the table's owner; CREATEROLE where roles are made), or give the SQL of --dry-run \
                 to somebody who may"
            }
            Self::Busy { .. } => {
                "try again when the table is less busy; nothing was changed, and nobody waited longer"
            }
            Self::Barred { .. } => "see where it stands: palisade db rotate status; nothing was changed",
            Self::Log { .. } => "name the server's log_line_prefix with --prefix, or take --source sample",
            Self::Database(error) => error.fix(),
        }
    }
}
