//! Receipts, limits, rotation.

use palisade_core::canonical;
use palisade_core::record::{DeploymentStarted, Event};
use palisade_core::{AppName, EnvironmentName, Scope, Term};
use palisade_journal::{Error, Frontier, MAX_PAYLOAD, Reader, leaf, stat};

use crate::support::{Folder, record, record_of};

fn oversized(bytes: usize) -> palisade_core::Record {
    let scope = Scope::new(AppName::new("shop").unwrap(), EnvironmentName::new("test").unwrap());
    let started = DeploymentStarted { term: Term { scope, number: 1 }, program: "x".repeat(bytes) };
    record_of(Event::DeploymentStarted(started), 0)
}

#[test]
fn a_receipt_names_the_record_and_its_leaf() {
    let folder = Folder::new();
    let mut journal = folder.open().unwrap();
    for number in 0..5 {
        let receipt = journal.append(&record(number)).unwrap();
        let payload = canonical::json(&record(number));
        assert_eq!(receipt.sequence(), Some(number));
        assert_eq!(receipt.leaf(), Some(canonical::hex(&leaf(payload.as_bytes())).as_str()));
        let read = Reader::open(&folder.dir()).unwrap().last().unwrap().unwrap();
        assert_eq!((read.sequence(), Some(read.leaf().as_str())), (number, receipt.leaf()));
        assert_eq!(read.payload(), payload.as_bytes());
    }
}

#[test]
fn the_signed_root_is_the_rfc_6962_root_of_the_payloads() {
    let folder = Folder::new();
    let mut journal = folder.open().unwrap();
    let mut tree = Frontier::default();
    assert_eq!(journal.head().root(), &tree.root());
    for number in 0..20 {
        journal.append(&record(number)).unwrap();
        tree.push(leaf(canonical::json(&record(number)).as_bytes()));
        assert_eq!((journal.head().size(), journal.head().root()), (number + 1, &tree.root()));
    }
}

#[test]
fn a_record_beyond_the_limit_is_refused_by_size_and_leaves_nothing() {
    let folder = Folder::holding(1);
    let before = folder.image();
    let mut journal = folder.open().unwrap();
    let error = journal.append(&oversized(MAX_PAYLOAD)).unwrap_err();
    assert!(matches!(error, Error::TooLarge { bytes } if bytes > MAX_PAYLOAD));
    assert!(error.to_string().contains("1048576"), "{error}");
    assert_eq!(folder.image(), before);
    let overhead = canonical::json(&oversized(0)).len();
    journal.append(&oversized(MAX_PAYLOAD - overhead)).unwrap();
    assert_eq!(folder.verify().unwrap().records, 2);
}

#[test]
fn a_full_segment_is_followed_by_one_that_is_named_after_its_first_record() {
    let folder = Folder::with_segments_of(1500);
    folder.append(0..10);
    let segments: Vec<String> = folder.image().into_keys().filter(|name| name.ends_with(".plj")).collect();
    assert!(segments.len() > 2, "{segments:?}");
    assert_eq!(segments[0], "00000000000000000000.plj");
    assert_eq!(folder.verify().unwrap().segments, segments.len());
    assert_eq!(Reader::open(&folder.dir()).unwrap().count(), 10);
}

#[test]
fn a_segment_that_is_smaller_than_a_record_holds_one() {
    let folder = Folder::with_segments_of(1);
    folder.append(0..4);
    let verified = folder.verify().unwrap();
    assert_eq!((verified.records, verified.segments), (4, 4));
}

#[test]
fn an_empty_journal_is_signed_too() {
    let folder = Folder::new();
    folder.open().unwrap();
    let verified = folder.verify().unwrap();
    assert_eq!((verified.records, verified.head.size(), verified.anchored_up_to), (0, 0, None));
    let stat = stat(&folder.dir()).unwrap();
    assert_eq!((stat.records, stat.oldest, stat.newest), (0, None, None));
}

#[test]
fn appending_goes_on_across_the_durable_heads_interval() {
    let folder = Folder::holding(520);
    folder.append(520..530);
    let verified = folder.verify().unwrap();
    assert_eq!((verified.records, verified.unsigned_tail, verified.torn_bytes), (530, 0, 0));
}
