//! The deployment lease: one deployment of one scope at a time on this host.
//!
//! Two files per scope in the folder of leases:
//!
//! * `APP@ENVIRONMENT.lock` is held by flock(2). The kernel frees it when its holder ends, however that happens. It is
//!   never removed or replaced, for then two processes could hold two files of one name. It holds the last term too,
//!   against a record that was lost or put back from an old copy.
//! * `APP@ENVIRONMENT.lease` is the record: who holds the lease and under which term. It is replaced atomically, so
//!   that no reader and no power cut sees half of it.
//!
//! A [`Lease`] carries a term, which grows by one at each acquisition and is durable before the lease is handed out.
//! It never falls: where the record is damaged or gone, acquiring is an error that says what to do.
//!
//! A process below the holder is let in as [`Joined`], so that the commands of a deployment script do not wait for
//! the deployment that runs them.

mod hold;
mod record;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_core::Scope;
use palisade_core::ablation::{Check, is_off};
use palisade_core::verdict::Term;

use crate::clock::Stopwatch;
use crate::process;
use crate::{clock, files};
use hold::{Attempt, attempt};

pub use hold::{Joined, Lease};
pub use record::Holder;

/// Pause between two tries of [`acquire_within`].
const POLL: Duration = Duration::from_millis(50);
/// How long [`acquire`] waits for a new holder to write its name, and the pause between two looks.
const SETTLE: Duration = Duration::from_millis(500);
const SETTLE_POLL: Duration = Duration::from_millis(5);

/// Why the lease could be neither had nor refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the lease could not be used.
    #[error("the lease of {scope} cannot be used")]
    File {
        /// The scope.
        scope: Scope,
        /// What is wrong with the file, and the fix.
        #[source]
        source: files::Error,
    },
    /// The kernel gave no answer about the lock.
    #[error("cannot lock {}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The record or the mark in the lock file cannot be right. The last term is unknown, so no next one is given.
    #[error(
        "{} is damaged ({rule}): terms must not start over; put the last good copy back, or write it anew with a term \
         above every term of this scope in the journal",
        path.display()
    )]
    Damaged {
        /// The record, or the lock file.
        path: PathBuf,
        /// What is wrong with it.
        rule: &'static str,
    },
    /// The record is gone, though the lease has been held before.
    #[error(
        "{} is gone, though this lease was last held under term {term}: terms must not start over; put the file \
         back with at least that term",
        path.display()
    )]
    RecordGone {
        /// The record.
        path: PathBuf,
        /// The last term that was handed out.
        term: u64,
    },
    /// Somebody holds the lock and has not written who.
    #[error("{} is held by a process that does not say who it is; `fuser` names it", path.display())]
    Nameless {
        /// The lock file.
        path: PathBuf,
    },
    /// The lease is no longer ours, or no longer that of the deployment that this process belongs to.
    #[error("the lease of {scope} under term {term} is over; nothing more may be done in its name")]
    Over {
        /// The scope.
        scope: Scope,
        /// The term that was held.
        term: u64,
    },
    /// This process could not be named.
    #[error("cannot tell which process asks for the lease")]
    Unidentified(#[source] process::Error),
    /// The folder of leases could not be listed.
    #[error("cannot list {}", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// What the holder says of itself, for those who wait. Kept to 512 bytes each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applicant {
    /// The command: `palisade deploy`.
    pub program: String,
    /// The CI run that it belongs to, as text.
    pub run: Option<String>,
}

/// What came of asking.
#[must_use = "a lease is held only as long as it is kept"]
#[derive(Debug)]
pub enum Acquired {
    /// The lease is ours until dropped.
    Held(Lease),
    /// A parent of this process holds it, and we act under its term.
    Joined(Joined),
    /// Somebody else holds it.
    Busy(Holder),
}

/// Asks for the lease of `scope` once, without waiting for its holder. `folder` must exist and be private.
///
/// # Errors
/// See [`Error`]. None of them leaves a lease behind.
pub fn acquire(folder: &Path, scope: &Scope, applicant: &Applicant) -> Result<Acquired, Error> {
    let watch = Stopwatch::start();
    loop {
        match attempt(folder, scope, applicant, is_off(Check::Lease))? {
            Attempt::Decided(acquired) => return Ok(acquired),
            // A new holder locks first and writes its name next; a reader holds the lock for a moment.
            Attempt::Nameless(path) if watch.elapsed() >= SETTLE => return Err(Error::Nameless { path }),
            Attempt::Nameless(_) => std::thread::sleep(SETTLE_POLL),
        }
    }
}

/// Asks for the lease of `scope` until it is had or `wait` is over; then the answer is [`Acquired::Busy`].
///
/// `on_wait` is told each new holder once. Waiters are not served in order.
///
/// # Errors
/// As [`acquire`].
pub fn acquire_within(
    folder: &Path,
    scope: &Scope,
    applicant: &Applicant,
    wait: Duration,
    on_wait: &mut dyn FnMut(&Holder),
) -> Result<Acquired, Error> {
    let watch = Stopwatch::start();
    let mut told = None;
    loop {
        let over = watch.elapsed() >= wait;
        match acquire(folder, scope, applicant) {
            Ok(Acquired::Busy(holder)) if !over => {
                if told != Some(holder.term) {
                    on_wait(&holder);
                    told = Some(holder.term);
                }
            }
            Err(Error::Nameless { .. }) if !over => {}
            decided => return decided,
        }
        std::thread::sleep(POLL.min(wait.saturating_sub(watch.elapsed())));
    }
}

/// Who holds the lease of `scope`, if anybody.
///
/// # Errors
/// If the record is there and cannot be read or understood, or the lock gives no answer.
pub fn inspect(folder: &Path, scope: &Scope) -> Result<Option<Holder>, Error> {
    let paths = record::Paths::of(folder, scope);
    let Some(record) = record::read(&paths, scope)? else { return Ok(None) };
    match record.holder() {
        Some(holder) if is_there(&holder)? && hold::is_locked(&paths, scope)? => Ok(Some(holder)),
        Some(_) | None => Ok(None),
    }
}

/// The term of the deployment that this process belongs to: that which [`acquire`] would join. Takes nothing, for
/// those who only look.
///
/// # Errors
/// As [`inspect`].
pub fn joinable(folder: &Path, scope: &Scope) -> Result<Option<Term>, Error> {
    let holder = inspect(folder, scope)?.filter(hold::is_above_us);
    Ok(holder.map(|holder| Term { scope: holder.scope, number: holder.term }))
}

/// Every lease in `folder` that is held, by scope. An absent folder holds none.
///
/// # Errors
/// As [`inspect`], for the first record that cannot be used; or if the folder cannot be listed.
pub fn list(folder: &Path) -> Result<Vec<(Scope, Holder)>, Error> {
    let unlisted = |source| Error::List { path: folder.to_owned(), source };
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unlisted(error)),
    };
    let mut scopes = BTreeSet::new();
    for entry in entries {
        scopes.extend(record::scope_of(&entry.map_err(unlisted)?.file_name()));
    }
    let held = scopes.into_iter().map(|scope| Ok(inspect(folder, &scope)?.map(|holder| (scope, holder))));
    held.filter_map(Result::transpose).collect()
}

/// Whether the holder's process still runs: on this boot, with that start time.
fn is_there(holder: &Holder) -> Result<bool, Error> {
    let boot = clock::boot_id().map_err(|source| Error::File { scope: holder.scope.clone(), source })?;
    Ok(holder.boot == boot && process::is_alive(holder.process))
}
