//! The tracked files, as text.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use crate::source::Source;

/// The files that git tracks and that are text, by their path from the root.
#[derive(Debug, Default)]
pub(crate) struct Repository {
    root: PathBuf,
    files: BTreeMap<String, Source>,
}

impl Repository {
    /// Reads the repository around the working folder. A file that is no UTF-8, or is deleted, is left out.
    ///
    /// # Errors
    /// There is no git or no repository, or a file cannot be read.
    pub(crate) fn read() -> io::Result<Self> {
        let root = PathBuf::from(git(&PathBuf::from("."), &["rev-parse", "--show-toplevel"])?.trim_end());
        let mut files = BTreeMap::new();
        for path in git(&root, &["ls-files", "-z"])?.split_terminator('\0') {
            match std::fs::read(root.join(path)) {
                Ok(bytes) => {
                    let Ok(text) = String::from_utf8(bytes) else { continue };
                    files.insert(path.to_owned(), Source::new(path, text));
                }
                // Tracked as a link to a folder, or deleted and not committed yet.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { root, files })
    }

    /// A repository of these files, for tests.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let sources =
            files.iter().map(|(path, text)| ((*path).to_owned(), Source::new(path, (*text).to_owned())));
        Self { root: PathBuf::new(), files: sources.collect() }
    }

    /// The folder that all paths are relative to.
    pub(crate) const fn root(&self) -> &PathBuf {
        &self.root
    }

    /// How many files there are.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// One file.
    pub(crate) fn file(&self, path: &str) -> Option<&Source> {
        self.files.get(path)
    }

    /// Every file.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Source> {
        self.files.values()
    }

    /// Every Rust file.
    pub(crate) fn rust(&self) -> impl Iterator<Item = &Source> {
        self.files().filter(|file| file.is_rust())
    }

    /// Whether a file or a folder with files is at `path`.
    pub(crate) fn holds(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        path.is_empty()
            || self.files.contains_key(path)
            || self.files.range(folder.clone()..).next().is_some_and(|(next, _)| next.starts_with(&folder))
    }
}

fn git(folder: &PathBuf, words: &[&str]) -> io::Result<String> {
    let output = Command::new("git").arg("-C").arg(folder).args(words).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(format!("git {}: {}", words.join(" "), said.trim())));
    }
    String::from_utf8(output.stdout).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_held_by_the_files_in_them() {
        let repository = Repository::of(&[("docs/adr/0001.md", ""), ("docs.md", "")]);
        assert!(repository.holds("docs/adr") && repository.holds("docs/") && repository.holds("docs.md"));
        assert!(!repository.holds("docs/ad") && !repository.holds("src"));
    }
}
