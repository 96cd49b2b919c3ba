//! Whose journal it is, and with which key.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use palisade_journal::{Error, Journal, KeyProblem, public_path};

use crate::support::{Folder, ORIGIN, record};

fn key_problem(result: Result<Journal, Error>) -> KeyProblem {
    match result {
        Err(Error::Key { problem, .. }) => problem,
        other => panic!("the key was accepted: {other:?}"),
    }
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_journal_and_its_key_are_the_owners_alone() {
    let folder = Folder::holding(1);
    assert_eq!((mode(&folder.dir()), mode(&folder.key())), (0o700, 0o400));
    for entry in fs::read_dir(folder.dir()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert_eq!(mode(&public_path(&folder.key())), 0o644);
}

#[test]
fn a_key_behind_a_symbolic_link_is_not_used() {
    let folder = Folder::holding(1);
    let real = folder.root().join("real.key");
    fs::rename(folder.key(), &real).unwrap();
    symlink(&real, folder.key()).unwrap();
    assert_eq!(key_problem(folder.open()), KeyProblem::NotAFile);
}

#[test]
fn a_dangling_link_is_not_replaced_by_a_new_key() {
    let folder = Folder::new();
    symlink(folder.root().join("nowhere"), folder.key()).unwrap();
    assert_eq!(key_problem(folder.open()), KeyProblem::NotAFile);
    assert!(!folder.root().join("nowhere").exists());
}

#[test]
fn a_key_that_others_can_read_is_not_used() {
    let folder = Folder::holding(1);
    fs::set_permissions(folder.key(), fs::Permissions::from_mode(0o440)).unwrap();
    assert_eq!(key_problem(folder.open()), KeyProblem::TooOpen);
}

#[test]
fn a_lost_key_is_not_replaced_while_there_is_a_journal() {
    let folder = Folder::holding(1);
    fs::remove_file(folder.key()).unwrap();
    assert_eq!(key_problem(folder.open()), KeyProblem::Missing);
    assert!(!folder.key().exists());
}

#[test]
fn another_origin_does_not_open_the_journal() {
    let folder = Folder::holding(1);
    let found = Journal::open(&folder.dir(), &folder.key(), "palisade/test/there");
    assert!(matches!(found, Err(Error::OtherOrigin { found, .. }) if found == ORIGIN));
    let unnamed = Journal::open(&folder.dir(), &folder.key(), "two words");
    assert!(matches!(unnamed, Err(Error::Origin { .. })));
}

#[test]
fn the_keys_content_does_not_show_in_debug() {
    let folder = Folder::holding(1);
    let text = fs::read_to_string(folder.key()).unwrap();
    let secret = text.trim_end().rsplit_once('+').unwrap().1;
    let shown = format!("{0:?} {0:#?}", folder.open().unwrap());
    assert!(!shown.contains(secret) && !shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn a_link_in_place_of_a_segment_is_not_written_through() {
    let folder = Folder::holding(1);
    let mut journal = folder.open().unwrap();
    let (segment, away) = (folder.dir().join(crate::support::FIRST_SEGMENT), folder.root().join("away"));
    fs::rename(&segment, &away).unwrap();
    symlink(&away, &segment).unwrap();
    let before = fs::read(&away).unwrap();
    assert!(journal.append(&record(1)).is_err());
    assert_eq!(fs::read(&away).unwrap(), before);
}

#[test]
fn a_verifier_key_that_was_put_in_its_place_is_noticed_and_kept() {
    let (folder, other) = (Folder::holding(1), Folder::holding(1));
    let public = public_path(&folder.key());
    let foreign = fs::read(public_path(&other.key())).unwrap();
    fs::write(&public, &foreign).unwrap();
    assert_eq!(key_problem(folder.open()), KeyProblem::OtherKey);
    assert_eq!(fs::read(&public).unwrap(), foreign);
}

#[test]
fn a_lost_verifier_key_is_written_again() {
    let folder = Folder::holding(1);
    let verifier = folder.verifier();
    fs::remove_file(public_path(&folder.key())).unwrap();
    let journal = folder.open().unwrap();
    assert_eq!((journal.verifier(), folder.verifier()), (verifier.clone(), verifier));
}

#[test]
fn opening_reads_nothing_before_the_signed_head() {
    let folder = Folder::with_segments_of(1500);
    folder.append(0..20);
    fs::write(folder.dir().join(crate::support::FIRST_SEGMENT), "rotten").unwrap();
    let mut journal = folder.open().unwrap();
    assert_eq!(journal.append(&record(20)).unwrap().sequence(), Some(20));
    assert!(folder.verify().is_err(), "finding that is the business of verification");
}

#[test]
fn a_head_signed_by_another_key_of_the_same_name_does_not_open() {
    let (folder, other) = (Folder::holding(1), Folder::holding(1));
    for path in [folder.key(), public_path(&folder.key())] {
        fs::remove_file(path).unwrap();
    }
    fs::copy(other.key(), folder.key()).unwrap();
    assert_eq!(crate::support::kind_of(folder.open()), palisade_journal::Kind::Signature);
}
