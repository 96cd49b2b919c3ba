//! Anchors: signed heads kept where the journal's user cannot rewrite them. Only an anchor shows that a tail was
//! cut together with the head, or that an old folder was put back.

use std::path::Path;

use crate::error::Error;
use crate::files::{self, Durability};
use crate::note::SignedHead;

/// A signed head that was saved elsewhere.
pub type Anchor = SignedHead;

/// The anchors in `text`: any number of notes, one after the other. `None` if anything in it is no note.
#[must_use]
pub fn parse_anchors(text: &str) -> Option<Vec<Anchor>> {
    let mut anchors = Vec::new();
    let mut note = String::new();
    for line in text.split_inclusive('\n') {
        if note.is_empty() && line.trim().is_empty() {
            continue;
        }
        note.push_str(line);
        if line.starts_with('—') {
            anchors.push(SignedHead::parse(&note)?);
            note.clear();
        }
    }
    (note.is_empty() && !anchors.is_empty()).then_some(anchors)
}

/// The anchors in a file.
///
/// # Errors
/// [`Error::Unreadable`], or [`Error::NotAnAnchor`] if the file holds none or anything else.
pub fn read_anchors(path: &Path) -> Result<Vec<Anchor>, Error> {
    let not_one = || Error::NotAnAnchor { path: path.to_owned() };
    let text = String::from_utf8(files::read_small(path)?).map_err(|_not_text| not_one())?;
    parse_anchors(&text).ok_or_else(not_one)
}

/// Replaces the anchor in `path` by `head`, in one step and durably.
///
/// # Errors
/// [`Error::AnchorWouldGoBack`] if the file anchors more records, others, or another journal: exactly then the
/// old anchor is evidence. [`Error::NotAnAnchor`] if the file holds something else; [`Error::Unwritable`].
pub fn write_anchor(path: &Path, head: &SignedHead) -> Result<(), Error> {
    if let Some(content) = files::read_small_if_there(path)? {
        let kept = String::from_utf8(content).ok().and_then(|text| parse_anchors(&text));
        let kept = kept.ok_or_else(|| Error::NotAnAnchor { path: path.to_owned() })?;
        if let Some(contradicted) = kept.iter().find(|kept| !continues(kept, head)) {
            let (kept, offered) = (contradicted.size, head.size);
            return Err(Error::AnchorWouldGoBack { path: path.to_owned(), kept, offered });
        }
    }
    files::replace(path, head.to_string().as_bytes(), 0o600, Durability::Power)
}

/// Whether `head` may come after `kept`, as far as the two texts tell.
fn continues(kept: &Anchor, head: &SignedHead) -> bool {
    let same_content = kept.size < head.size || (kept.size == head.size && kept.root == head.root);
    kept.identity == head.identity && same_content
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Signer;
    use crate::segment::{Identity, JournalId, Position};

    fn head(journal: u8, size: u64, root: u8) -> SignedHead {
        let identity = Identity { origin: "palisade/here".into(), journal: JournalId([journal; 16]) };
        let signer = Signer::from_seed("palisade/here", [7; 32]);
        signer.sign(&identity, size, [root; 32], Position { segment: 0, offset: 99 })
    }

    #[test]
    fn several_notes_in_one_text_are_several_anchors() {
        let (one, two) = (head(1, 3, 3), head(1, 5, 5));
        let text = format!("{one}\n\n{two}");
        assert_eq!(parse_anchors(&text), Some(vec![one, two]));
    }

    #[test]
    fn text_with_half_a_note_or_none_is_refused() {
        let note = head(1, 3, 3).to_string();
        for text in ["", "\n", "hello\n", &note[..note.len() - 5], &format!("{note}palisade/here\n")] {
            assert_eq!(parse_anchors(text), None, "{text:?}");
        }
    }

    #[test]
    fn an_anchor_moves_forward_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anchor");
        write_anchor(&path, &head(1, 3, 3)).unwrap();
        write_anchor(&path, &head(1, 3, 3)).unwrap();
        write_anchor(&path, &head(1, 5, 5)).unwrap();
        for other in [head(1, 4, 4), head(1, 5, 6), head(2, 9, 9)] {
            assert!(matches!(write_anchor(&path, &other), Err(Error::AnchorWouldGoBack { kept: 5, .. })));
        }
        assert_eq!(read_anchors(&path).unwrap(), [head(1, 5, 5)]);
    }

    #[test]
    fn a_file_with_something_else_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "my notes").unwrap();
        assert!(matches!(write_anchor(&path, &head(1, 3, 3)), Err(Error::NotAnAnchor { .. })));
        assert!(matches!(read_anchors(&path), Err(Error::NotAnAnchor { .. })));
    }
}
