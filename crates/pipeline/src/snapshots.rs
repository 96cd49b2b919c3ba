//! Snapshots on disk: redacted, one JSON file each, named by time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_core::snapshot::SnapshotId;
use palisade_core::{Snapshot, canonical};
use palisade_host::files;

use crate::error::Error;
use crate::resource::Values;

/// The largest snapshot that is read back: far above what a daemon's list can be.
const MAX_BYTES: u64 = 64 << 20;

fn path(folder: &Path, id: &SnapshotId) -> PathBuf {
    folder.join(format!("{}.json", id.as_str()))
}

/// Writes a snapshot and the values behind it, durably. The snapshot has mode 0640: it holds no value.
///
/// Both are written side by side, for each takes flushes of its own. After a power cut either may be there alone: no
/// intent names them yet, and a restore passes over a snapshot without its bundle.
///
/// # Errors
/// One of them cannot be written.
pub fn keep(folder: &Path, snapshot: &mut Snapshot, values: Option<Values>) -> Result<(), Error> {
    snapshot.bundle = values.as_ref().map(|values| values.bundle.clone());
    let snapshot = &*snapshot;
    std::thread::scope(|scope| {
        let bundle = values.map(|values| scope.spawn(values.write));
        let kept = write(folder, snapshot);
        let bundled =
            bundle.map(|bundle| bundle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        if let Some(Err(fault)) = bundled {
            // Without its values it would only mislead. Where even this fails, a restore passes over it.
            std::fs::remove_file(path(folder, &snapshot.id)).unwrap_or_default();
            return Err(fault.into());
        }
        Ok(kept?)
    })
}

fn write(folder: &Path, snapshot: &Snapshot) -> Result<(), files::Error> {
    files::private_folder(folder)?;
    files::write_atomic(&path(folder, &snapshot.id), canonical::json(snapshot).as_bytes(), 0o640)
}

/// Reads a snapshot back.
///
/// # Errors
/// There is none of this name, or it cannot be read.
pub fn load(folder: &Path, id: &SnapshotId) -> Result<Snapshot, Error> {
    let wrong = |reason: String| Error::Snapshot { id: id.as_str().to_owned(), reason };
    let path = path(folder, id);
    if !path.exists() {
        return Err(wrong("there is no such snapshot".to_owned()));
    }
    let bytes = files::read_bounded(&path, MAX_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|source| wrong(format!("it cannot be read: {source}")))
}

/// The ids of all kept snapshots, oldest first. An absent folder holds none.
#[must_use]
pub fn list(folder: &Path) -> Vec<SnapshotId> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut ids: Vec<SnapshotId> =
        names.filter_map(|name| SnapshotId::parse(name.strip_suffix(".json")?)).collect();
    ids.sort();
    ids
}

/// How far back a loss is looked for where no snapshot is named: what was deleted earlier was probably meant to be.
pub const RECENT: Duration = Duration::from_secs(24 * 3600);

/// The newest of the [`RECENT`] snapshots of this daemon's home of which something is missing, or the one from before
/// it that shows the whole loss: what a script deletes one by one is spread over as many snapshots, each within
/// `window` of the next. Those that are not `usable` are passed over.
///
/// # Errors
/// A snapshot cannot be read.
pub fn newest_with_a_loss(
    folder: &Path,
    now: &Snapshot,
    window: Duration,
    usable: impl Fn(&Snapshot) -> bool,
) -> Result<Option<Snapshot>, Error> {
    let (mut found, mut most) = (None::<Snapshot>, 0);
    for id in list(folder).iter().rev() {
        let snapshot = load(folder, id)?;
        let far_from_it =
            found.as_ref().is_some_and(|newer| newer.taken_at.since(snapshot.taken_at) > window);
        if far_from_it || now.taken_at.since(snapshot.taken_at) > RECENT {
            break;
        }
        let here = snapshot.daemon.home == now.daemon.home;
        let loss = if here && usable(&snapshot) { snapshot.lost(now, None).len() } else { 0 };
        if loss > most {
            (found, most) = (Some(snapshot), loss);
        }
    }
    Ok(found)
}

/// Removes all but the newest `keep` snapshots.
///
/// # Errors
/// A file cannot be removed.
pub fn prune(folder: &Path, keep: usize) -> std::io::Result<()> {
    let ids = list(folder);
    let surplus = ids.len().saturating_sub(keep);
    ids.iter().take(surplus).try_for_each(|id| std::fs::remove_file(path(folder, id)))
}
