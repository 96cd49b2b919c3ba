//! A full disk: a small one is mounted in a namespace of its own, where this machine allows that.

use std::path::Path;
use std::process::Command;

use palisade_journal::{Error, Journal, Limits, Reader, VerifierKey, public_path, stat, verify};

use crate::support::{Folder, ORIGIN, outcome, record};

/// Names the folder with the small disk for the child process.
const SMALL_DISK: &str = "PALISADE_TEST_SMALL_DISK";

/// Runs a test of this binary again, with a disk of 256 KiB in place of a folder. `false` if none can be mounted.
fn on_a_small_disk(test: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=256k none \"$1\" || exit 77; exec \"$2\" --exact \"$3\"";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(SMALL_DISK, folder.path())
        .output();
    let Ok(output) = output else { return false };
    let said = String::from_utf8_lossy(&output.stdout);
    assert_ne!(output.status.code(), Some(101), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said.contains("1 passed")
}

#[expect(clippy::disallowed_methods, reason = "the parent names the folder")]
fn small_disk() -> Option<(std::path::PathBuf, Journal)> {
    let disk = std::path::PathBuf::from(std::env::var_os(SMALL_DISK)?);
    let limits = Limits { reserve_bytes: 32 << 10, ..Limits::default() };
    let journal =
        Journal::open_with(&disk.join("journal"), &disk.join("journal.key"), ORIGIN, limits).unwrap();
    Some((disk, journal))
}

fn fill(disk: &Path) {
    let mut size = 64 << 10;
    let mut content = Vec::new();
    while size > 0 {
        let file = std::fs::write(disk.join(format!("fill-{size}-{}", content.len())), vec![1; size]);
        content.push(size);
        size = if file.is_err() { size / 2 } else { size };
    }
}

fn check(disk: &Path, records: u64) {
    let key = VerifierKey::read(&public_path(&disk.join("journal.key"))).unwrap();
    let verified = verify(&disk.join("journal"), &key, &[]).unwrap();
    assert_eq!((verified.records, verified.torn_bytes), (records, 0));
}

#[test]
fn on_a_full_disk_refusals_are_unwritable_and_outcomes_take_the_reserve() {
    match small_disk() {
        Some((disk, journal)) => full_disk(&disk, journal),
        None => assert!(
            on_a_small_disk("space::on_a_full_disk_refusals_are_unwritable_and_outcomes_take_the_reserve"),
            "no disk could be mounted: unshare and mount are needed"
        ),
    }
}

fn full_disk(disk: &Path, mut journal: Journal) {
    let dir = disk.join("journal");
    journal.append(&record(0)).unwrap();
    assert_eq!(stat(&dir).unwrap().reserve_bytes, 32 << 10);
    fill(disk);
    let mut written = 1;
    let refused = loop {
        match journal.append(&record(written)) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Unwritable { .. }), "{refused}");
    assert_eq!(stat(&dir).unwrap().reserve_bytes, 32 << 10, "a refusal does not take it");
    // A record whose signing failed may be there without having been acknowledged.
    let acknowledged = journal.append(&outcome(0)).unwrap().sequence().unwrap();
    assert!(acknowledged >= written);
    assert_eq!(stat(&dir).unwrap().reserve_bytes, 0, "an outcome does");
    check(disk, acknowledged + 1);
    for entry in std::fs::read_dir(disk).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("fill-") {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    journal.append(&record(1)).unwrap();
    assert_eq!(stat(&dir).unwrap().reserve_bytes, 32 << 10, "it is made again when there is room");
    check(disk, acknowledged + 2);
}

#[test]
fn on_a_read_only_disk_nothing_is_acknowledged_and_reading_goes_on() {
    match small_disk() {
        Some((disk, journal)) => read_only_disk(&disk, journal),
        None => assert!(
            on_a_small_disk("space::on_a_read_only_disk_nothing_is_acknowledged_and_reading_goes_on"),
            "no disk could be mounted: unshare and mount are needed"
        ),
    }
}

fn read_only_disk(disk: &Path, mut journal: Journal) {
    let dir = disk.join("journal");
    let remount = |mode: &str| {
        let options = format!("remount,{mode}");
        assert!(Command::new("mount").args(["-o", &options]).arg(disk).status().unwrap().success());
    };
    journal.append(&record(0)).unwrap();
    remount("ro");
    for record in [record(1), outcome(1)] {
        assert!(matches!(journal.append(&record), Err(Error::Unwritable { .. })));
    }
    let again = Journal::open(&dir, &disk.join("journal.key"), ORIGIN);
    assert!(matches!(again, Err(Error::Unwritable { .. })));
    assert_eq!(Reader::open(&dir).unwrap().count(), 1);
    check(disk, 1);
    remount("rw");
    assert_eq!(journal.append(&record(1)).unwrap().sequence(), Some(1));
    check(disk, 2);
}

#[test]
fn a_missing_reserve_is_made_again_and_shown_meanwhile() {
    let folder = Folder::holding(1);
    std::fs::remove_file(folder.dir().join("reserve")).unwrap();
    assert_eq!(stat(&folder.dir()).unwrap().reserve_bytes, 0);
    folder.open().unwrap();
    assert_eq!(stat(&folder.dir()).unwrap().reserve_bytes, 4096);
}

#[test]
fn a_journal_in_a_place_that_is_no_folder_is_unwritable() {
    let folder = Folder::new();
    std::fs::write(folder.dir(), "a file").unwrap();
    assert!(matches!(folder.open(), Err(Error::Unwritable { .. })));
}
