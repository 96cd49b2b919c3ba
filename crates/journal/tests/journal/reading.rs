//! Forward, backward, from the middle, and at a glance.

use std::fs;

use palisade_core::Timestamp;
use palisade_journal::{Entry, Error, Kind, Reader, recent, stat};

use crate::support::{FIRST_SEGMENT, Folder, Image, frames, kind_of, record};

fn all(folder: &Folder) -> Vec<Entry> {
    Reader::open(&folder.dir()).unwrap().map(Result::unwrap).collect()
}

fn newest_first(folder: &Folder) -> Vec<Entry> {
    recent(&folder.dir()).unwrap().map(Result::unwrap).collect()
}

#[test]
fn backward_is_forward_reversed_across_segments() {
    for count in [0, 1, 2, 7, 30] {
        let folder = Folder::with_segments_of(2000);
        folder.append(0..count);
        let mut forward = all(&folder);
        assert_eq!(forward.len() as u64, count);
        forward.reverse();
        assert_eq!(newest_first(&folder), forward);
    }
}

#[test]
fn backward_includes_the_unsigned_tail_and_leaves_out_a_torn_record() {
    let folder = Folder::holding(2);
    let old = folder.image()["head"].clone();
    folder.append(2..5);
    folder.edit("head", |content| *content = old);
    let last = frames(&folder.image()[FIRST_SEGMENT])[4].clone();
    folder.edit(FIRST_SEGMENT, |content| content.truncate(last.end - 3));
    let sequences: Vec<u64> = newest_first(&folder).iter().map(Entry::sequence).collect();
    assert_eq!(sequences, [3, 2, 1, 0]);
    assert_eq!(all(&folder).len(), 4);
    let stat = stat(&folder.dir()).unwrap();
    assert_eq!((stat.records, stat.unsigned_tail), (4, 2));
    assert_eq!(stat.torn_bytes as usize, last.len() - 3);
}

#[test]
fn the_last_records_are_read_without_reading_the_first() {
    let folder = Folder::with_segments_of(1500);
    folder.append(0..30);
    fs::write(folder.dir().join(FIRST_SEGMENT), "rotten").unwrap();
    let newest: Vec<_> =
        recent(&folder.dir()).unwrap().take(20).map(|entry| entry.unwrap().sequence()).collect();
    assert_eq!(newest, (10..30).rev().collect::<Vec<_>>());
    let mut rest = recent(&folder.dir()).unwrap().skip_while(Result::is_ok);
    assert!(matches!(rest.next(), Some(Err(_))), "and what is rotten is said");
    assert!(rest.next().is_none(), "once");
}

#[test]
fn reading_goes_on_where_it_ended() {
    let folder = Folder::with_segments_of(1500);
    folder.append(0..5);
    let mut reader = Reader::open(&folder.dir()).unwrap();
    assert_eq!(reader.by_ref().count(), 5);
    folder.append(5..9);
    assert!(reader.next().is_none(), "a reader shows one moment");
    let later = Reader::open_at(&folder.dir(), reader.cursor()).unwrap();
    let sequences: Vec<u64> = later.map(|entry| entry.unwrap().sequence()).collect();
    assert_eq!(sequences, [5, 6, 7, 8]);
    let third = all(&folder)[3].clone();
    assert_eq!(Reader::open_at(&folder.dir(), third.at()).unwrap().next().unwrap().unwrap(), third);
}

#[test]
fn a_reader_ends_after_the_first_damage() {
    let folder = Folder::holding(5);
    let frame = frames(&folder.image()[FIRST_SEGMENT])[2].clone();
    folder.edit(FIRST_SEGMENT, |content| content[frame.start + 50] ^= 4);
    let found: Vec<_> = Reader::open(&folder.dir()).unwrap().collect();
    assert_eq!(found.len(), 3);
    assert!(matches!(&found[2], Err(Error::Damaged(damage)) if damage.sequence == 2));
    let backward: Vec<_> = recent(&folder.dir()).unwrap().collect();
    assert_eq!(backward.len(), 3);
    assert!(matches!(&backward[2], Err(Error::Damaged(damage)) if damage.sequence == 2));
}

#[test]
fn stat_tells_sizes_and_times() {
    let folder = Folder::with_segments_of(2000);
    folder.append(0..12);
    let image: Image = folder.image().into_iter().filter(|(name, _)| name.ends_with(".plj")).collect();
    let found = stat(&folder.dir()).unwrap();
    assert_eq!((found.records, found.segments), (12, image.len()));
    assert_eq!(found.bytes, image.values().map(|content| content.len() as u64).sum::<u64>());
    assert_eq!(found.oldest, Some(record(0).at));
    assert_eq!(found.newest, Some(Timestamp::from_unix_ms(record(11).at.unix_ms())));
    assert_eq!((found.reserve_bytes, found.unsigned_tail, found.torn_bytes), (4096, 0, 0));
}

#[test]
fn a_folder_without_a_journal_is_an_error_and_stays_untouched() {
    let folder = Folder::new();
    assert!(matches!(Reader::open(&folder.dir()), Err(Error::Unreadable { .. })));
    assert!(matches!(stat(&folder.dir()), Err(Error::Unreadable { .. })));
    fs::create_dir(folder.dir()).unwrap();
    assert_eq!(kind_of(recent(&folder.dir())), Kind::HeadMissing);
    assert_eq!(fs::read_dir(folder.dir()).unwrap().count(), 0);
}

#[test]
fn a_copy_without_lock_and_key_can_be_read_and_verified() {
    let folder = Folder::holding(4);
    let (verifier, image) = (folder.verifier(), folder.image());
    let copy = tempfile::tempdir().unwrap();
    for (name, content) in &image {
        fs::write(copy.path().join(name), content).unwrap();
    }
    assert_eq!(palisade_journal::verify(copy.path(), &verifier, &[]).unwrap().records, 4);
    assert_eq!(Reader::open(copy.path()).unwrap().count(), 4);
    assert_eq!(fs::read_dir(copy.path()).unwrap().count(), image.len(), "nothing was added");
}
