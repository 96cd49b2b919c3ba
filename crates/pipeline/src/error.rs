//! Why an operation did not come to a verdict. A refusal is not among them: it is a verdict.

use palisade_core::epoch::WouldFall;
use palisade_core::policy::PolicyRef;
use palisade_core::{Code, Exit};
use palisade_host::{epochs, files, lease, random};

use crate::resource::Fault;

/// The pipeline stopped before the act; nothing was touched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The resource could not be reached or guarded.
    #[error(transparent)]
    Resource(#[from] Fault),
    /// Somebody else holds the lease of the scope.
    #[error("another deployment holds the lease: {holder}")]
    LeaseHeld {
        /// Who, since when, from which run.
        holder: Box<lease::Holder>,
    },
    /// The lease's file could not be used.
    #[error("cannot take the lease")]
    Lease(#[from] lease::Error),
    /// The journal is damaged or cannot be written.
    #[error("the operation cannot be recorded, so it is not carried out")]
    Journal(#[from] palisade_journal::Error),
    /// The policy in force has a lower revision than the last one recorded.
    #[error("the policy's revision went back from {} to {}", recorded.revision, found.revision)]
    PolicyRolledBack {
        /// The last one recorded.
        recorded: PolicyRef,
        /// The one that was given.
        found: PolicyRef,
    },
    /// A file of the state folder could not be written or read.
    #[error("a file of the state folder cannot be used")]
    State(#[from] files::Error),
    /// The minimums of epochs cannot be read or written.
    #[error("the epochs of this host cannot be read or raised")]
    Epochs(#[from] epochs::Error),
    /// A minimum would fall.
    #[error(transparent)]
    EpochWouldFall(#[from] WouldFall),
    /// No random bytes for an id.
    #[error("cannot make an operation's id")]
    Random(#[from] random::Error),
    /// None was ever taken.
    #[error("no snapshot has been taken on this host")]
    NoSnapshot,
    /// A stored snapshot cannot be used.
    #[error("snapshot {id}: {reason}")]
    Snapshot {
        /// Which one was asked for.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Whether the journal is damaged or cannot be written.
#[must_use]
pub const fn journal_code(error: &palisade_journal::Error) -> Code {
    if is_unwritable(error) { Code::JournalUnwritable } else { Code::JournalDamaged }
}

/// How to go on when the journal fails.
#[must_use]
pub fn journal_fix(error: &palisade_journal::Error) -> &'static str {
    use palisade_journal::Error as Journal;
    match error {
        Journal::Unwritable { source, .. } | Journal::Unreadable { source, .. }
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            "run this as the user whose journal it is"
        }
        error if is_unwritable(error) => {
            "make room or mend the permissions of the folder, then try again; reads work meanwhile"
        }
        _ => {
            "keep the folder as it is: it is evidence; copy it, then compare it with an anchor: \
             palisade journal verify --anchor FILE"
        }
    }
}

/// Whether a record could not be written, as opposed to a journal that is not what it was.
pub(crate) const fn is_unwritable(error: &palisade_journal::Error) -> bool {
    use palisade_journal::Error as Journal;
    matches!(error, Journal::Unwritable { .. } | Journal::Poisoned | Journal::TooLarge { .. })
}

impl Error {
    /// The command's exit code.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Resource(fault) => fault.kind.exit(),
            Self::LeaseHeld { .. } => Exit::LeaseHeld,
            Self::Journal(_) => Exit::Journal,
            Self::PolicyRolledBack { .. } | Self::EpochWouldFall(_) => Exit::Refused,
            Self::Lease(_)
            | Self::State(_)
            | Self::Epochs(_)
            | Self::Random(_)
            | Self::NoSnapshot
            | Self::Snapshot { .. } => Exit::Failure,
        }
    }

    /// The code whose page explains it, where there is one.
    #[must_use]
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::Resource(fault) => Some(fault.kind.code()),
            Self::LeaseHeld { .. } => Some(Code::LeaseHeld),
            Self::Journal(error) => Some(journal_code(error)),
            Self::PolicyRolledBack { .. } => Some(Code::PolicyRolledBack),
            Self::NoSnapshot | Self::Snapshot { .. } => Some(Code::SnapshotMissing),
            Self::Epochs(_) => Some(Code::EpochsUnreadable),
            Self::EpochWouldFall(_) => Some(Code::EpochWouldFall),
            Self::Lease(_) | Self::State(_) | Self::Random(_) => None,
        }
    }

    /// How to go on, in one sentence.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::Resource(fault) => fault.fix.clone(),
            Self::LeaseHeld { .. } => "try again when it is done, or wait for it with --wait 60s".to_owned(),
            Self::Journal(error) => journal_fix(error).to_owned(),
            Self::PolicyRolledBack { recorded, .. } => format!(
                "restore the newer policy file, or give it a revision of {} or more if its content is meant",
                recorded.revision
            ),
            Self::NoSnapshot => "every operation takes one; `palisade pm2 snapshot` takes one now".to_owned(),
            Self::Snapshot { .. } => "see `palisade pm2 snapshots` for those that are kept".to_owned(),
            Self::Epochs(error) => error.fix(),
            Self::EpochWouldFall(fall) => format!(
                "if the workflow went back, write epoch {} or more into its newest version with `palisade ci epoch write`",
                fall.in_force
            ),
            Self::Lease(_) | Self::State(_) | Self::Random(_) => "look at the folder named above".to_owned(),
        }
    }
}
