//! Where bypasses lie: one small file each, on a file system of the kernel's memory.
//!
//! A bypass has to work when nothing else does: with a full disk, without journal, judge or policy. So it is a file
//! below `/run`, else below the user's own runtime folder, else below `/dev/shm`, and whoever judges looks there. What
//! counts is the file's owner, which the kernel keeps: root, or the user that judges. A file of anybody else, and one
//! that others may write, opens nothing.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use palisade_core::bypass::{Bypass, Opened};
use palisade_core::canonical;

use crate::environment::Environment;
use crate::{clock, files};

/// The system's folder, which root makes.
const SYSTEM: &str = "/run/palisade";
/// Largest file that is read.
const MAX_BYTES: u64 = 8 * 1024;
/// Most files of one folder that are looked at.
const MAX_FILES: usize = 64;

/// The folders in which bypasses count for one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    folders: Vec<PathBuf>,
    uid: u32,
}

/// No folder took the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// None of the folders can be written.
    #[error("a bypass can be written to none of {}", shown(folders))]
    NoFolder {
        /// Those that were tried.
        folders: Vec<PathBuf>,
        /// What the last one said.
        #[source]
        last: Option<files::Error>,
    },
    /// The boot could not be named.
    #[error("this boot has no id")]
    Boot(#[source] files::Error),
    /// A file that should go stays.
    #[error("cannot remove {}; remove it as its owner", path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

fn shown(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl Folders {
    /// The folders that count for the user `uid` with these variables, in the order in which they are tried.
    #[must_use]
    pub fn of(environment: &Environment, uid: u32) -> Self {
        #[cfg(feature = "ablation")]
        if let Some(folder) = environment.absolute_path("PALISADE_RUNTIME") {
            return Self::only(vec![folder], uid);
        }
        let named = environment.absolute_path("XDG_RUNTIME_DIR").map(|folder| folder.join("palisade"));
        // A guard that a supervisor started has no such variable, and still looks where its user's shell wrote.
        let usual = PathBuf::from(format!("/run/user/{uid}/palisade"));
        let memory = PathBuf::from(format!("/dev/shm/palisade-{uid}"));
        let mut folders = vec![PathBuf::from(SYSTEM)];
        folders.extend(named);
        folders.extend(
            [usual, memory].into_iter().filter(|folder| !folders.contains(folder)).collect::<Vec<_>>(),
        );
        Self { folders, uid }
    }

    /// Only these folders: for tests.
    #[must_use]
    pub const fn only(folders: Vec<PathBuf>, uid: u32) -> Self {
        Self { folders, uid }
    }

    /// The bypass that opens `guard` now, the one that lasts longest first; `None` if it is closed.
    #[must_use]
    pub fn opening(&self, guard: &Opened) -> Option<Bypass> {
        let open = self.in_force().into_iter().filter(|bypass| bypass.opened.covers(guard));
        open.max_by_key(|bypass| bypass.until_boot_ms)
    }

    /// Every bypass that is in force now.
    #[must_use]
    pub fn in_force(&self) -> Vec<Bypass> {
        let mut found: Vec<Bypass> = self.files().into_iter().map(|(_, bypass)| bypass).collect();
        found.sort_by(|one, other| one.id.cmp(&other.id));
        found.dedup_by(|one, other| one.id == other.id);
        found
    }

    /// Puts a bypass in force, in the place of one that opens exactly the same, and gives the file.
    ///
    /// # Errors
    /// No folder takes it.
    pub fn begin(&self, bypass: &Bypass) -> Result<PathBuf, Error> {
        let mut last = None;
        for folder in &self.folders {
            let is_system = folder.as_path() == Path::new(SYSTEM);
            let mode = if is_system { 0o644 } else { 0o600 };
            let path = folder.join(file_name(&bypass.opened));
            let written = made(folder, if is_system { 0o755 } else { 0o700 })
                .and_then(|()| files::replace(&path, canonical::json(bypass).as_bytes(), mode));
            match written {
                // It counts only if it can be read back under the rules that a guard reads it by.
                Ok(()) if read(&path, self.uid).is_some_and(|read| read.id == bypass.id) => return Ok(path),
                Ok(()) => {}
                Err(error) => last = Some(error),
            }
        }
        Err(Error::NoFolder { folders: self.folders.clone(), last })
    }

    /// Ends every bypass that `opened` covers, and gives them.
    ///
    /// # Errors
    /// A file cannot be removed; those before it are.
    pub fn end(&self, opened: &Opened) -> Result<Vec<Bypass>, Error> {
        let mut ended = Vec::new();
        for (path, bypass) in self.files() {
            if opened.covers(&bypass.opened) {
                std::fs::remove_file(&path).map_err(|source| Error::Remove { path: path.clone(), source })?;
                ended.push(bypass);
            }
        }
        Ok(ended)
    }

    /// What is in force, with its files.
    fn files(&self) -> Vec<(PathBuf, Bypass)> {
        let Ok(boot) = clock::boot_id() else { return Vec::new() };
        let now = clock::boot_ms();
        let entries = self.folders.iter().flat_map(|folder| {
            folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()).take(MAX_FILES)
        });
        let bypasses = entries.filter(|path| is_ours(path)).filter_map(|path| {
            let bypass = read(&path, self.uid)?;
            bypass.is_in_force(&boot, now).then_some((path, bypass))
        });
        bypasses.collect()
    }
}

fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with("off-") && name.ends_with(".json"))
}

/// One file for each thing that can be opened.
fn file_name(opened: &Opened) -> String {
    match opened {
        Opened::Every => "off-every.json".to_owned(),
        Opened::Pm2 => "off-pm2.json".to_owned(),
        Opened::Pm2Home { home } => format!("off-pm2-{}.json", &canonical::sha256_hex(home.as_bytes())[..16]),
    }
}

/// A file that counts: of root or of `uid`, written by nobody else, no link.
fn read(path: &Path, uid: u32) -> Option<Bypass> {
    serde_json::from_slice(&files::read_if_of(path, &[0, uid], MAX_BYTES)?).ok()
}

/// Makes the folder, with exactly that mode, where it is absent. Its parents are the system's.
fn made(folder: &Path, mode: u32) -> Result<(), files::Error> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => std::fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(|source| {
            files::Error::Io { operation: "set the mode of", path: folder.to_owned(), source }
        }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(files::Error::Io { operation: "create", path: folder.to_owned(), source }),
    }
}
