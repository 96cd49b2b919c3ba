//! Opening and appending.

#[cfg(test)]
mod lost_flush;

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};

use palisade_core::record::{Event, Recovered};
use palisade_core::{Receipt, Record, canonical};

use crate::begin;
use crate::error::{Damage, Error, Kind};
use crate::files::{self, Durability};
use crate::frame;
use crate::head::{DURABLE_EVERY, Head};
use crate::key::Signer;
use crate::lock::Lock;
use crate::note::{self, SignedHead, VerifierKey};
use crate::reserve;
use crate::scan::{Cursor, Scan, Step, Torn};
use crate::segment::{self, Identity, Listing, Position};
use crate::tree::{self, Frontier};

/// Sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes after which a new segment begins. A segment holds at least one record.
    pub segment_bytes: u64,
    /// Bytes set aside for a full disk.
    pub reserve_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, reserve_bytes: 1 << 20 }
    }
}

/// A journal that can be appended to. Several handles, in several processes, may share one folder.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    limits: Limits,
    signer: Signer,
    identity: Identity,
    /// Every record that this handle knows of.
    tree: Frontier,
    /// Where they end.
    end: Position,
    /// The newest head that this handle has seen or written.
    head: SignedHead,
    /// An incomplete record behind them.
    torn: Option<Torn>,
    /// One that this handle has cut off, and that is not recorded yet.
    cut: Option<Recovered>,
    poisoned: bool,
    /// How a written frame is made durable; a test puts a disk in its place that fails.
    flush: fn(&File) -> io::Result<()>,
}

impl Journal {
    /// Opens the journal in `dir` with the key in `key_path`, or makes both. `origin` names the journal in its
    /// signed heads: `palisade/<organisation>/<host>`.
    ///
    /// Opening costs the same for any length: the tree goes on from the signed head. Only records behind it are
    /// read. Damage in earlier records is for [`crate::verify()`] to find.
    ///
    /// # Errors
    /// [`Error::Damaged`] if head, header or tail are; [`Error::Key`] and [`Error::OtherOrigin`] if the journal
    /// is not this caller's; [`Error::Unwritable`], [`Error::Unreadable`].
    pub fn open(dir: &Path, key_path: &Path, origin: &str) -> Result<Self, Error> {
        Self::open_with(dir, key_path, origin, Limits::default())
    }

    /// [`Journal::open`] with other sizes.
    ///
    /// # Errors
    /// Those of [`Journal::open`].
    pub fn open_with(dir: &Path, key_path: &Path, origin: &str, limits: Limits) -> Result<Self, Error> {
        note::check_origin(origin)?;
        let folder = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        folder.map_err(Error::unwritable("create", dir))?;
        let _lock = Lock::exclusive(dir)?;
        let (signer, head) = begin::find_or_create(dir, key_path, origin)?;
        signer.publish(key_path)?;
        let Head { signed, tree } = head;
        let (identity, end) = (signed.identity.clone(), signed.end);
        let dir = dir.to_owned();
        let mut journal = Self {
            dir,
            limits,
            signer,
            identity,
            tree,
            end,
            head: signed,
            torn: None,
            cut: None,
            poisoned: false,
            flush: File::sync_data,
        };
        let signed_end = Cursor { position: journal.end, sequence: journal.tree.size() };
        journal.replay(&journal.head.clone())?;
        journal.check_before(signed_end)?;
        reserve::ensure(&journal.dir, limits.reserve_bytes);
        Ok(journal)
    }

    /// Signs a text that is no head: `NAME BASE64`. Its first line has to say what it is.
    #[must_use]
    pub fn sign_text(&self, text: &str) -> String {
        self.signer.sign_text(text)
    }

    /// Appends one record and returns once it is durable.
    ///
    /// Records that other processes appended meanwhile are read first. If [`Journal::recovered`] says that an
    /// incomplete record lies at the end, this append cuts it off.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Unwritable`] if the record cannot be made durable or signed;
    /// [`Error::Damaged`] if what others left is; [`Error::Poisoned`] after a failed flush. Nothing was
    /// acknowledged: a record whose signing failed may turn up, as if the process had died at that point.
    pub fn append(&mut self, record: &Record) -> Result<Receipt, Error> {
        let payload = canonical::json(record).into_bytes();
        let _lock = self.lock()?;
        self.catch_up()?;
        let sequence = self.tree.size();
        let too_large = Error::TooLarge { bytes: payload.len() };
        let frame = frame::encode(sequence, &payload).ok_or(too_large)?;
        let spends = spends_reserve(&record.event);
        self.spending(spends, |journal| journal.make_durable(&frame))?;
        let leaf = tree::leaf(&payload);
        self.tree.push(leaf);
        self.end.offset += frame.len() as u64;
        if matches!(record.event, Event::Recovered(_)) {
            self.cut = None;
        }
        self.spending(spends, Self::sign)?;
        reserve::ensure(&self.dir, self.limits.reserve_bytes);
        Ok(Receipt::for_durable_record(sequence, canonical::hex(&leaf)))
    }

    /// What a crash left: an incomplete last record, to be appended as [`Event::Recovered`] before anything else.
    ///
    /// To be asked after opening and after each append (another process may have died meanwhile). It stays until
    /// this handle has appended such a record, or another process has dealt with it.
    #[must_use]
    pub fn recovered(&self) -> Option<Recovered> {
        let torn =
            self.torn.map(|torn| Recovered { dropped_bytes: torn.bytes, at_sequence: torn.at.sequence });
        self.cut.clone().or(torn)
    }

    /// Number of records that this handle knows of.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The newest signed head that this handle has seen: what to anchor elsewhere.
    #[must_use]
    pub const fn head(&self) -> &SignedHead {
        &self.head
    }

    /// The key that verifies it.
    #[must_use]
    pub fn verifier(&self) -> VerifierKey {
        self.signer.verifier()
    }

    /// The journal's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn lock(&self) -> Result<Lock, Error> {
        if self.poisoned { Err(Error::Poisoned) } else { Lock::exclusive(&self.dir) }
    }

    /// Takes in what others appended since, under the lock.
    fn catch_up(&mut self) -> Result<(), Error> {
        let head = Head::read(&self.dir)?.ok_or_else(|| Damage::of("head", Kind::HeadMissing))?.signed;
        if head != self.head {
            self.check_head(&head)?;
        } else if self.torn.is_none() && self.ends_here()? {
            return Ok(());
        }
        self.replay(&head)
    }

    fn check_head(&self, head: &SignedHead) -> Result<(), Error> {
        if head.identity != self.identity || !head.is_signed_by(&self.signer.verifier()) {
            return Err(Damage::of("head", Kind::Signature).into());
        }
        if head.size < self.head.size {
            return Err(Damage::of("head", Kind::HeadWentBack { seen: self.head.size }).into());
        }
        Ok(())
    }

    /// Whether nothing was appended since, which two looks at the folder tell.
    fn ends_here(&self) -> Result<bool, Error> {
        let path = segment::path(&self.dir, self.end.segment);
        let length = path.symlink_metadata().map_err(Error::unreadable("look at", &path))?.len();
        let next = segment::path(&self.dir, self.tree.size());
        let rotated = self.end.segment != self.tree.size() && next.symlink_metadata().is_ok();
        Ok(length == self.end.offset && !rotated)
    }

    /// Reads from the known end on and compares with `head`, which is signed.
    fn replay(&mut self, head: &SignedHead) -> Result<(), Error> {
        let listing = Listing::read(&self.dir)?;
        let from = Cursor { position: self.end, sequence: self.tree.size() };
        let mut scan = Scan::from(&self.dir, &self.identity, listing, from, head.size)?;
        let mut tree = self.tree.clone();
        let torn = loop {
            if tree.size() == head.size && tree.root() != head.root {
                return Err(Damage::at(from, Kind::Rewritten { until: head.size }).into());
            }
            match scan.step()? {
                Step::Record { payload, .. } => tree.push(tree::leaf(payload)),
                Step::Torn(torn) => break Some(torn),
                Step::End => break None,
            }
        };
        (self.end, self.torn) = (scan.cursor().position, torn);
        (self.tree, self.head) = (tree, head.clone());
        Ok(())
    }

    /// Whether the last record that the head covers is whole, for it is the likeliest that a disk has lost.
    fn check_before(&self, signed_end: Cursor) -> Result<(), Error> {
        if signed_end.sequence > 0 {
            crate::recent::entry_before(&self.dir, &self.identity, signed_end)?;
        }
        Ok(())
    }

    /// Writes the frame behind the last record and flushes it. On failure the file ends where it did.
    fn make_durable(&mut self, frame: &[u8]) -> Result<(), Error> {
        if self.is_full(frame.len() as u64) {
            self.rotate()?;
        }
        let path = segment::path(&self.dir, self.end.segment);
        let file = files::open_to_write(&path)?;
        if let Some(torn) = self.torn.take() {
            file.set_len(self.end.offset).map_err(Error::unwritable("cut", &path))?;
            self.cut = Some(Recovered { dropped_bytes: torn.bytes, at_sequence: torn.at.sequence });
        }
        if let Err(error) = file.write_all_at(frame, self.end.offset) {
            // What cannot be cut off now is an incomplete record to whoever comes next.
            self.poisoned = file.set_len(self.end.offset).is_err();
            return Err(Error::unwritable("append to", &path)(error));
        }
        (self.flush)(&file).map_err(|error| {
            // The kernel may have dropped the bytes and now call the page clean: nobody may build on them.
            self.poisoned = true;
            drop(file.set_len(self.end.offset));
            Error::unwritable("flush", &path)(error)
        })
    }

    fn rotate(&mut self) -> Result<(), Error> {
        let full = segment::path(&self.dir, self.end.segment);
        // Its last record may be another process's, which died before it flushed.
        files::open_to_write(&full)?.sync_data().map_err(Error::unwritable("flush", &full))?;
        segment::create(&self.dir, &self.identity, self.tree.size())?;
        self.end = Position { segment: self.tree.size(), offset: self.identity.header_length() as u64 };
        Ok(())
    }

    /// Whether a frame of `length` bytes begins a new segment.
    fn is_full(&self, length: u64) -> bool {
        let holds_records = self.tree.size() > self.end.segment;
        holds_records && self.torn.is_none() && self.end.offset + length > self.limits.segment_bytes
    }

    /// Signs the tree as it is and writes the head.
    fn sign(&mut self) -> Result<(), Error> {
        let size = self.tree.size();
        let signed = self.signer.sign(&self.identity, size, self.tree.root(), self.end);
        let fresh_segment = self.end.segment + 1 == size;
        let durable = fresh_segment || size.is_multiple_of(DURABLE_EVERY);
        let durability = if durable { Durability::Power } else { Durability::Process };
        Head { signed: signed.clone(), tree: self.tree.clone() }.write(&self.dir, durability)?;
        self.head = signed;
        Ok(())
    }

    /// Does `write`, and again with the reserve freed if the disk is full and the record may use it.
    fn spending<T>(
        &mut self,
        spends: bool,
        mut write: impl FnMut(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match write(self) {
            Err(error)
                if spends && !self.poisoned && reserve::is_full(&error) && reserve::free(&self.dir) =>
            {
                write(self)
            }
            result => result,
        }
    }
}

/// Whether a record may use the space set aside: what belongs to an act, not what refuses one.
fn spends_reserve(event: &Event) -> bool {
    match event {
        Event::Intent(_)
        | Event::Outcome(_)
        | Event::Reconciled(_)
        | Event::Recovered(_)
        | Event::DeploymentEnded(_)
        | Event::BypassBegan(_)
        | Event::BypassEnded(_)
        | Event::Administered(_)
        | Event::JobsChanged(_) => true,
        Event::PolicyChanged(_)
        | Event::Refused(_)
        | Event::DeploymentStarted(_)
        | Event::Repeated(_)
        | Event::EpochRaised(_)
        | Event::DeploymentRefused(_)
        | Event::JobJudged(_)
        | Event::Called(_)
        | Event::Gap(_)
        | Event::NoticeUndelivered(_) => false,
    }
}
