//! Taking, having and giving back the lock.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use palisade_core::Scope;
use palisade_core::verdict::Term;

use super::record::{self, Paths, Record};
use super::{Acquired, Applicant, Error, Holder, is_there};
use crate::claims::bounded;
use crate::{clock, files, lock, process};

/// Length of the mark in the lock file: a term in 20 digits and a line break.
const MARK_BYTES: usize = 21;

/// A lease that this process holds. Dropping it gives it back; so does the end of the process.
#[must_use = "a lease is held only as long as it is kept"]
#[derive(Debug)]
pub struct Lease {
    // Held for its lock, which lives as long as the open file. It is closed on exec, so no child keeps it alive.
    lock: File,
    paths: Paths,
    record: Record,
}

/// Leave to act under the lease of a parent process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    paths: Paths,
    holder: Holder,
}

/// What came of one try.
pub(super) enum Attempt {
    /// Held, joined or busy.
    Decided(Acquired),
    /// The lock is taken, and no living process is on record as its holder.
    Nameless(PathBuf),
}

/// Tries once. `unchecked` is for showing that the lock is needed.
pub(super) fn attempt(
    folder: &Path,
    scope: &Scope,
    applicant: &Applicant,
    unchecked: bool,
) -> Result<Attempt, Error> {
    let paths = Paths::of(folder, scope);
    let lock = open(&paths, scope)?;
    if !lock::take(&lock).map_err(|source| Error::Lock { path: paths.lock.clone(), source })? {
        return match named(&paths, scope)? {
            None => Ok(Attempt::Nameless(paths.lock)),
            Some(holder) if is_above_us(&holder) => Ok(decided(Acquired::Joined(Joined { paths, holder }))),
            Some(_) if unchecked => Ok(decided(Acquired::Held(begin_term(lock, paths, scope, applicant)?))),
            Some(holder) => Ok(decided(Acquired::Busy(holder))),
        };
    }
    if !is_same_file(&lock, &paths.lock) {
        // Somebody removed the file between opening and locking it; the next try opens the one that is there now.
        return Ok(Attempt::Nameless(paths.lock));
    }
    begin_term(lock, paths, scope, applicant).map(|lease| decided(Acquired::Held(lease)))
}

const fn decided(acquired: Acquired) -> Attempt {
    Attempt::Decided(acquired)
}

/// Whether anybody holds the lock.
pub(super) fn is_locked(paths: &Paths, scope: &Scope) -> Result<bool, Error> {
    let lock = open(paths, scope)?;
    lock::is_taken(&lock).map_err(|source| Error::Lock { path: paths.lock.clone(), source })
}

fn open(paths: &Paths, scope: &Scope) -> Result<File, Error> {
    files::open_or_create_private(&paths.lock).map_err(|source| Error::File { scope: scope.clone(), source })
}

fn is_same_file(lock: &File, path: &Path) -> bool {
    let id = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    lock.metadata().map(id).ok() == path.symlink_metadata().map(id).ok()
}

/// The living process on record.
fn named(paths: &Paths, scope: &Scope) -> Result<Option<Holder>, Error> {
    let Some(holder) = record::read(paths, scope)?.and_then(|record| record.holder()) else {
        return Ok(None);
    };
    Ok(is_there(&holder)?.then_some(holder))
}

/// Whether the holder is this process or one that it descends from.
pub(super) fn is_above_us(holder: &Holder) -> bool {
    process::ancestors(std::process::id()).iter().any(|ancestor| ancestor.process == holder.process)
}

/// Writes the next term, durably, and only then says that the lease is held.
fn begin_term(lock: File, paths: Paths, scope: &Scope, applicant: &Applicant) -> Result<Lease, Error> {
    let last = last_term(&lock, &paths, scope)?;
    let next =
        last.checked_add(1).ok_or_else(|| damaged(&paths.record, "its term is the largest there is"))?;
    let record = Record::of(ourselves(scope, next, applicant)?);
    record::write(&paths, &record)?;
    write_mark(&lock, next).map_err(|source| Error::Lock { path: paths.lock.clone(), source })?;
    Ok(Lease { lock, paths, record })
}

/// The last term that was handed out; 0 before the first. The record tells it, and the mark in the lock file keeps
/// the record from losing it.
fn last_term(lock: &File, paths: &Paths, scope: &Scope) -> Result<u64, Error> {
    let mark = read_mark(lock, &paths.lock)?;
    match (record::read(paths, scope)?, mark) {
        (None, None) => Ok(0),
        (None, Some(term)) => Err(Error::RecordGone { path: paths.record.clone(), term }),
        (Some(record), Some(mark)) if record.term < mark => {
            Err(damaged(&paths.record, "its term is lower than one that was handed out"))
        }
        // The record is written first, so after a power cut it may be one ahead.
        (Some(record), _) => Ok(record.term),
    }
}

/// The term in the lock file; `None` as long as it is empty.
fn read_mark(lock: &File, path: &Path) -> Result<Option<u64>, Error> {
    let mut bytes = [0; MARK_BYTES + 1];
    let length =
        lock.read_at(&mut bytes, 0).map_err(|source| Error::Lock { path: path.to_owned(), source })?;
    if length == 0 {
        return Ok(None);
    }
    let text = std::str::from_utf8(&bytes[..length]).ok().filter(|text| text.len() == MARK_BYTES);
    let number = text.and_then(|text| text.strip_suffix('\n')?.parse().ok());
    number.map(Some).ok_or_else(|| damaged(path, "it is neither empty nor a term in 20 digits"))
}

/// Always of one length and within one sector, so that it is replaced as a whole.
fn write_mark(lock: &File, term: u64) -> io::Result<()> {
    lock.write_all_at(format!("{term:020}\n").as_bytes(), 0)?;
    lock.sync_all()
}

fn damaged(path: &Path, rule: &'static str) -> Error {
    Error::Damaged { path: path.to_owned(), rule }
}

fn ourselves(scope: &Scope, term: u64, applicant: &Applicant) -> Result<Holder, Error> {
    Ok(Holder {
        scope: scope.clone(),
        term,
        process: process::this().map_err(Error::Unidentified)?,
        boot: clock::boot_id().map_err(|source| Error::File { scope: scope.clone(), source })?,
        uid: files::own_uid(),
        since: clock::now(),
        program: bounded(applicant.program.clone()),
        run: applicant.run.clone().map(bounded),
    })
}

impl Lease {
    /// The term under which this lease is held.
    #[must_use]
    pub fn term(&self) -> Term {
        Term { scope: self.record.scope.clone(), number: self.record.term }
    }

    /// Looks again, right before an act, whether the lease is still ours: the record shows our term and the lock file
    /// is the one that we locked.
    ///
    /// # Errors
    /// [`Error::Over`] if somebody removed or replaced a file of the lease, else why the record cannot be read.
    pub fn confirm(&self) -> Result<(), Error> {
        let on_record = record::read(&self.paths, &self.record.scope)?;
        if on_record.as_ref() == Some(&self.record) && is_same_file(&self.lock, &self.paths.lock) {
            return Ok(());
        }
        Err(Error::Over { scope: self.record.scope.clone(), term: self.record.term })
    }
}

impl Drop for Lease {
    /// Takes our name off the record, if it is still there, before the lock goes. A failure costs nothing: the lock
    /// goes anyway, and a name without a lock counts as nobody.
    fn drop(&mut self) {
        if self.confirm().is_ok() {
            record::give_back(&self.paths, &self.record).ok();
        }
    }
}

impl Joined {
    /// The term of the deployment that this process belongs to.
    #[must_use]
    pub fn term(&self) -> Term {
        Term { scope: self.holder.scope.clone(), number: self.holder.term }
    }

    /// The parent process that holds the lease.
    #[must_use]
    pub const fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Looks again, right before an act, whether that parent still holds the lease under that term.
    ///
    /// # Errors
    /// [`Error::Over`] if not, else why the files of the lease gave no answer.
    pub fn confirm(&self) -> Result<(), Error> {
        let same = named(&self.paths, &self.holder.scope)?.as_ref() == Some(&self.holder);
        if same && is_locked(&self.paths, &self.holder.scope)? {
            return Ok(());
        }
        Err(Error::Over { scope: self.holder.scope.clone(), term: self.holder.term })
    }
}
