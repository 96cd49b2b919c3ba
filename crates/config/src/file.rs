//! The edge of this crate: the only module that reads files.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use palisade_core::text::{escaped, nearest};
use palisade_core::{Code, EnvironmentName};

use crate::host::{HostPolicy, parse_host};
use crate::narrow::narrow;
use crate::problem::Problems;

/// A policy file is never larger; what is larger is something else.
pub const MAX_BYTES: u64 = 1 << 20;

/// Why no policy came out of a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("no policy at {}", shown(.path))]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file is there and cannot be read.
    #[error("cannot read the policy {}", shown(.path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a folder, a pipe or a device.
    #[error("{} is not a file", shown(.path))]
    NotAFile {
        /// What is no file.
        path: PathBuf,
    },
    /// It has more than [`MAX_BYTES`].
    #[error("{} has more than {MAX_BYTES} bytes", shown(.path))]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Its group, or everybody, may write it: then its limits bind nobody.
    #[error("{} may be written by others than its owner (mode {mode:03o})", shown(.path))]
    WritableByOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It knows other environments than the one that was named.
    #[error("the policy has no environment {environment}{}", meant(environment, known))]
    UnknownEnvironment {
        /// The file.
        path: PathBuf,
        /// The one that was named.
        environment: EnvironmentName,
        /// Those that it knows.
        known: Vec<EnvironmentName>,
    },
    /// It is there, and it is not right.
    #[error(transparent)]
    Invalid(#[from] Problems),
}

fn meant(environment: &EnvironmentName, known: &[EnvironmentName]) -> String {
    let name = nearest(environment.as_str(), known.iter().map(EnvironmentName::as_str));
    name.map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}

fn shown(path: &Path) -> String {
    escaped(&path.to_string_lossy()).into_owned()
}

impl Error {
    /// The code under which it is explained.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Missing { .. } => Code::PolicyMissing,
            Self::Unreadable { .. }
            | Self::NotAFile { .. }
            | Self::TooLarge { .. }
            | Self::WritableByOthers { .. } => Code::PolicyInvalid,
            Self::UnknownEnvironment { .. } => Code::UnknownScope,
            Self::Invalid(problems) => problems.code(),
        }
    }

    /// What to do about it; problems of the content carry their own fixes.
    #[must_use]
    pub fn fix(&self) -> Option<String> {
        match self {
            Self::Missing { path } => {
                Some(format!("run `palisade init`: it drafts {} from what the daemon runs", shown(path)))
            }
            Self::Unreadable { path, .. } => {
                Some(format!("let this user read it: see `ls -l {}`", shown(path)))
            }
            Self::NotAFile { .. } | Self::TooLarge { .. } => {
                Some("name the policy file, or run `palisade init` to write one".to_owned())
            }
            Self::WritableByOthers { path, .. } => Some(format!("run: chmod go-w {}", shown(path))),
            Self::UnknownEnvironment { path, environment, known } => {
                let known: Vec<_> = known.iter().map(EnvironmentName::as_str).collect();
                Some(format!(
                    "use one of: {}; or add [environments.{environment}] to {}; nothing was changed",
                    known.join(", "),
                    shown(path)
                ))
            }
            Self::Invalid(_) => None,
        }
    }
}

/// Reads and checks the host file at `path`.
///
/// # Errors
/// A file that is missing, unreadable, too large or writable by others, and every problem of its content.
pub fn load(path: &Path) -> Result<HostPolicy, Error> {
    let (text, mode) = read(path)?;
    if mode & 0o022 != 0 {
        return Err(Error::WritableByOthers { path: path.to_owned(), mode: mode & 0o777 });
    }
    Ok(parse_host(&text, path)?)
}

/// Whether it is sure that there is no file at `path`. One that cannot be reached, or that leads nowhere, may hold rules
/// that nobody sees.
#[must_use]
pub fn is_absent(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Whether there is such an environment on this host: the policy at `path` knows it, or it is the one that is `named` for
/// this process. Where there is proven to be no policy any may be. A mistyped one would shut this host's own commands out of
/// what bears its name.
///
/// # Errors
/// [`Error::UnknownEnvironment`], or as [`load`].
pub fn expect_environment(
    path: &Path,
    named: Option<&str>,
    environment: &EnvironmentName,
) -> Result<(), Error> {
    if named == Some(environment.as_str()) || is_absent(path) {
        return Ok(());
    }
    let host = load(path)?;
    let environments = &host.policy().environments;
    if environments.contains_key(environment) {
        return Ok(());
    }
    let (path, environment) = (path.to_owned(), environment.clone());
    Err(Error::UnknownEnvironment { path, environment, known: environments.keys().cloned().collect() })
}

/// Narrows `host` by the project file at `path`; a path that leads to the host file itself changes nothing.
///
/// # Errors
/// A file that is missing, unreadable or too large, and every value that is wrong or would widen.
pub fn load_project(host: HostPolicy, path: &Path) -> Result<HostPolicy, Error> {
    let is_host = match (std::fs::canonicalize(path), std::fs::canonicalize(host.path())) {
        (Ok(project), Ok(host)) => project == host,
        (Err(_), _) | (_, Err(_)) => false,
    };
    if is_host {
        return Ok(host);
    }
    let (text, _) = read(path)?;
    Ok(narrow(host, &text, path)?)
}

/// Text and permission bits of a file. The bits are those of the opened file, so that no swap comes between.
fn read(path: &Path) -> Result<(String, u32), Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Error::Missing { path: path.to_owned() },
        _ => Error::Unreadable { path: path.to_owned(), source },
    };
    // Asked before opening: opening a pipe would wait for its other end.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(Error::TooLarge { path: path.to_owned() });
    }
    Ok((text, mode))
}
