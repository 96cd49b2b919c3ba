//! The folder: counted, bounded, private.

use std::os::unix::fs::PermissionsExt as _;

use palisade_core::notice::Notice;
use palisade_core::{Code, Timestamp};
use palisade_notify::outbox::{MOST_LETTERS, MOST_OF_CALLER};
use palisade_notify::{Error, Outbox};
use palisade_testkit::Scratch;

use crate::refusal;

const NOW: Timestamp = Timestamp::from_unix_ms(1_700_000_000_000);

#[test]
fn equal_notices_are_one_letter_with_a_count() {
    let scratch = Scratch::new();
    let outbox = Outbox::of(scratch.path());
    for _ in 0..100 {
        outbox.put(refusal(Code::ForeignTarget, "session:1"), NOW).unwrap();
    }
    outbox.put(refusal(Code::ForeignTarget, "session:2"), NOW).unwrap();
    let mut counts: Vec<u64> = outbox.letters().unwrap().iter().map(|(_, letter)| letter.count).collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 100]);
}

#[test]
fn one_caller_cannot_fill_the_folder_and_nothing_of_it_is_uncounted() {
    let scratch = Scratch::new();
    let outbox = Outbox::of(scratch.path());
    let of = |number: usize| Notice {
        resource: format!("pm2:/srv/{number}"),
        ..refusal(Code::ForeignTarget, "session:1")
    };
    for number in 0..MOST_OF_CALLER * 3 {
        outbox.put(of(number), NOW).unwrap();
    }
    let letters = outbox.letters().unwrap();
    assert_eq!(letters.len(), MOST_OF_CALLER);
    assert_eq!(letters.iter().map(|(_, letter)| letter.count).sum::<u64>(), MOST_OF_CALLER as u64 * 3);
    outbox.put(refusal(Code::ForeignTarget, "session:2"), NOW).unwrap();
    assert_eq!(outbox.letters().unwrap().len(), MOST_OF_CALLER + 1);
}

#[test]
fn many_callers_cannot_fill_the_disk() {
    let scratch = Scratch::new();
    let outbox = Outbox::of(scratch.path());
    for number in 0..MOST_LETTERS {
        outbox.put(refusal(Code::ForeignTarget, &format!("session:{number}")), NOW).unwrap();
    }
    let further = outbox.put(refusal(Code::ForeignTarget, "session:further"), NOW);
    assert!(matches!(further, Err(Error::Full { .. })), "{further:?}");
    // What waits already is still counted.
    outbox.put(refusal(Code::ForeignTarget, "session:0"), NOW).unwrap();
    let huge = refusal(Code::Share, "session:0").with("x", "y".repeat(20_000));
    assert!(matches!(outbox.put(huge, NOW), Err(Error::TooLarge { .. } | Error::Full { .. })));
}

#[test]
fn letters_are_private_and_a_file_of_somebody_else_is_none() {
    let scratch = Scratch::new();
    let outbox = Outbox::of(scratch.path());
    outbox.put(refusal(Code::ForeignTarget, "session:1"), NOW).unwrap();
    let (key, _) = outbox.letters().unwrap().remove(0);
    let path = outbox.folder().join(format!("{key}.json"));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(outbox.folder().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(outbox.letters().unwrap(), []);
    std::fs::write(outbox.folder().join("nonsense.json"), "{").unwrap();
    assert_eq!(outbox.letters().unwrap(), []);
}
