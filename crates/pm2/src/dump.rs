//! PM2's `dump.pm2`: what `pm2 resurrect` brings back after the next start.
//!
//! PM2's own `save` replaces the file by what runs at that moment, so after a loss it makes the loss lasting. Here a
//! save replaces one app's entries, refreshes those of others that run, and keeps those of others that do not. The
//! file holds every variable of every app: like a restore bundle it is private and never shown.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use palisade_host::files;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::list::Listing;

/// The file's name below the home.
pub const DUMP: &str = "dump.pm2";
/// Largest file that is read.
pub(crate) const MAX_BYTES: u64 = 64 << 20;
/// Keys of a list's entry that a dump has not: PM2 gives them anew.
const LEFT_OUT: [&str; 2] = ["pm_id", "instances"];

/// The dump cannot be used. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] files::Error),
    /// It is no list of entries.
    #[error("{} is not the list that PM2 writes; move it away if it is damaged", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

/// One entry, with its values. Debug shows none.
#[derive(Clone)]
pub struct Entry {
    name: String,
    secret: Box<RawValue>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry({})", palisade_core::text::escaped(&self.name))
    }
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// What a save makes of a dump.
#[derive(Debug)]
pub struct Merged {
    entries: Vec<Entry>,
    /// Names of others that do not run now, and stay in the file.
    pub kept: Vec<String>,
    /// Names of one's own that are no longer in the file.
    pub dropped: Vec<String>,
}

impl Entry {
    /// Its process's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// PM2's own entry, values and all.
    pub(crate) fn secret_configuration(&self) -> &RawValue {
        &self.secret
    }
}

/// The entries of the dump of that home; none where there is no file.
///
/// # Errors
/// It cannot be read, or is no dump.
pub fn read(home: &Path) -> Result<Vec<Entry>, DumpError> {
    let path = home.join(DUMP);
    let bytes = match files::read_bounded(&path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    entries(&bytes).ok_or(DumpError::Malformed { path })
}

pub(crate) fn entries(bytes: &[u8]) -> Option<Vec<Entry>> {
    let raw: Vec<Box<RawValue>> = serde_json::from_slice(bytes).ok()?;
    raw.into_iter()
        .map(|secret| {
            let Named { name } = serde_json::from_str(secret.get()).ok()?;
            Some(Entry { name, secret })
        })
        .collect()
}

/// Merges what runs into `old`: entries whose name `is_own` become exactly what runs, others never get lost.
#[must_use]
pub fn merge(listing: &Listing, old: &[Entry], is_own: impl Fn(&str) -> bool) -> Merged {
    let live: Vec<Entry> = listing
        .entries
        .iter()
        .filter(|listed| !listed.process.module)
        .filter_map(|listed| {
            let name = listed.process.pin.name.clone();
            let mut entry: Map<String, Value> =
                serde_json::from_str(listed.secret_configuration().get()).ok()?;
            entry.retain(|key, _| !LEFT_OUT.contains(&key.as_str()));
            Some(Entry { name, secret: serde_json::value::to_raw_value(&entry).ok()? })
        })
        .collect();
    let names: BTreeSet<&str> = live.iter().map(Entry::name).collect();
    let (mut kept, mut dropped, mut entries) = (Vec::new(), Vec::new(), live.clone());
    for entry in old.iter().filter(|entry| !names.contains(entry.name())) {
        if is_own(&entry.name) {
            dropped.push(entry.name.clone());
        } else {
            kept.push(entry.name.clone());
            entries.push(entry.clone());
        }
    }
    Merged { entries, kept, dropped }
}

/// Puts the entries of an earlier dump back, in the place of what `old` has under their names. What only `old` has stays.
#[must_use]
pub fn put_back(earlier: &[Entry], old: &[Entry]) -> Merged {
    let names =
        |entries: &[Entry]| -> BTreeSet<String> { entries.iter().map(|entry| entry.name.clone()).collect() };
    let (of_earlier, of_old) = (names(earlier), names(old));
    let kept = old.iter().filter(|entry| !of_earlier.contains(&entry.name));
    let entries = earlier.iter().chain(kept).cloned().collect();
    Merged { entries, kept: of_old.difference(&of_earlier).cloned().collect(), dropped: Vec::new() }
}

impl Merged {
    /// How many processes the file brings back.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it brings back none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The file's content, values and all.
    #[must_use]
    pub fn secret_bytes(&self) -> Vec<u8> {
        let raw: Vec<&RawValue> = self.entries.iter().map(|entry| &*entry.secret).collect();
        serde_json::to_vec_pretty(&raw).unwrap_or_default()
    }
}

/// Names that run and that the dump lacks: the next start would not bring them back.
#[must_use]
pub fn lacking<'a>(dump: &[Entry], running: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let named: BTreeSet<&str> = dump.iter().map(Entry::name).collect();
    let running: BTreeSet<&str> = running.into_iter().collect();
    running.difference(&named).map(|name| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use palisade_core::redact::Salt;

    use super::*;

    fn listing(names: &[&str]) -> Listing {
        let entry = |(number, name): (usize, &&str)| {
            serde_json::json!({ "pid": 0, "name": name, "pm_id": number, "pm2_env": {
                "name": name, "pm_id": number, "instances": 1, "status": "stopped", "unique_id": format!("u{number}"),
                "exec_mode": "fork_mode", "env": { "SECRET": "hunter2" }, "namespace": "default" } })
        };
        let list: Vec<Value> = names.iter().enumerate().map(entry).collect();
        let salt = Salt::new([0; 32]);
        let raw = serde_json::to_string(&list).unwrap();
        Listing::parse(&raw, &salt).unwrap()
    }

    fn dump(names: &[&str]) -> Vec<Entry> {
        let list: Vec<Value> =
            names.iter().map(|name| serde_json::json!({ "name": name, "old": true })).collect();
        entries(serde_json::to_string(&list).unwrap().as_bytes()).unwrap()
    }

    #[test]
    fn a_save_never_loses_somebody_elses_process() {
        let old = dump(&["shop-api", "blog-web", "shop-old"]);
        let merged = merge(&listing(&["shop-api"]), &old, |name| name.starts_with("shop-"));
        assert_eq!(
            (merged.kept.as_slice(), merged.dropped.as_slice()),
            (&["blog-web".to_owned()][..], &["shop-old".to_owned()][..])
        );
        let written = entries(&merged.secret_bytes()).unwrap();
        assert_eq!(written.iter().map(Entry::name).collect::<Vec<_>>(), ["shop-api", "blog-web"]);
        let text = String::from_utf8(merged.secret_bytes()).unwrap();
        assert!(!text.contains("pm_id") && text.contains("hunter2") && text.contains("\"old\""));
        assert!(!format!("{merged:?}").contains("hunter2"));
    }

    #[test]
    fn what_runs_and_is_not_in_the_dump_is_named() {
        assert_eq!(lacking(&dump(&["a"]), ["a", "b", "b"]), ["b"]);
        assert!(entries(b"{}").is_none() && entries(b"[1]").is_none());
    }
}
