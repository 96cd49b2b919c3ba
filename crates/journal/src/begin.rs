//! The head and the key that a handle starts from, found or made.

use std::path::Path;

use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::{Damage, Error, KeyProblem, Kind};
use crate::files::{self, Durability};
use crate::head::Head;
use crate::key::Signer;
use crate::segment::{self, Identity, JournalId, Listing, Position};
use crate::tree::Frontier;

/// The journal that is there, or a new one. The caller holds the lock.
pub(crate) fn find_or_create(dir: &Path, key_path: &Path, origin: &str) -> Result<(Signer, Head), Error> {
    let Some(head) = Head::read(dir)? else { return create(dir, key_path, origin) };
    check_not_older(dir, &head)?;
    Ok((existing_key(key_path, &head, origin)?, head))
}

/// A power cut takes heads back to the durable one and never behind it.
fn check_not_older(dir: &Path, head: &Head) -> Result<(), Error> {
    match Head::read_durable(dir)?.map(|durable| durable.signed.size) {
        Some(seen) if head.signed.size < seen => Err(Damage::of("head", Kind::HeadWentBack { seen }).into()),
        Some(_) | None => Ok(()),
    }
}

/// The key of a journal that is there, once it is known to have signed the head.
fn existing_key(path: &Path, head: &Head, origin: &str) -> Result<Signer, Error> {
    let found = head.signed.origin();
    if found != origin {
        return Err(Error::OtherOrigin { expected: origin.to_owned(), found: found.to_owned() });
    }
    let missing = || Error::Key { path: path.to_owned(), problem: KeyProblem::Missing };
    let signer = Signer::load(path, origin)?.ok_or_else(missing)?;
    if !head.signed.is_signed_by(&signer.verifier()) {
        return Err(Damage::of("head", Kind::Signature).into());
    }
    Ok(signer)
}

/// Makes an empty journal: first segment, then the head. A crash in between leaves no head, and is begun anew.
fn create(dir: &Path, key_path: &Path, origin: &str) -> Result<(Signer, Head), Error> {
    let mut id = [0; 16];
    let random = getrandom(&mut id, GetRandomFlags::empty()).map_err(std::io::Error::from);
    random.map_err(Error::unwritable("draw an id for", dir))?;
    let identity = Identity { origin: origin.to_owned(), journal: JournalId(id) };
    let offset = identity.header_length() as u64;
    if Listing::read(dir)?.0.iter().any(|(first, length)| *first > 0 || *length > offset) {
        return Err(Damage::of("head", Kind::HeadMissing).into());
    }
    let signer = match Signer::load(key_path, origin)? {
        Some(signer) => signer,
        None => Signer::create(key_path, origin)?,
    };
    segment::create(dir, &identity, 0)?;
    let tree = Frontier::default();
    let signed = signer.sign(&identity, 0, tree.root(), Position { segment: 0, offset });
    let head = Head { signed, tree };
    head.write(dir, Durability::Power)?;
    files::sync_parent(dir)?;
    Ok((signer, head))
}
