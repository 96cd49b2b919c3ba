//! The lease's two files, damaged, removed and forged.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use palisade_host::lease::{self, Error};
use tempfile::TempDir;

use crate::lease::{ask, folder, held, scope, term};
use crate::roles::Actor;

#[test]
fn a_damaged_record_is_an_error_with_a_fix_and_never_a_new_beginning() {
    let good = {
        let folder = folder();
        drop(held(ask(&folder)));
        fs::read_to_string(record(&folder)).unwrap()
    };
    let cut = &good[..good.len() / 2];
    let other_scope = good.replace("production", "test");
    let (zero, format) =
        (good.replace("\"term\":1", "\"term\":0"), good.replace("\"format\":1", "\"format\":2"));
    let extra = good.replace("\"term\":1", "\"term\":1,\"until\":9");
    let negative = good.replace("\"term\":1", "\"term\":-1");
    for damaged in ["", "{}", cut, &other_scope, &zero, &format, &extra, &negative, "\u{0}"] {
        let folder = folder();
        drop(held(ask(&folder)));
        fs::write(record(&folder), damaged).unwrap();
        for _ in 0..2 {
            let error = ask(&folder).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{damaged:?}: {error:?}");
            assert!(error.to_string().contains("must not start over"), "{error}");
        }
        assert!(lease::inspect(folder.path(), &scope()).is_err(), "{damaged:?}");
        assert_eq!(fs::read_to_string(record(&folder)).unwrap(), damaged, "the evidence was overwritten");
    }
}

#[test]
fn a_term_that_cannot_grow_is_an_error() {
    let folder = folder();
    drop(held(ask(&folder)));
    let last =
        fs::read_to_string(record(&folder)).unwrap().replace("\"term\":1", &format!("\"term\":{}", u64::MAX));
    fs::write(record(&folder), last).unwrap();
    assert!(matches!(ask(&folder), Err(Error::Damaged { .. })));
}

#[test]
fn an_old_copy_of_the_record_does_not_bring_its_old_term_back() {
    let folder = folder();
    drop(held(ask(&folder)));
    let old = fs::read(record(&folder)).unwrap();
    drop(held(ask(&folder)));
    fs::write(record(&folder), old).unwrap();
    let error = ask(&folder).unwrap_err();
    assert!(error.to_string().contains("lower than one that was handed out"), "{error}");
}

#[test]
fn a_record_that_a_power_cut_left_ahead_of_its_mark_is_counted_on_from() {
    let folder = folder();
    drop(held(ask(&folder)));
    let mark = fs::read(lock(&folder)).unwrap();
    drop(held(ask(&folder)));
    fs::write(lock(&folder), mark).unwrap();
    assert_eq!(term(&held(ask(&folder))), 3);
}

#[test]
fn a_damaged_mark_is_an_error() {
    for damaged in ["x", "1", "\n", "-1\n", "000000000000000000001\n\n", "18446744073709551616\n"] {
        let folder = folder();
        drop(held(ask(&folder)));
        fs::write(lock(&folder), damaged).unwrap();
        let error = ask(&folder).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{damaged:?}: {error:?}");
    }
}

#[test]
fn a_removed_record_is_a_loss_and_not_a_beginning() {
    let folder = folder();
    drop(held(ask(&folder)));
    fs::remove_file(record(&folder)).unwrap();
    let error = ask(&folder).unwrap_err();
    assert!(matches!(error, Error::RecordGone { term: 1, .. }), "{error:?}");
    assert!(error.to_string().contains("under term 1"), "{error}");
    assert_eq!(lease::inspect(folder.path(), &scope()).unwrap(), None);
}

#[test]
fn a_holder_whose_files_were_removed_notices_before_it_acts() {
    for file in [record as fn(&TempDir) -> _, lock] {
        let folder = folder();
        let lease = held(ask(&folder));
        lease.confirm().unwrap();
        fs::remove_file(file(&folder)).unwrap();
        assert!(matches!(lease.confirm(), Err(Error::Over { term: 1, .. })), "{:?}", file(&folder));
    }
}

#[test]
fn a_removed_lock_file_does_not_lower_the_term() {
    let folder = folder();
    let first = held(ask(&folder));
    fs::remove_file(lock(&folder)).unwrap();
    let second = held(ask(&folder));
    assert_eq!(term(&second), 2);
    assert!(first.confirm().is_err());
    drop(first);
    second.confirm().unwrap();
}

#[test]
fn files_of_the_lease_that_others_could_change_are_refused() {
    let folder = folder();
    drop(held(ask(&folder)));
    for file in [record(&folder), lock(&folder)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(0o620)).unwrap();
        let error = ask(&folder).unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{error:?}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    assert_eq!(term(&held(ask(&folder))), 2);
}

#[test]
fn a_holder_of_another_boot_holds_nothing() {
    let folder = folder();
    let lease = held(ask(&folder));
    let text = fs::read_to_string(record(&folder)).unwrap();
    let boot = palisade_host::clock::boot_id().unwrap();
    fs::write(record(&folder), text.replace(&boot, "another")).unwrap();
    assert_eq!(lease::inspect(folder.path(), &scope()).unwrap(), None);
    assert!(lease.confirm().is_err());
}

#[test]
fn a_lock_without_a_living_name_is_an_error_and_not_a_lease() {
    let folder = folder();
    let mut child = Actor::start("hold", folder.path());
    assert_eq!(child.line(), "held 1");
    let text = fs::read_to_string(record(&folder)).unwrap();
    fs::write(record(&folder), text.replace("\"pid\":", "\"pid\":999")).unwrap();
    assert!(matches!(ask(&folder), Err(Error::Nameless { .. })));
}

#[test]
fn other_files_in_the_folder_are_no_leases() {
    let folder = folder();
    for name in ["x.lease", "a@b.txt", "..@b.lease", "a@b@c.lease", "@.lease"] {
        fs::write(folder.path().join(name), "junk").unwrap();
    }
    assert_eq!(lease::list(folder.path()).unwrap(), []);
    assert_eq!(lease::list(Path::new("/nonexistent/leases")).unwrap(), []);
}

fn record(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("site@production.lease")
}

fn lock(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("site@production.lock")
}
