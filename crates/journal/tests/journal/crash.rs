//! What a crash within an append leaves, for every byte of it.
//!
//! The state after a crash is the state before the append with some of the frame's bytes: cut short, followed by
//! zeros or garbage, or with a bit that the disk got wrong. The head is the old one, for it is written last.

use palisade_core::record::Event;
use palisade_journal::{Journal, Kind, Reader, recent};

use crate::support::{FIRST_SEGMENT, Folder, Image, damage_of, record, record_of};

/// A journal before and after its record number `count`, and the bytes of that record's frame.
struct Append {
    folder: Folder,
    count: u64,
    before: Image,
    after: Image,
    frame: Vec<u8>,
}

impl Append {
    fn behind(count: u64) -> Self {
        let folder = Folder::holding(count);
        let before = folder.image();
        folder.append(count..count + 1);
        let after = folder.image();
        let frame = after[FIRST_SEGMENT][before[FIRST_SEGMENT].len()..].to_vec();
        Self { folder, count, before, after, frame }
    }

    /// The state before the append, and `left` behind its last record.
    fn crash(&self, left: &[u8]) {
        self.folder.restore(&self.before);
        self.folder.edit(FIRST_SEGMENT, |content| content.extend_from_slice(left));
    }

    /// Everything that was acknowledged is there, and the journal goes on behind it.
    fn check_torn(&self, left: &[u8], case: &str) {
        self.crash(left);
        let verified = self.folder.verify().unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!((verified.records, verified.torn_bytes), (self.count, left.len() as u64), "{case}");
        let mut journal = self.folder.open().unwrap_or_else(|error| panic!("{case}: {error}"));
        let recovered = journal.recovered();
        assert_eq!(recovered.is_some(), !left.is_empty(), "{case}");
        if let Some(recovered) = recovered {
            assert_eq!(
                (recovered.dropped_bytes, recovered.at_sequence),
                (left.len() as u64, self.count),
                "{case}"
            );
            journal.append(&record_of(Event::Recovered(recovered), 99)).unwrap();
            assert_eq!(journal.recovered(), None, "{case}");
        }
        journal.append(&record(1000)).unwrap();
        assert_eq!(self.folder.verify().unwrap().records, journal.size(), "{case}");
        self.check_acknowledged();
    }

    fn check_acknowledged(&self) {
        let records = Reader::open(&self.folder.dir()).unwrap().take(usize::try_from(self.count).unwrap());
        for (number, entry) in (0..).zip(records) {
            assert_eq!(entry.unwrap().record().unwrap(), record(number));
        }
    }
}

/// Bytes that no frame is made of.
fn garbage(length: usize) -> Vec<u8> {
    (0..length).map(|place| u8::try_from(place * 7 % 251).unwrap() | 1).collect()
}

#[test]
fn a_record_cut_at_any_byte_is_dropped_and_no_other() {
    for count in [0, 1, 3] {
        let append = Append::behind(count);
        for kept in 0..append.frame.len() {
            append.check_torn(&append.frame[..kept], &format!("{count} records, {kept} bytes"));
        }
    }
}

#[test]
fn a_record_that_ends_in_zeros_is_dropped() {
    for count in [0, 1, 3] {
        let append = Append::behind(count);
        // The last byte of a frame is the high byte of a small length, hence zero already: up to there it is torn.
        let whole = append.frame.iter().rposition(|byte| *byte != 0).unwrap();
        for kept in 0..=whole {
            let mut left = append.frame.clone();
            left[kept..].fill(0);
            append.check_torn(&left, &format!("{count} records, {kept} bytes, then zeros"));
        }
    }
}

#[test]
fn a_record_that_ends_in_garbage_is_dropped() {
    for count in [0, 1, 3] {
        let append = Append::behind(count);
        for kept in 0..append.frame.len() {
            let mut left = append.frame[..kept].to_vec();
            left.extend(garbage(append.frame.len() - kept));
            append.check_torn(&left, &format!("{count} records, {kept} bytes, then garbage"));
        }
    }
}

#[test]
fn an_unsigned_record_with_a_flipped_bit_is_dropped() {
    for count in [0, 3] {
        let append = Append::behind(count);
        for place in 0..append.frame.len() {
            let mut left = append.frame.clone();
            left[place] ^= 1 << (place % 8);
            append.check_torn(&left, &format!("{count} records, bit flipped in byte {place}"));
        }
    }
}

#[test]
fn a_whole_record_without_a_head_is_kept_and_signed_with_the_next() {
    for count in [0, 1, 3] {
        let append = Append::behind(count);
        append.crash(&append.frame);
        let verified = append.folder.verify().unwrap();
        assert_eq!((verified.records, verified.unsigned_tail), (count + 1, 1));
        let mut journal = append.folder.open().unwrap();
        assert_eq!((journal.size(), journal.recovered()), (count + 1, None));
        journal.append(&record(count + 1)).unwrap();
        let verified = append.folder.verify().unwrap();
        assert_eq!((verified.records, verified.unsigned_tail), (count + 2, 0));
    }
}

#[test]
fn an_acknowledged_record_that_is_cut_zeroed_or_flipped_is_damage_at_any_byte() {
    let append = Append::behind(3);
    let start = append.before[FIRST_SEGMENT].len();
    let refuse = |case: &str| {
        let damage = damage_of(append.folder.verify());
        assert_eq!((damage.file.as_str(), damage.sequence), (FIRST_SEGMENT, 3), "{case}: {damage}");
        let opened = damage_of(append.folder.open());
        assert_eq!(opened.sequence, 3, "{case}: {opened}");
        let found: Vec<_> = Reader::open(&append.folder.dir()).into_iter().flatten().collect();
        assert!(found.iter().any(Result::is_err), "{case}: reading forward");
        assert!(
            recent(&append.folder.dir()).into_iter().flatten().next().is_none_or(|newest| newest.is_err())
        );
    };
    for place in 0..append.frame.len() {
        append.folder.restore(&append.after);
        append.folder.edit(FIRST_SEGMENT, |content| content.truncate(start + place));
        refuse(&format!("cut at {place}"));
        append.folder.restore(&append.after);
        append.folder.edit(FIRST_SEGMENT, |content| content[start + place] ^= 1 << (place % 8));
        refuse(&format!("flipped in {place}"));
        if append.frame[place..].iter().any(|byte| *byte != 0) {
            append.folder.restore(&append.after);
            append.folder.edit(FIRST_SEGMENT, |content| content[start + place..].fill(0));
            refuse(&format!("zeroed from {place}"));
        }
    }
}

#[test]
fn an_unsigned_record_that_is_followed_by_a_whole_one_is_damage_and_not_cut_off() {
    let folder = Folder::holding(3);
    let before = folder.image();
    folder.append(3..5);
    let head = before["head"].clone();
    folder.edit("head", |content| *content = head);
    let place = before[FIRST_SEGMENT].len() + 40;
    folder.edit(FIRST_SEGMENT, |content| content[place] ^= 1);
    let length = folder.image()[FIRST_SEGMENT].len();
    assert!(matches!(folder.damage().kind, Kind::Frame(_)));
    assert_eq!(damage_of(folder.open()).sequence, 3);
    assert_eq!(folder.image()[FIRST_SEGMENT].len(), length, "nothing was cut off");
}

#[test]
fn a_crash_after_a_new_segments_header_goes_on_in_that_segment() {
    let folder = Folder::with_segments_of(1500);
    let mut journal = folder.open().unwrap();
    let (mut number, mut previous) = (0, folder.image());
    let rotated = loop {
        journal.append(&record(number)).unwrap();
        number += 1;
        let image = folder.image();
        if image.len() > previous.len() {
            break image;
        }
        previous = image;
    };
    let newest = format!("{:020}.plj", number - 1);
    let mut crashed = previous.clone();
    crashed.insert(
        newest.clone(),
        rotated[&newest][..8 + 4 + 8 + 16 + 2 + crate::support::ORIGIN.len() + 4].to_vec(),
    );
    crashed.insert(format!("{newest}.new"), b"half a header".to_vec());
    folder.restore(&crashed);
    assert_eq!(folder.verify().unwrap().records, number - 1);
    folder.append(number - 1..number + 5);
    let verified = folder.verify().unwrap();
    assert_eq!(verified.records, number + 5);
    let newest_first: Vec<u64> =
        recent(&folder.dir()).unwrap().map(|entry| entry.unwrap().sequence()).collect();
    assert_eq!(newest_first, (0..number + 5).rev().collect::<Vec<_>>());
}

#[test]
fn a_crash_while_the_journal_is_made_is_begun_anew() {
    let folder = Folder::new();
    folder.open().unwrap();
    let whole = folder.image();
    let header_only = Image::from([(FIRST_SEGMENT.to_owned(), whole[FIRST_SEGMENT].clone())]);
    let without_durable: Image = whole
        .iter()
        .filter(|(name, _)| *name != "head.durable")
        .map(|(n, c)| (n.clone(), c.clone()))
        .collect();
    for image in [Image::new(), header_only, without_durable] {
        folder.restore(&image);
        folder.append(0..2);
        assert_eq!(folder.verify().unwrap().records, 2);
        folder.restore(&whole);
    }
}

#[test]
fn a_head_that_a_power_cut_blanked_is_made_again_from_the_durable_one() {
    let folder = Folder::holding(300);
    for blank in [0, 200] {
        folder.edit("head", |content| *content = vec![0; blank]);
        assert_eq!(folder.verify().unwrap().unsigned_tail, 300 - 256);
        let journal: Journal = folder.append(0..0);
        assert_eq!((journal.size(), journal.recovered()), (300, None));
    }
    folder.append(300..301);
    let verified = folder.verify().unwrap();
    assert_eq!((verified.records, verified.unsigned_tail), (301, 0));
}

#[test]
fn a_recovery_that_another_process_has_recorded_is_not_recorded_again() {
    let append = Append::behind(2);
    append.crash(&append.frame[..30]);
    let (mut one, mut two) = (append.folder.open().unwrap(), append.folder.open().unwrap());
    let recovered = one.recovered().unwrap();
    one.append(&record_of(Event::Recovered(recovered), 2)).unwrap();
    two.append(&record(3)).unwrap();
    assert_eq!((one.recovered(), two.recovered()), (None, None));
    assert_eq!(append.folder.verify().unwrap().records, 4);
}

#[test]
fn a_cut_is_still_to_be_recorded_if_something_else_was_appended_first() {
    let append = Append::behind(2);
    append.crash(&append.frame[..30]);
    let mut journal = append.folder.open().unwrap();
    journal.append(&record(2)).unwrap();
    let recovered = journal.recovered().unwrap();
    assert_eq!((recovered.dropped_bytes, recovered.at_sequence), (30, 2));
    journal.append(&record_of(Event::Recovered(recovered), 3)).unwrap();
    assert_eq!(journal.recovered(), None);
    append.folder.verify().unwrap();
}
