//! The head files: the signed note of the last append, and the frontier that lets the tree go on from there.
//!
//! `head` is replaced after each append and not flushed: the record itself is durable by then, and what a power
//! cut takes from the head, it leaves as an unsigned tail that the next opening reads, checks and signs again.
//! That halves the time of an append. A power cut may leave `head` empty or zeroed on some file systems, so
//! `head.durable` is an earlier head that was flushed, at most [`DURABLE_EVERY`] records behind.

use std::path::Path;

use crate::base64;
use crate::error::{Damage, Error, Kind};
use crate::files::{self, Durability};
use crate::note::SignedHead;
use crate::tree::Frontier;

/// Records between two durable heads.
pub(crate) const DURABLE_EVERY: u64 = 256;

const LAST: &str = "head";
const DURABLE: &str = "head.durable";
const MARK: &str = "\nfrontier ";

/// A head file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) signed: SignedHead,
    pub(crate) tree: Frontier,
}

/// The last signed head, or `None` if there is no journal in `dir` yet.
///
/// # Errors
/// [`Error::Unreadable`], or [`Error::Damaged`] if the head is.
pub fn signed_head(dir: &Path) -> Result<Option<SignedHead>, Error> {
    Ok(Head::read(dir)?.map(|head| head.signed))
}

impl Head {
    fn text(&self) -> String {
        let mut text = format!("{}{MARK}{}\n", self.signed, self.tree.hashes().len());
        for hash in self.tree.hashes() {
            text.push_str(&base64::encode(hash));
            text.push('\n');
        }
        text
    }

    /// The head that `text` writes, if its frontier has the root that was signed.
    fn parse(text: &str) -> Option<Self> {
        let (note, frontier) = text.split_once(MARK)?;
        let signed = SignedHead::parse(note)?;
        let hashes = frontier.lines().skip(1).map(base64::decode_array).collect::<Option<Vec<_>>>()?;
        let tree = Frontier::from_parts(signed.size, hashes).filter(|tree| tree.root() == signed.root)?;
        let head = Self { signed, tree };
        (head.text() == text).then_some(head)
    }

    /// The last head, or the durable one where a power cut blanked the last. `None` before there was any.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, Error> {
        let durable = || files::read_small_if_there(&dir.join(DURABLE));
        match files::read_small_if_there(&dir.join(LAST))? {
            Some(content) if content.iter().all(|byte| *byte == 0) => match durable()? {
                Some(content) => Self::decode(DURABLE, &content).map(Some),
                None => Err(Damage::of(LAST, Kind::HeadMissing).into()),
            },
            Some(content) => Self::decode(LAST, &content).map(Some),
            // The last head comes first, so that only a removal can leave the durable one alone.
            None if durable()?.is_some() => Err(Damage::of(LAST, Kind::HeadMissing).into()),
            None => Ok(None),
        }
    }

    /// The durable head. A crash during creation may have left none.
    pub(crate) fn read_durable(dir: &Path) -> Result<Option<Self>, Error> {
        match files::read_small_if_there(&dir.join(DURABLE))? {
            Some(content) => Self::decode(DURABLE, &content).map(Some),
            None => Ok(None),
        }
    }

    fn decode(file: &str, content: &[u8]) -> Result<Self, Error> {
        let head = std::str::from_utf8(content).ok().and_then(Self::parse);
        head.ok_or_else(|| Damage::of(file, Kind::HeadDamaged).into())
    }

    /// Writes `head`; with [`Durability::Power`] both files, flushed.
    pub(crate) fn write(&self, dir: &Path, durability: Durability) -> Result<(), Error> {
        let text = self.text();
        files::replace(&dir.join(LAST), text.as_bytes(), 0o600, durability)?;
        match durability {
            Durability::Process => Ok(()),
            Durability::Power => files::replace(&dir.join(DURABLE), text.as_bytes(), 0o600, durability),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Signer;
    use crate::segment::{Identity, JournalId, Position};
    use crate::tree;

    fn head(size: u8) -> Head {
        let mut frontier = Frontier::default();
        (0..size).for_each(|n| frontier.push(tree::leaf(&[n])));
        let identity = Identity { origin: "palisade/here".into(), journal: JournalId([1; 16]) };
        let end = Position { segment: 0, offset: 99 };
        let signed =
            Signer::from_seed("palisade/here", [7; 32]).sign(&identity, size.into(), frontier.root(), end);
        Head { signed, tree: frontier }
    }

    fn kind_of(result: Result<Option<Head>, Error>) -> Kind {
        match result {
            Err(Error::Damaged(damage)) => damage.kind,
            other => panic!("not damage: {other:?}"),
        }
    }

    #[test]
    fn a_head_comes_back_from_its_text() {
        for size in [0, 1, 2, 7, 64] {
            assert_eq!(Head::parse(&head(size).text()), Some(head(size)), "{size} records");
        }
    }

    #[test]
    fn a_frontier_with_another_root_is_refused() {
        let mut mixed = head(7);
        mixed.tree = head(11).tree;
        assert_eq!(mixed.tree.hashes().len(), 3);
        assert_eq!(Head::parse(&mixed.text()), None);
    }

    #[test]
    fn a_head_with_anything_more_or_less_is_refused() {
        let text = head(3).text();
        for other in
            [format!("{text}\n"), text.trim_end().to_owned(), text.replace("frontier 2", "frontier 3")]
        {
            assert_eq!(Head::parse(&other), None, "{other}");
        }
    }

    #[test]
    fn a_blank_head_falls_back_to_the_durable_one() {
        let folder = tempfile::tempdir().unwrap();
        head(2).write(folder.path(), Durability::Power).unwrap();
        head(3).write(folder.path(), Durability::Process).unwrap();
        assert_eq!(Head::read(folder.path()).unwrap(), Some(head(3)));
        for blank in [&b""[..], &[0; 300]] {
            std::fs::write(folder.path().join(LAST), blank).unwrap();
            assert_eq!(Head::read(folder.path()).unwrap(), Some(head(2)));
        }
    }

    #[test]
    fn a_head_that_is_gone_or_altered_is_damage_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Head::read(folder.path()).unwrap(), None, "nothing was there yet");
        head(2).write(folder.path(), Durability::Power).unwrap();
        std::fs::write(folder.path().join(LAST), "palisade/here\n").unwrap();
        assert_eq!(kind_of(Head::read(folder.path())), Kind::HeadDamaged);
        std::fs::remove_file(folder.path().join(LAST)).unwrap();
        assert_eq!(kind_of(Head::read(folder.path())), Kind::HeadMissing);
    }
}
