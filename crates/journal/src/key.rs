//! The signing key: made once, readable by its owner only, never shown.
//!
//! The file holds Go's note format, `PRIVATE+KEY+name+hash+base64(0x01, seed)`, with mode 0400. Beside it lies
//! the verifier key with the extension `pub`, which is what `verify` needs elsewhere.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer as _, SigningKey};
use palisade_core::canonical;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::base64;
use crate::error::{Error, KeyProblem};
use crate::files::{self, Durability};
use crate::note::{ED25519, SignedHead, VerifierKey, key_id};
use crate::segment::{Identity, Position};
use crate::tree::Hash;

const PREFIX: &str = "PRIVATE+KEY+";

/// Signs heads under the journal's origin.
pub(crate) struct Signer {
    key: SigningKey,
    verifier: VerifierKey,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("verifier", &self.verifier.to_string()).finish_non_exhaustive()
    }
}

impl Signer {
    pub(crate) fn from_seed(origin: &str, seed: [u8; 32]) -> Self {
        let key = SigningKey::from_bytes(&seed);
        let verifier = VerifierKey::new(origin.to_owned(), key.verifying_key());
        Self { key, verifier }
    }

    pub(crate) fn verifier(&self) -> VerifierKey {
        self.verifier.clone()
    }

    pub(crate) fn sign(&self, identity: &Identity, size: u64, root: Hash, end: Position) -> SignedHead {
        let signature = self.signature(&SignedHead::body(identity, size, &root, end));
        SignedHead { identity: identity.clone(), size, root, end, signature }
    }

    /// Key id, then Ed25519, over `text`.
    fn signature(&self, text: &str) -> [u8; 68] {
        let mut signature = [0; 68];
        signature[..4].copy_from_slice(&key_id(self.verifier.name(), self.verifier.key()));
        signature[4..].copy_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        signature
    }

    /// What a note carries behind its text: `NAME BASE64`.
    pub(crate) fn sign_text(&self, text: &str) -> String {
        format!("{} {}", self.verifier.name(), base64::encode(&self.signature(text)))
    }

    /// The key in `path`, or `None` where there is no file.
    pub(crate) fn load(path: &Path, origin: &str) -> Result<Option<Self>, Error> {
        let problem = |problem| Error::Key { path: path.to_owned(), problem };
        let mut file = match files::open(path) {
            Ok(file) => file,
            Err(Error::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(Error::Unreadable { source, .. })
                if source.raw_os_error() == Some(Errno::LOOP.raw_os_error()) =>
            {
                return Err(problem(KeyProblem::NotAFile));
            }
            Err(error) => return Err(error),
        };
        check_owner_and_mode(&file, path)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(Error::unreadable("read", path))?;
        let (name, seed) = parse(text.trim_end()).ok_or_else(|| problem(KeyProblem::Malformed))?;
        if name != origin {
            return Err(problem(KeyProblem::OtherOrigin));
        }
        Ok(Some(Self::from_seed(origin, seed)))
    }

    /// Makes a new key. The caller holds the journal's lock, so nobody else makes one meanwhile.
    pub(crate) fn create(path: &Path, origin: &str) -> Result<Self, Error> {
        let mut seed = [0; 32];
        // So few bytes are given whole or not at all (getrandom(2)).
        let random = getrandom(&mut seed, GetRandomFlags::empty()).map_err(io::Error::from);
        random.map_err(Error::unwritable("draw a key for", path))?;
        let signer = Self::from_seed(origin, seed);
        files::replace(path, format!("{}\n", signer.secret_text()).as_bytes(), 0o400, Durability::Power)?;
        Ok(signer)
    }

    /// Writes the verifier key beside the key, if it is not there.
    pub(crate) fn publish(&self, key_path: &Path) -> Result<(), Error> {
        let (path, text) = (public_path(key_path), format!("{}\n", self.verifier));
        match files::read_small_if_there(&path)? {
            Some(found) if found == text.as_bytes() => Ok(()),
            Some(_) => Err(Error::Key { path, problem: KeyProblem::OtherKey }),
            None => files::replace(&path, text.as_bytes(), 0o644, Durability::Power),
        }
    }

    fn secret_text(&self) -> String {
        let mut bytes = vec![ED25519];
        bytes.extend_from_slice(self.key.as_bytes());
        let id = canonical::hex(&key_id(self.verifier.name(), self.verifier.key()));
        format!("{PREFIX}{}+{id}+{}", self.verifier.name(), base64::encode(&bytes))
    }
}

/// Where the verifier key of the key in `key_path` lies.
#[must_use]
pub fn public_path(key_path: &Path) -> PathBuf {
    key_path.with_extension("pub")
}

fn parse(text: &str) -> Option<(&str, [u8; 32])> {
    let (name, rest) = text.strip_prefix(PREFIX)?.split_once('+')?;
    let [ED25519, seed @ ..] = base64::decode_array::<33>(rest.split_once('+')?.1)? else { return None };
    (Signer::from_seed(name, seed).secret_text() == text).then_some((name, seed))
}

fn check_owner_and_mode(file: &File, path: &Path) -> Result<(), Error> {
    let metadata = file.metadata().map_err(Error::unreadable("look at", path))?;
    let problem = if !metadata.is_file() {
        KeyProblem::NotAFile
    } else if metadata.mode() & 0o077 != 0 {
        KeyProblem::TooOpen
    } else if metadata.uid() != rustix::process::geteuid().as_raw() {
        KeyProblem::ForeignOwner
    } else {
        return Ok(());
    };
    Err(Error::Key { path: path.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const ORIGIN: &str = "palisade/here";

    fn problem_of(result: Result<Option<Signer>, Error>) -> KeyProblem {
        match result {
            Err(Error::Key { problem, .. }) => problem,
            other => panic!("no key problem: {other:?}"),
        }
    }

    fn with_key() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.key");
        Signer::create(&path, ORIGIN).unwrap();
        (folder, path)
    }

    #[test]
    fn a_made_key_is_the_owners_alone_and_loads_again() {
        let (_folder, path) = with_key();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o400);
        let (one, two) =
            (Signer::load(&path, ORIGIN).unwrap().unwrap(), Signer::load(&path, ORIGIN).unwrap().unwrap());
        assert_eq!(one.verifier(), two.verifier());
    }

    #[test]
    fn two_keys_differ() {
        let ((_one, first), (_two, second)) = (with_key(), with_key());
        assert_ne!(std::fs::read(first).unwrap(), std::fs::read(second).unwrap());
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let (_folder, path) = with_key();
        for mode in [0o440, 0o404, 0o420, 0o644] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(problem_of(Signer::load(&path, ORIGIN)), KeyProblem::TooOpen, "{mode:o}");
        }
    }

    #[test]
    fn a_link_or_a_folder_is_no_key() {
        let (folder, path) = with_key();
        let link = folder.path().join("link.key");
        symlink(&path, &link).unwrap();
        assert_eq!(problem_of(Signer::load(&link, ORIGIN)), KeyProblem::NotAFile);
        assert_eq!(problem_of(Signer::load(folder.path(), ORIGIN)), KeyProblem::NotAFile);
    }

    #[test]
    fn a_key_for_another_origin_or_with_altered_text_is_refused() {
        let (_folder, path) = with_key();
        assert_eq!(problem_of(Signer::load(&path, "palisade/else")), KeyProblem::OtherOrigin);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        for altered in [String::new(), text.replace("here", "hers"), text.replace("PRIVATE", "private")] {
            files::write_new(&path, altered.as_bytes(), 0o400, Durability::Process).unwrap();
            assert_eq!(problem_of(Signer::load(&path, ORIGIN)), KeyProblem::Malformed, "{altered:?}");
        }
    }

    #[test]
    fn the_verifier_key_lies_beside_it_and_a_wrong_one_is_not_overwritten() {
        let (folder, path) = with_key();
        let signer = Signer::load(&path, ORIGIN).unwrap().unwrap();
        signer.publish(&path).unwrap();
        signer.publish(&path).unwrap();
        let public = folder.path().join("journal.pub");
        assert_eq!(VerifierKey::read(&public).unwrap(), signer.verifier());
        std::fs::write(&public, "something else").unwrap();
        assert!(matches!(signer.publish(&path), Err(Error::Key { problem: KeyProblem::OtherKey, .. })));
        assert!(matches!(VerifierKey::read(&public), Err(Error::Key { .. })));
    }

    #[test]
    fn the_key_does_not_show_in_debug() {
        let signer = Signer::from_seed(ORIGIN, [0xa7; 32]);
        let shown = format!("{signer:?} {signer:#?}");
        let secret = signer.secret_text();
        let encoded = secret.rsplit_once('+').unwrap().1;
        assert!(shown.contains(ORIGIN));
        assert!(!shown.contains(encoded) && !shown.contains("a7a7") && !shown.contains("167"), "{shown}");
    }
}
