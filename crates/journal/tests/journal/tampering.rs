//! What somebody could do to the files, and what verification calls it.

use palisade_journal::{Flaw, Kind};

use crate::support::{FIRST_SEGMENT, Folder, Image, frames, kind_of};

#[test]
fn canonical_journal_integrity_a_flipped_byte_is_found() {
    ablate();
    let folder = Folder::holding(5);
    let frame = frames(&folder.image()[FIRST_SEGMENT])[2].clone();
    folder.edit(FIRST_SEGMENT, |content| content[frame.start + 60] ^= 1);
    let damage = folder.damage();
    assert_eq!((damage.file.as_str(), damage.offset), (FIRST_SEGMENT, frame.start as u64));
    assert_eq!((damage.sequence, damage.kind), (2, Kind::Frame(Flaw::Checksum)));
}

/// Switches off the check that the environment names, to see the test above fail.
#[cfg(feature = "ablation")]
#[expect(clippy::disallowed_methods, reason = "the ablation run chooses the check from outside")]
fn ablate() {
    if let Ok(name) = std::env::var("PALISADE_ABLATE") {
        palisade_core::ablation::switch_off(&name).unwrap();
    }
}

#[cfg(not(feature = "ablation"))]
fn ablate() {}

/// Three segments.
fn three_segments() -> Folder {
    let folder = Folder::with_segments_of(1500);
    folder.append(0..1);
    let mut number = 1;
    while folder.image().keys().filter(|name| name.ends_with(".plj")).count() < 3 {
        folder.append(number..number + 1);
        number += 1;
    }
    folder.append(number..number + 1);
    folder
}

/// Changes the frames of the first segment as pieces.
fn with_frames(folder: &Folder, edit: impl FnOnce(&mut Vec<Vec<u8>>)) {
    folder.edit(FIRST_SEGMENT, |content| {
        let ranges = frames(content);
        let mut pieces: Vec<Vec<u8>> = ranges.iter().map(|range| content[range.clone()].to_vec()).collect();
        edit(&mut pieces);
        content.truncate(ranges[0].start);
        content.extend(pieces.concat());
    });
}

#[test]
fn every_flipped_byte_of_a_small_journal_is_found() {
    let folder = three_segments();
    let image = folder.image();
    folder.verify().unwrap();
    for (name, content) in &image {
        for place in 0..content.len() {
            for mask in [1 << (place % 8), 0x80 >> (place % 8)] {
                folder.edit(name, |content| content[place] ^= mask);
                assert!(folder.verify().is_err(), "{name}, byte {place} ^ {mask:#x}");
                folder.edit(name, |content| content[place] ^= mask);
            }
        }
    }
    folder.verify().unwrap();
}

#[test]
fn a_removed_record_is_named() {
    let folder = Folder::holding(5);
    with_frames(&folder, |frames| drop(frames.remove(2)));
    let damage = folder.damage();
    assert_eq!((damage.sequence, damage.kind), (2, Kind::Removed { found: 3 }));
}

#[test]
fn a_doubled_record_is_named() {
    let folder = Folder::holding(5);
    with_frames(&folder, |frames| frames.insert(3, frames[2].clone()));
    let damage = folder.damage();
    assert_eq!((damage.sequence, damage.kind), (3, Kind::Doubled { found: 2 }));
}

#[test]
fn swapped_records_are_named() {
    let folder = Folder::holding(5);
    with_frames(&folder, |frames| frames.swap(1, 2));
    let damage = folder.damage();
    assert_eq!((damage.sequence, damage.kind), (1, Kind::Swapped { found: 2 }));
}

#[test]
fn a_removed_last_record_is_a_cut_tail() {
    let folder = Folder::holding(5);
    let end = frames(&folder.image()[FIRST_SEGMENT])[3].end;
    with_frames(&folder, |frames| drop(frames.pop()));
    let damage = folder.damage();
    assert_eq!((damage.sequence, damage.offset), (4, end as u64));
    assert_eq!(damage.kind, Kind::TailCut { signed: 5 });
    assert_eq!(kind_of(folder.open()), Kind::TailCut { signed: 5 });
}

#[test]
fn a_record_with_a_new_checksum_is_found_by_the_tree() {
    let folder = Folder::holding(5);
    // A record of another journal in the same place: the same number, a right checksum, other content.
    let other = Folder::new();
    other.append(100..105);
    let foreign = other.image()[FIRST_SEGMENT].clone();
    let range = frames(&foreign)[2].clone();
    with_frames(&folder, |frames| frames[2] = foreign[range].to_vec());
    assert_eq!(folder.damage().kind, Kind::Rewritten { until: 5 });
}

#[test]
fn a_removed_segment_is_named_wherever_it_was() {
    let folder = three_segments();
    let image = folder.image();
    let segments: Vec<&String> = image.keys().filter(|name| name.ends_with(".plj")).collect();
    for (place, name) in segments.iter().enumerate() {
        let mut without = image.clone();
        without.remove(*name);
        folder.restore(&without);
        let found = folder.damage();
        let last = place + 1 == segments.len();
        let fits = if last {
            matches!(found.kind, Kind::TailCut { .. })
        } else {
            matches!(found.kind, Kind::Removed { .. })
        };
        assert!(fits, "segment {place}: {found}");
    }
}

#[test]
fn swapped_segments_are_named_by_their_headers() {
    let folder = three_segments();
    let image = folder.image();
    let segments: Vec<&String> = image.keys().filter(|name| name.ends_with(".plj")).collect();
    let mut swapped = image.clone();
    swapped.insert(segments[1].clone(), image[segments[2]].clone());
    swapped.insert(segments[2].clone(), image[segments[1]].clone());
    folder.restore(&swapped);
    let damage = folder.damage();
    assert_eq!((&damage.file, damage.offset, damage.kind), (segments[1], 0, Kind::ForeignSegment));
}

#[test]
fn a_segment_of_another_journal_is_foreign() {
    let (folder, other) = (Folder::holding(3), Folder::holding(3));
    let foreign = other.image()[FIRST_SEGMENT].clone();
    folder.edit(FIRST_SEGMENT, |content| *content = foreign);
    assert_eq!(folder.damage().kind, Kind::ForeignSegment);
}

#[test]
fn a_head_of_another_journal_does_not_verify() {
    let (folder, other) = (Folder::holding(3), Folder::holding(3));
    let foreign = other.image()["head"].clone();
    folder.edit("head", |content| *content = foreign);
    let damage = folder.damage();
    assert_eq!((damage.file.as_str(), damage.kind), ("head", Kind::Signature));
    assert_eq!(kind_of(folder.open()), Kind::Signature);
}

#[test]
fn a_removed_head_is_damage_and_not_made_anew() {
    let folder = Folder::holding(3);
    for removed in [&["head"][..], &["head", "head.durable"]] {
        let image: Image =
            folder.image().into_iter().filter(|(name, _)| !removed.contains(&name.as_str())).collect();
        folder.restore(&image);
        assert_eq!(folder.damage().kind, Kind::HeadMissing);
        assert_eq!(kind_of(folder.open()), Kind::HeadMissing);
    }
}

#[test]
fn a_head_from_before_the_durable_one_is_noticed_on_opening() {
    let folder = Folder::holding(3);
    let old = folder.image()["head"].clone();
    folder.append(3..260);
    folder.edit("head", |content| *content = old);
    assert_eq!(kind_of(folder.open()), Kind::HeadWentBack { seen: 256 });
}

#[test]
fn a_head_that_goes_back_under_an_open_handle_is_noticed() {
    let folder = Folder::holding(3);
    let old = folder.image();
    let mut journal = folder.append(3..5);
    folder.restore(&old);
    assert_eq!(kind_of(journal.append(&crate::support::record(5))), Kind::HeadWentBack { seen: 5 });
}

#[test]
fn bytes_behind_the_last_segment_of_a_rotated_one_are_damage() {
    let folder = three_segments();
    folder.edit(FIRST_SEGMENT, |content| content.extend_from_slice(b"more"));
    assert!(matches!(folder.damage().kind, Kind::Frame(_)));
}
