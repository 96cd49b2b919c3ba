//! What only a head that was kept elsewhere shows.

use palisade_journal::{Error, Kind, SignedHead, read_anchors, write_anchor};

use crate::support::{FIRST_SEGMENT, Folder, frames, kind_of, record};

/// A journal of 5 records and its signed head, then cut back to 3 with the head of then.
fn cut_back() -> (Folder, SignedHead) {
    let folder = Folder::holding(3);
    let old = folder.image();
    let anchor = folder.append(3..5).head().clone();
    folder.restore(&old);
    (folder, anchor)
}

#[test]
fn a_tail_cut_together_with_its_head_is_found_by_the_anchor_only() {
    let (folder, anchor) = cut_back();
    assert_eq!(folder.verify().unwrap().records, 3, "without an anchor nothing shows it");
    assert_eq!(kind_of(folder.verify_with(&[anchor])), Kind::CutBelowAnchor { anchored: 5 });
}

#[test]
fn a_tail_that_was_written_anew_with_the_key_is_found_by_the_anchor_only() {
    let (folder, anchor) = cut_back();
    folder.append(700..704);
    assert_eq!(folder.verify().unwrap().records, 7);
    let damage = match folder.verify_with(&[anchor]) {
        Err(Error::Damaged(damage)) => damage,
        other => panic!("not found: {other:?}"),
    };
    assert_eq!(damage.kind, Kind::Rewritten { until: 5 });
    assert!(damage.sequence <= 3, "record 3 is the first that differs: {damage}");
}

#[test]
fn an_anchor_narrows_down_what_was_altered() {
    let folder = Folder::new();
    let mut journal = folder.open().unwrap();
    let mut anchors = Vec::new();
    for number in 0..9 {
        journal.append(&record(number)).unwrap();
        if number == 3 || number == 6 {
            anchors.push(journal.head().clone());
        }
    }
    let other = Folder::new();
    other.append(100..109);
    let foreign = other.image()[FIRST_SEGMENT].clone();
    let range = frames(&foreign)[5].clone();
    let own = frames(&folder.image()[FIRST_SEGMENT])[5].clone();
    folder.edit(FIRST_SEGMENT, |content| drop(content.splice(own, foreign[range].iter().copied())));
    match folder.verify_with(&anchors) {
        Err(Error::Damaged(damage)) => {
            assert_eq!((damage.sequence, damage.kind), (4, Kind::Rewritten { until: 7 }));
        }
        found => panic!("not found: {found:?}"),
    }
}

#[test]
fn verification_says_up_to_where_anchors_cover() {
    let folder = Folder::new();
    let empty = folder.open().unwrap().head().clone();
    let third = folder.append(0..3).head().clone();
    folder.append(3..8);
    assert_eq!(folder.verify().unwrap().anchored_up_to, None);
    assert_eq!(folder.verify_with(std::slice::from_ref(&empty)).unwrap().anchored_up_to, None);
    assert_eq!(folder.verify_with(&[third, empty]).unwrap().anchored_up_to, Some(2));
}

#[test]
fn an_anchor_ahead_of_a_lost_head_fits_the_unsigned_tail() {
    let folder = Folder::holding(3);
    let old = folder.image()["head"].clone();
    let anchor = folder.append(3..5).head().clone();
    folder.edit("head", |content| *content = old);
    let verified = folder.verify_with(&[anchor]).unwrap();
    assert_eq!((verified.records, verified.unsigned_tail, verified.anchored_up_to), (5, 2, Some(4)));
}

#[test]
fn an_anchor_of_another_journal_or_with_an_altered_size_is_refused() {
    let (folder, other) = (Folder::holding(3), Folder::holding(3));
    let foreign = other.open().unwrap().head().clone();
    assert_eq!(kind_of(folder.verify_with(&[foreign])), Kind::ForeignAnchor);
    let own = folder.open().unwrap().head().to_string();
    let altered = SignedHead::parse(&own.replacen("\n3\n", "\n2\n", 1)).unwrap();
    assert_eq!(kind_of(folder.verify_with(&[altered])), Kind::Signature);
}

#[test]
fn an_anchor_file_follows_the_journal_and_refuses_to_go_back() {
    let (folder, _) = cut_back();
    let path = folder.root().join("elsewhere");
    let later = folder.append(3..9).head().clone();
    write_anchor(&path, &later).unwrap();
    let (other, _) = cut_back();
    assert!(matches!(
        write_anchor(&path, other.open().unwrap().head()),
        Err(Error::AnchorWouldGoBack { .. })
    ));
    assert_eq!(read_anchors(&path).unwrap(), [later]);
    assert_eq!(folder.verify_with(&read_anchors(&path).unwrap()).unwrap().anchored_up_to, Some(8));
}

#[test]
fn another_journals_verifier_key_does_not_verify_this_one() {
    let (folder, other) = (Folder::holding(2), Folder::holding(2));
    let found = palisade_journal::verify(&folder.dir(), &other.verifier(), &[]);
    assert_eq!(kind_of(found), Kind::Signature);
}
