//! Which snapshot a restore goes by where none is named.

use std::time::Duration;

use palisade_core::snapshot::SnapshotId;
use palisade_core::{Snapshot, Timestamp};
use palisade_pipeline::{Fault, FaultKind, Resource as _, Values, snapshots};

use crate::memory_resource::Daemon;

const WINDOW: Duration = Duration::from_secs(600);
const NOW: Timestamp = Timestamp::from_unix_ms(1_771_323_180_000);
const NAMES: [&str; 4] = ["shop-api", "shop-worker", "blog-web", "blog-cron"];

/// The list with the first `count` of the names, `minutes_ago`.
fn taken(count: usize, minutes_ago: u64) -> Snapshot {
    let at = NOW.before(Duration::from_secs(minutes_ago * 60));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let id = SnapshotId::new(at, &format!("{count:08}"));
    runtime.block_on(Daemon::with(&NAMES[..count]).snapshot(id, at)).unwrap()
}

/// Keeps the snapshots and gives how many processes the chosen one shows.
fn chosen(kept: &[(usize, u64)], now: usize) -> Option<usize> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("snapshots");
    for (count, minutes_ago) in kept {
        snapshots::keep(&folder, &mut taken(*count, *minutes_ago), None).unwrap();
    }
    let found = snapshots::newest_with_a_loss(&folder, &taken(now, 0), WINDOW, |_| true).unwrap();
    found.map(|snapshot| snapshot.processes.len())
}

#[test]
fn a_loss_one_by_one_is_shown_whole() {
    assert_eq!(chosen(&[(4, 3), (3, 2), (2, 1)], 1), Some(4));
}

#[test]
fn a_loss_long_before_the_newest_one_is_another_matter() {
    assert_eq!(chosen(&[(4, 300), (3, 2), (2, 1)], 1), Some(3));
}

#[test]
fn an_operation_after_the_loss_does_not_hide_it() {
    assert_eq!(chosen(&[(4, 5), (2, 1)], 2), Some(4));
}

#[test]
fn a_snapshot_without_its_values_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("snapshots");
    let values = |write: fn() -> Result<(), Fault>| Values { bundle: "b".into(), write: Box::new(write) };
    snapshots::keep(&folder, &mut taken(3, 2), Some(values(|| Ok(())))).unwrap();
    snapshots::keep(&folder, &mut taken(4, 1), None).unwrap();
    let usable = |snapshot: &Snapshot| snapshot.bundle.is_some();
    let found = snapshots::newest_with_a_loss(&folder, &taken(1, 0), WINDOW, usable).unwrap();
    assert_eq!(found.map(|snapshot| snapshot.processes.len()), Some(3));
}

#[test]
fn a_snapshot_whose_values_cannot_be_kept_is_not_kept_either() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("snapshots");
    let fault =
        || Fault { kind: FaultKind::ValuesNotKept, message: "no".into(), fix: "none".into(), source: None };
    let values = Values { bundle: "b".into(), write: Box::new(move || Err(fault())) };
    snapshots::keep(&folder, &mut taken(4, 1), Some(values)).unwrap_err();
    assert_eq!(snapshots::list(&folder), []);
}

#[test]
fn what_was_deleted_longer_ago_was_probably_meant_to_be() {
    assert_eq!(chosen(&[(4, 25 * 60)], 2), None);
    assert_eq!(chosen(&[(4, 1)], 4), None);
    assert_eq!(chosen(&[], 4), None);
}
