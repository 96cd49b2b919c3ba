//! Whether somebody changed PM2's `dump.pm2`, and what that lost.
//!
//! `pm2 save` is a write by whoever calls it, and an editor's is one too: neither asks the daemon for anything that could be
//! refused. Under one user nobody can be kept from it. So a guard compares the file with what it saw last, and
//! keeps that as a version to go back to. All of it holds values: like a restore bundle it is private and never shown.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use palisade_core::Timestamp;
use palisade_core::text::escaped;
use palisade_host::files;
use serde_json::{Map, Value};

use crate::dump::{Entry, MAX_BYTES, entries};

/// How many versions are kept.
const KEPT_VERSIONS: usize = 20;
/// What was seen last, beside the versions.
const SEEN: &str = "seen.json";
/// How long nobody may have written to a file that is read.
const SETTLED_AFTER_MS: i64 = 500;
/// Fields of an entry that somebody sets. The others change by themselves, with every restart.
const SETTINGS: [&str; 12] = [
    "args",
    "autorestart",
    "cron_restart",
    "env",
    "exec_interpreter",
    "exec_mode",
    "name",
    "namespace",
    "node_args",
    "pm_cwd",
    "pm_exec_path",
    "watch",
];

/// What tells a file from what it was: number, size, times of its content and of itself.
type Stamp = (u64, u64, i64, i64, i64, i64);

/// A guard's memory of one dump.
#[derive(Debug)]
pub struct Vigil {
    dump: PathBuf,
    versions: PathBuf,
    stamp: Option<Stamp>,
}

/// What a change did, by names of processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// They are in the file no more.
    pub lost: Vec<String>,
    /// They are in it with other settings.
    pub changed: Vec<String>,
    /// They were not in it.
    pub added: Vec<String>,
    /// The user that the file belongs to now; `None` if there is none.
    pub uid: Option<u32>,
    /// The version that has it as it was.
    pub version: String,
}

impl Vigil {
    /// Watches over the file `dump`. Versions lie in `versions`, a private folder.
    #[must_use]
    pub const fn new(dump: PathBuf, versions: PathBuf) -> Self {
        Self { dump, versions, stamp: None }
    }

    /// What changed since the last look, by this process or an earlier one. One look at a file that is as it was costs
    /// a question to the kernel. What [`note`] was told of is no change.
    ///
    /// # Errors
    /// The file cannot be read, as another user's cannot, or no version can be kept.
    pub fn look(&mut self, at: Timestamp) -> Result<Option<Edit>, files::Error> {
        let found = self.dump.metadata().ok();
        let stamp = found.as_ref().map(|found| {
            (found.ino(), found.size(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec())
        });
        // PM2 writes the file in place: what was written just now may not be whole.
        let age_ms = |mtime: i64| i64::try_from(at.unix_ms()).unwrap_or(i64::MAX).saturating_sub(mtime);
        let is_fresh = |found: &Metadata| {
            (-SETTLED_AFTER_MS..SETTLED_AFTER_MS)
                .contains(&age_ms(found.mtime() * 1000 + found.mtime_nsec() / 1_000_000))
        };
        if (stamp.is_some() && stamp == self.stamp) || found.as_ref().is_some_and(is_fresh) {
            return Ok(None);
        }
        let now = bytes(&self.dump)?.unwrap_or_default();
        self.stamp = stamp;
        let before = bytes(&self.versions.join(SEEN))?;
        if before.as_ref() == Some(&now) {
            return Ok(None);
        }
        let edit = before.map(|before| (edit(&before, &now), before));
        let kept = match edit {
            Some((edit, before)) if !edit.lost.is_empty() || !edit.changed.is_empty() => {
                let version = keep(&self.versions, &before, at)?;
                Some(Edit { version, uid: found.map(|found| found.uid()), ..edit })
            }
            Some(_) | None => None,
        };
        note(&self.versions, &now)?;
        Ok(kept)
    }
}

impl Edit {
    /// The change, a sentence each.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        let named = |what: &str, names: &[String]| {
            (!names.is_empty()).then(|| format!("dump.pm2 {what} {}", escaped(&names.join(", "))))
        };
        let owner = match self.uid {
            Some(uid) => format!("the file belongs to uid {uid} now"),
            None => "the file is gone".to_owned(),
        };
        let back = format!("as it was it is version {}: palisade pm2 dumps restore {0}", self.version);
        let changes = [
            named("lost", &self.lost),
            named("has other settings of", &self.changed),
            named("has besides", &self.added),
        ];
        changes.into_iter().flatten().chain([owner, back]).collect()
    }
}

/// Keeps a dump as a version, and the newest ones only. Gives the version's name.
///
/// # Errors
/// It cannot be written.
pub fn keep(versions: &Path, secret: &[u8], at: Timestamp) -> Result<String, files::Error> {
    files::private_folder(versions)?;
    let version = format!("{:020}", at.unix_ms());
    files::write_atomic(&path(versions, &version), secret, 0o600)?;
    let all = names(versions);
    for surplus in &all[..all.len().saturating_sub(KEPT_VERSIONS)] {
        // One that stays is pruned the next time.
        std::fs::remove_file(path(versions, surplus)).unwrap_or_default();
    }
    Ok(version)
}

/// Notes a dump as one that is known, so that it is no change.
///
/// # Errors
/// It cannot be written.
pub fn note(versions: &Path, secret: &[u8]) -> Result<(), files::Error> {
    files::private_folder(versions)?;
    files::write_atomic(&versions.join(SEEN), secret, 0o600)
}

/// The names of the versions that are kept, oldest first.
#[must_use]
pub fn names(versions: &Path) -> Vec<String> {
    let found = std::fs::read_dir(versions).into_iter().flatten().flatten();
    let name = |file: String| file.strip_suffix(".json").filter(|name| is_name(name)).map(str::to_owned);
    let names: BTreeSet<String> =
        found.filter_map(|entry| entry.file_name().into_string().ok().and_then(name)).collect();
    names.into_iter().collect()
}

/// The entries of a version; `None` if there is none of that name, or it cannot be read.
#[must_use]
pub fn version(versions: &Path, name: &str) -> Option<Vec<Entry>> {
    entries(&bytes(&path(versions, name)).ok().flatten().filter(|_| is_name(name))?)
}

fn is_name(name: &str) -> bool {
    name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit())
}

fn path(versions: &Path, name: &str) -> PathBuf {
    versions.join(format!("{name}.json"))
}

fn bytes(path: &Path) -> Result<Option<Vec<u8>>, files::Error> {
    match files::read_bounded(path, MAX_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a change did. A file that is no dump has no entries.
fn edit(before: &[u8], now: &[u8]) -> Edit {
    let (before, now) = (settings(before), settings(now));
    let only_in = |one: &BTreeMap<String, BTreeSet<String>>, other: &BTreeMap<_, _>| -> Vec<String> {
        one.keys().filter(|name| !other.contains_key(*name)).cloned().collect()
    };
    let differs = |(name, of): (&String, &BTreeSet<String>)| {
        now.get(name).is_some_and(|now| now != of).then(|| name.clone())
    };
    Edit {
        lost: only_in(&before, &now),
        changed: before.iter().filter_map(differs).collect(),
        added: only_in(&now, &before),
        uid: None,
        version: String::new(),
    }
}

/// What somebody has set, by name; instances of one name that are set alike are one.
fn settings(dump: &[u8]) -> BTreeMap<String, BTreeSet<String>> {
    let mut settings = BTreeMap::<String, BTreeSet<String>>::new();
    for entry in entries(dump).unwrap_or_default() {
        let mut fields: Map<String, Value> =
            serde_json::from_str(entry.secret_configuration().get()).unwrap_or_default();
        fields.retain(|key, _| SETTINGS.contains(&key.as_str()));
        if let Some(Value::Object(variables)) = fields.get_mut("env") {
            variables.remove(crate::list::UNIQUE_ID);
        }
        settings.entry(entry.name().to_owned()).or_default().insert(Value::Object(fields).to_string());
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(entries: &[(&str, &str, u64)]) -> Vec<u8> {
        let entry = |(name, value, restarts): &(&str, &str, u64)| {
            serde_json::json!({ "name": name, "env": { "SECRET": value, "unique_id": restarts.to_string() },
                                "restart_time": restarts })
        };
        serde_json::to_vec(&entries.iter().map(entry).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn an_edit_is_what_somebody_set_and_not_what_changes_by_itself() {
        let before = dump(&[("shop", "1", 1), ("blog", "1", 1), ("api", "1", 1), ("api", "1", 2)]);
        let same = dump(&[("api", "1", 7), ("blog", "1", 9), ("shop", "1", 4)]);
        let edit_of = |now: &[u8]| {
            let Edit { lost, changed, added, .. } = edit(&before, now);
            (lost.join(" "), changed.join(" "), added.join(" "))
        };
        let table = [
            (same, ("", "", "")),
            (dump(&[("shop", "2", 1), ("api", "1", 1)]), ("blog", "shop", "")),
            (dump(&[("new", "1", 1)]), ("api blog shop", "", "new")),
            (b"{ no dump".to_vec(), ("api blog shop", "", "")),
            (Vec::new(), ("api blog shop", "", "")),
        ];
        for (now, (lost, changed, added)) in table {
            assert_eq!(edit_of(&now), (lost.to_owned(), changed.to_owned(), added.to_owned()));
        }
    }

    #[test]
    fn only_a_version_is_a_version() {
        assert!(is_name("00000001795375893000"));
        for name in ["", "seen", "../../../etc/passwd.", "0000000179537589300", "0000000179537589300x"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
