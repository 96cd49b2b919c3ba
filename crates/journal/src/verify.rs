//! Verification: every record against every signed root that there is, in one pass and without parsing JSON.

use std::path::Path;

use palisade_core::ablation::{self, Check};

use crate::anchor::Anchor;
use crate::error::{Damage, Error, Kind};
use crate::head::Head;
use crate::lock::Lock;
use crate::note::{SignedHead, VerifierKey};
use crate::scan::{Cursor, Scan, Step};
use crate::segment::Listing;
use crate::tree::{self, Frontier};

/// What a sound journal holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The signed head; it covers [`SignedHead::size`] records.
    pub head: SignedHead,
    /// Records, those without a signature included.
    pub records: u64,
    /// Whole records behind the signed head: a crash came between record and head. The next append signs them.
    pub unsigned_tail: u64,
    /// Bytes of an incomplete last record, which was never acknowledged. The next append cuts it off.
    pub torn_bytes: u64,
    /// Number of the last record that an anchor covers. Behind it, whoever holds the key could cut and write anew.
    pub anchored_up_to: Option<u64>,
    /// Files with records.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Reads the whole journal and compares it with its signed heads and with `anchors`.
///
/// It holds the lock only to take a picture of what there is, so appends go on meanwhile; what they add is not
/// part of the picture.
///
/// # Errors
/// [`Error::Damaged`] with the first place that does not hold; [`Error::Unreadable`]; [`Error::OtherOrigin`] if
/// the key is another journal's; [`Error::NewerFormat`].
pub fn verify(dir: &Path, key: &VerifierKey, anchors: &[Anchor]) -> Result<Verified, Error> {
    let picture = Picture::take(dir)?;
    let roots = picture.signed_roots(key, anchors)?;
    let Picture { head, listing, .. } = &picture;
    let (identity, signed) = (&head.signed.identity, head.signed.size);
    let mut scan = Scan::all(dir, identity, listing.clone(), signed)?;
    let mut pass = Pass { roots: &roots, tree: Frontier::default(), vouched: scan.cursor() };
    let torn_bytes = loop {
        pass.compare(scan.cursor(), &head.signed)?;
        match scan.step()? {
            Step::Record { payload, .. } => pass.tree.push(tree::leaf(payload)),
            Step::Torn(torn) => break torn.bytes,
            Step::End => break 0,
        }
    };
    pass.finish(scan.cursor())?;
    let records = pass.tree.size();
    Ok(Verified {
        head: head.signed.clone(),
        records,
        unsigned_tail: records - signed.min(records),
        torn_bytes,
        anchored_up_to: anchors.iter().map(Anchor::size).max().and_then(|size| size.checked_sub(1)),
        segments: listing.0.len(),
        bytes: listing.bytes(),
    })
}

/// The files of one moment.
struct Picture {
    head: Head,
    durable: Option<Head>,
    listing: Listing,
}

impl Picture {
    fn take(dir: &Path) -> Result<Self, Error> {
        let _lock = Lock::shared(dir)?;
        let listing = Listing::read(dir)?;
        let head = Head::read(dir)?.ok_or_else(|| Damage::of("head", Kind::HeadMissing))?;
        Ok(Self { head, durable: Head::read_durable(dir)?, listing })
    }

    /// Every root that the records must have at some size, smallest first.
    fn signed_roots<'a>(
        &'a self,
        key: &VerifierKey,
        anchors: &'a [Anchor],
    ) -> Result<Vec<&'a SignedHead>, Error> {
        let own = &self.head.signed;
        if own.origin() != key.name() {
            let (expected, found) = (key.name().to_owned(), own.origin().to_owned());
            return Err(Error::OtherOrigin { expected, found });
        }
        let durable = self.durable.iter().map(|head| ("head.durable", &head.signed));
        let anchors = anchors.iter().map(|anchor| ("anchor", anchor));
        let mut roots = Vec::new();
        for (file, signed) in std::iter::once(("head", own)).chain(durable).chain(anchors) {
            if signed.identity != own.identity {
                return Err(Damage::of(file, Kind::ForeignAnchor).into());
            }
            if !signed.is_signed_by(key) && !ablation::is_off(Check::JournalIntegrity) {
                return Err(Damage::of(file, Kind::Signature).into());
            }
            roots.push(signed);
        }
        roots.sort_by_key(|signed| signed.size);
        Ok(roots)
    }
}

/// The state of one pass.
struct Pass<'a> {
    /// Roots that are still to come.
    roots: &'a [&'a SignedHead],
    tree: Frontier,
    /// Where the last root held: what comes behind is not vouched for yet.
    vouched: Cursor,
}

impl Pass<'_> {
    /// Compares the tree with the roots of its present size. `here` is where its records end.
    fn compare(&mut self, here: Cursor, head: &SignedHead) -> Result<(), Error> {
        while let Some((next, later)) = self.roots.split_first()
            && next.size == self.tree.size()
        {
            let same = next.root == self.tree.root();
            if !same && !ablation::is_off(Check::JournalIntegrity) {
                return Err(Damage::at(self.vouched, Kind::Rewritten { until: next.size }).into());
            }
            // A new segment is entered only with its first record, so the places are comparable.
            if *next == head && here.position != head.end {
                return Err(Damage::at(here, Kind::Moved).into());
            }
            (self.roots, self.vouched) = (later, here);
        }
        Ok(())
    }

    /// Whether every root was met.
    fn finish(&self, here: Cursor) -> Result<(), Error> {
        match self.roots.last() {
            Some(beyond) => Err(Damage::at(here, Kind::CutBelowAnchor { anchored: beyond.size }).into()),
            None => Ok(()),
        }
    }
}
