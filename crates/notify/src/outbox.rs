//! The folder in which letters wait: bounded, with a quota for each caller.
//!
//! A letter is a file named by its key. Whoever puts one in and whoever delivers hold the folder's lock while they read
//! and write, never while they wait for a receiver. After a loss of power the newest letters may be missing; the
//! journal has their records.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use palisade_core::notice::Notice;
use palisade_core::{Timestamp, canonical};
use palisade_host::{files, random};

use crate::letter::{FORMAT, Letter};

/// Letters that may wait at once.
pub const MOST_LETTERS: usize = 256;
/// Letters that one caller may have waiting; what it causes beyond is counted in one of them.
pub const MOST_OF_CALLER: usize = 16;
/// The largest letter that is read or written, in bytes.
const MAX_BYTES: u64 = 16 * 1024;

/// A notice was not kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] files::Error),
    /// A letter cannot be written.
    #[error("cannot write a notice into {}", folder.display())]
    Write {
        /// Where.
        folder: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// No name could be made for it.
    #[error("a notice cannot be named")]
    Name(#[from] random::Error),
    /// So many wait that this one is left out.
    #[error("{MOST_LETTERS} notices wait in {} already", folder.display())]
    Full {
        /// Where.
        folder: PathBuf,
    },
    /// It has more than the most bytes of a letter.
    #[error("a notice of {bytes} bytes is too large; at most {MAX_BYTES}")]
    TooLarge {
        /// How many it has.
        bytes: usize,
    },
}

/// The folder `notices` of a state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbox {
    folder: PathBuf,
}

impl Outbox {
    /// The outbox of the state folder at `state`. Nothing is made yet.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        Self { folder: state.join("notices") }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps a notice until it is delivered. Does not wait for the disk.
    ///
    /// # Errors
    /// See [`Error`]; the notice is lost then, and its record is not.
    pub fn put(&self, notice: Notice, now: Timestamp) -> Result<(), Error> {
        files::private_folder(&self.folder)?;
        let _lock = self.lock()?;
        let id = random::operation_id()?.as_str().to_owned();
        let letters = self.names()?;
        let key = notice.key();
        if let Some(mut letter) = self.read(&key) {
            letter.add(notice, now, id);
            return self.write(&key, &letter);
        }
        // The quota is looked at only for a new key: nobody's loop of one refusal meets it.
        let of_caller = letters.iter().filter_map(|key| Some((key, self.read(key)?)));
        let of_caller: Vec<_> =
            of_caller.filter(|(_, letter)| letter.notice.caller == notice.caller).collect();
        if of_caller.len() >= MOST_OF_CALLER
            && let Some((key, mut letter)) = of_caller.into_iter().next()
        {
            let further = notice.with("further", "of this caller, of several kinds; see the journal");
            letter.add(further, now, id);
            return self.write(key, &letter);
        }
        if letters.len() >= MOST_LETTERS {
            return Err(Error::Full { folder: self.folder.clone() });
        }
        self.write(&key, &Letter::new(id, notice, now))
    }

    /// Everything that waits, by key.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn letters(&self) -> Result<Vec<(String, Letter)>, Error> {
        if !self.folder.exists() {
            return Ok(Vec::new());
        }
        let keys = self.names()?;
        Ok(keys.into_iter().filter_map(|key| self.read(&key).map(|letter| (key, letter))).collect())
    }

    /// Changes the letter of that key under the folder's lock; `None` takes it away.
    pub(crate) fn change(
        &self,
        key: &str,
        change: impl FnOnce(Letter) -> Option<Letter>,
    ) -> Result<(), Error> {
        let _lock = self.lock()?;
        let Some(letter) = self.read(key) else { return Ok(()) };
        match change(letter) {
            Some(letter) => self.write(key, &letter),
            None => std::fs::remove_file(self.path(key)).map_err(|source| self.error(source)),
        }
    }

    /// The lock that says that somebody delivers; `None` if somebody else does.
    ///
    /// # Errors
    /// The lock's file cannot be made.
    pub fn delivering(&self) -> Result<Option<File>, Error> {
        files::private_folder(&self.folder)?;
        let lock = files::open_or_create_private(&self.folder.join("delivering.lock"))?;
        Ok(lock.try_lock().is_ok().then_some(lock))
    }

    fn lock(&self) -> Result<File, Error> {
        let lock = files::open_or_create_private(&self.folder.join("folder.lock"))?;
        lock.lock().map_err(|source| self.error(source))?;
        Ok(lock)
    }

    /// Keys of the files that are letters.
    fn names(&self) -> Result<Vec<String>, Error> {
        let entries = self.folder.read_dir().map_err(|source| self.error(source))?;
        let name = |entry: io::Result<std::fs::DirEntry>| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_suffix(".json").map(str::to_owned)
        };
        let mut names: Vec<String> = entries.filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(format!("{key}.json"))
    }

    /// What is no letter of this version counts for nothing.
    fn read(&self, key: &str) -> Option<Letter> {
        let bytes = files::read_if_of(&self.path(key), &[files::own_uid()], MAX_BYTES)?;
        serde_json::from_slice(&bytes).ok().filter(|letter: &Letter| letter.format <= FORMAT)
    }

    /// A reader sees the old letter or the new one whole. Nothing waits for the disk.
    fn write(&self, key: &str, letter: &Letter) -> Result<(), Error> {
        let bytes = canonical::json(letter).into_bytes();
        if bytes.len() as u64 > MAX_BYTES {
            return Err(Error::TooLarge { bytes: bytes.len() });
        }
        let temporary = self.folder.join(format!(".{key}.tmp"));
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options
            .open(&temporary)
            .and_then(|mut file| file.write_all(&bytes))
            .and_then(|()| std::fs::rename(&temporary, self.path(key)));
        if written.is_err() {
            // The first error is the one to report.
            std::fs::remove_file(&temporary).unwrap_or_default();
        }
        written.map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Write { folder: self.folder.clone(), source }
    }
}
