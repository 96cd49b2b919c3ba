//! Signed heads: C2SP signed notes in the form of a tlog checkpoint, with two extension lines.
//!
//! ```text
//! palisade/shop/web-1                              origin
//! 1042                                             records
//! 3q2+7w...=                                       root, base64
//! journal 8f2c0a...                                extension: which journal
//! end 0 716823                                     extension: segment and byte where these records end
//!
//! — palisade/shop/web-1 x08go/ZJkuBS...=           Ed25519 over the lines above, behind 4 bytes of key id
//! ```

use std::fmt;
use std::path::Path;

use ed25519_dalek::{Signature, VerifyingKey};
use palisade_core::canonical;
use sha2::{Digest as _, Sha256};

use crate::base64;
use crate::error::{Error, KeyProblem};
use crate::files;
use crate::segment::{Identity, JournalId, Position};
use crate::tree::Hash;

/// Marks Ed25519 in note keys.
pub(crate) const ED25519: u8 = 1;

/// Refuses names that a note cannot carry.
pub(crate) fn check_origin(origin: &str) -> Result<(), Error> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    if origin.is_empty() || origin.len() > 200 || origin.contains(bad) {
        return Err(Error::Origin { origin: origin.to_owned() });
    }
    Ok(())
}

/// The first four bytes of `SHA-256(name, "\n", 0x01, key)`: which key a signature line means.
pub(crate) fn key_id(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let digest = Sha256::new()
        .chain_update(name)
        .chain_update(b"\n")
        .chain_update([ED25519])
        .chain_update(key.as_bytes())
        .finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// A public key with its name, in note format: `name+hash+base64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
}

impl VerifierKey {
    pub(crate) const fn new(name: String, key: VerifyingKey) -> Self {
        Self { name, key }
    }

    /// The key that `text` writes; white space around it is left out.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (name, rest) = text.split_once('+')?;
        let (_, encoded) = rest.split_once('+')?;
        let [ED25519, key @ ..] = base64::decode_array::<33>(encoded)? else { return None };
        let key = Self { name: name.to_owned(), key: VerifyingKey::from_bytes(&key).ok()? };
        (check_origin(name).is_ok() && key.to_string() == text).then_some(key)
    }

    /// The key in a file.
    ///
    /// # Errors
    /// [`Error::Unreadable`], or [`Error::Key`] if the file holds none.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let malformed = || Error::Key { path: path.to_owned(), problem: KeyProblem::Malformed };
        let text = String::from_utf8(files::read_small(path)?).map_err(|_not_text| malformed())?;
        Self::parse(&text).ok_or_else(malformed)
    }

    /// The name that signature lines carry: the journal's origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// Whether `signature`, in the form that [`crate::Journal::sign_text`] gives, was made by this key over `text`.
    #[must_use]
    pub fn has_signed(&self, text: &str, signature: &str) -> bool {
        let Some((name, encoded)) = signature.split_once(' ') else { return false };
        name == self.name
            && base64::decode_array(encoded).is_some_and(|signature| self.signed(text, &signature))
    }

    /// Whether `signature` (key id, then Ed25519) was made by this key over `text`.
    pub(crate) fn signed(&self, text: &str, signature: &[u8; 68]) -> bool {
        let (id, ed25519) = signature.split_first_chunk::<4>().expect("68 bytes have 4 in front");
        let Ok(ed25519) = Signature::from_slice(ed25519) else { return false };
        *id == key_id(&self.name, &self.key) && self.key.verify_strict(text.as_bytes(), &ed25519).is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![ED25519];
        bytes.extend_from_slice(self.key.as_bytes());
        let id = canonical::hex(&key_id(&self.name, &self.key));
        write!(f, "{}+{id}+{}", self.name, base64::encode(&bytes))
    }
}

/// A signed root over the first `size` records. Its `Display` is the note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    pub(crate) identity: Identity,
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) end: Position,
    pub(crate) signature: [u8; 68],
}

impl SignedHead {
    /// The text that is signed.
    pub(crate) fn body(identity: &Identity, size: u64, root: &Hash, end: Position) -> String {
        let Identity { origin, journal } = identity;
        let root = base64::encode(root);
        format!("{origin}\n{size}\n{root}\njournal {journal}\nend {} {}\n", end.segment, end.offset)
    }

    /// The head that `note` writes. Its signature is not looked at; see [`SignedHead::is_signed_by`].
    #[must_use]
    pub fn parse(note: &str) -> Option<Self> {
        let (body, signature) = note.split_once("\n\n")?;
        let mut lines = body.lines();
        let origin = lines.next()?.to_owned();
        let size = lines.next()?.parse().ok()?;
        let root = base64::decode_array(lines.next()?)?;
        let journal = JournalId::parse(lines.next()?.strip_prefix("journal ")?)?;
        let (segment, offset) = lines.next()?.strip_prefix("end ")?.split_once(' ')?;
        let end = Position { segment: segment.parse().ok()?, offset: offset.parse().ok()? };
        let signature = base64::decode_array(signature.trim_end().rsplit_once(' ')?.1)?;
        let head = Self { identity: Identity { origin, journal }, size, root, end, signature };
        // One text for one head, so that no byte of it can change unseen.
        (head.to_string() == note).then_some(head)
    }

    /// Whether `key` signed it, under the name of its origin.
    #[must_use]
    pub fn is_signed_by(&self, key: &VerifierKey) -> bool {
        let body = Self::body(&self.identity, self.size, &self.root, self.end);
        key.name == self.identity.origin && key.signed(&body, &self.signature)
    }

    /// Name of the journal: `palisade/<organisation>/<host>`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.identity.origin
    }

    /// The journal that it was signed for.
    #[must_use]
    pub const fn journal(&self) -> JournalId {
        self.identity.journal
    }

    /// Number of records that it covers.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// RFC 6962 root over them.
    #[must_use]
    pub const fn root(&self) -> &Hash {
        &self.root
    }
}

impl fmt::Display for SignedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = Self::body(&self.identity, self.size, &self.root, self.end);
        writeln!(f, "{body}\n— {} {}", self.identity.origin, base64::encode(&self.signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Signer;

    /// The example of Go's `golang.org/x/mod/sumdb/note`.
    const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                           then you don't know what your problem is.\n";
    const GO_SIGNATURE: &str =
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";

    fn head() -> (SignedHead, VerifierKey) {
        let signer = Signer::from_seed("palisade/here", [7; 32]);
        let identity = Identity { origin: "palisade/here".into(), journal: JournalId([1; 16]) };
        let head = signer.sign(&identity, 3, [9; 32], Position { segment: 0, offset: 400 });
        (head, signer.verifier())
    }

    #[test]
    fn the_example_of_gos_note_package_verifies() {
        let key = VerifierKey::parse(GO_KEY).unwrap();
        let signature = base64::decode_array(GO_SIGNATURE).unwrap();
        assert!(key.signed(GO_TEXT, &signature));
        assert!(!key.signed(&GO_TEXT.replace("answer", "answers"), &signature));
        assert_eq!(key.to_string(), GO_KEY);
    }

    #[test]
    fn a_head_comes_back_from_its_note_and_verifies() {
        let (head, key) = head();
        let parsed = SignedHead::parse(&head.to_string()).unwrap();
        assert_eq!(parsed, head);
        assert!(parsed.is_signed_by(&key));
    }

    #[test]
    fn every_altered_byte_of_a_note_is_noticed() {
        let (head, key) = head();
        let note = head.to_string().into_bytes();
        for place in 0..note.len() {
            for mask in [0x01, 0x20, 0x80] {
                let mut altered = note.clone();
                altered[place] ^= mask;
                let accepted = String::from_utf8(altered)
                    .ok()
                    .and_then(|text| SignedHead::parse(&text))
                    .is_some_and(|head| head.is_signed_by(&key));
                assert!(!accepted, "byte {place} ^ {mask:#x}");
            }
        }
    }

    #[test]
    fn another_key_or_another_name_does_not_verify() {
        let (head, _) = head();
        assert!(!head.is_signed_by(&Signer::from_seed("palisade/here", [8; 32]).verifier()));
        assert!(!head.is_signed_by(&Signer::from_seed("palisade/else", [7; 32]).verifier()));
    }

    #[test]
    fn a_text_is_signed_by_one_key_under_one_name() {
        let signer = Signer::from_seed("palisade/here", [7; 32]);
        let (text, signature) = ("palisade-stamp/1\n", signer.sign_text("palisade-stamp/1\n"));
        assert!(signer.verifier().has_signed(text, &signature));
        assert!(!signer.verifier().has_signed("palisade-stamp/2\n", &signature));
        assert!(!Signer::from_seed("palisade/here", [8; 32]).verifier().has_signed(text, &signature));
        for altered in ["", "palisade/here", &signature.replace("here", "else"), &format!("{signature}=")] {
            assert!(!signer.verifier().has_signed(text, altered), "{altered}");
        }
    }

    #[test]
    fn a_key_with_a_wrong_hash_type_or_name_is_refused() {
        for text in [
            "",
            "PeterNeumann",
            &GO_KEY.replace("c74f20a3", "c74f20a4"),
            &GO_KEY.replace("+ARpc", "+AhpR"),
            &GO_KEY.replace("PeterNeumann", "Peter Neumann"),
            &GO_KEY.replace("PeterNeumann", ""),
        ] {
            assert_eq!(VerifierKey::parse(text), None, "{text:?}");
        }
        assert!(VerifierKey::parse(&format!("{GO_KEY}\n")).is_some(), "a file ends in a newline");
    }

    #[test]
    fn an_origin_is_one_word() {
        check_origin("palisade/shop/web-1").unwrap();
        for origin in ["", "a b", "a\nb", "a+b", &"x".repeat(201)] {
            assert!(matches!(check_origin(origin), Err(Error::Origin { .. })), "{origin:?}");
        }
    }
}
