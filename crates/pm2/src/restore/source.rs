//! From which snapshot a restore brings back.

use std::time::Duration;

use palisade_core::Snapshot;
use palisade_core::snapshot::SnapshotId;
use palisade_host::state::StateDirectory;
use palisade_pipeline::{Error, snapshots};

use crate::bundle::{Bundle, Bundles};

/// A snapshot and the values behind it.
#[derive(Debug)]
pub struct Source {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Its restore bundle.
    pub bundle: Bundle,
}

impl Source {
    /// The snapshot that was asked for; without one the newest of which something is missing `now`, and else the newest:
    /// the judge says then that nothing is.
    ///
    /// # Errors
    /// There is no such snapshot, or its values are not kept any more.
    pub fn find(
        state: &StateDirectory,
        wanted: Option<&SnapshotId>,
        now: &Snapshot,
        window: Duration,
    ) -> Result<Self, Error> {
        let folder = state.snapshots();
        let lost = || newest_with_a_loss(state, now, window);
        let snapshot = match wanted {
            Some(id) => snapshots::load(&folder, id)?,
            None => match (lost()?, snapshots::list(&folder).pop()) {
                (Some(snapshot), _) => snapshot,
                (None, Some(id)) => snapshots::load(&folder, &id)?,
                (None, None) => return Err(Error::NoSnapshot),
            },
        };
        let unusable = |reason| Error::Snapshot { id: snapshot.id.as_str().to_owned(), reason };
        let taken_without = || unusable("it was taken without a restore bundle".to_owned());
        let hash = snapshot.bundle.as_ref().ok_or_else(taken_without)?;
        let bundle = Bundles::new(state.bundles())
            .read(hash)
            .map_err(|error| unusable(format!("its restore bundle cannot be used: {error}")))?;
        Ok(Self { snapshot, bundle })
    }
}

/// The newest snapshot of which something is missing `now` and whose values are kept.
///
/// # Errors
/// A snapshot cannot be read.
pub fn newest_with_a_loss(
    state: &StateDirectory,
    now: &Snapshot,
    window: Duration,
) -> Result<Option<Snapshot>, Error> {
    let bundles = Bundles::new(state.bundles());
    let usable = |snapshot: &Snapshot| snapshot.bundle.as_ref().is_some_and(|hash| bundles.contains(hash));
    snapshots::newest_with_a_loss(&state.snapshots(), now, window, usable)
}
