//! One byte form for one value, so that it can be hashed.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// The canonical JSON of `value`: keys sorted, no spaces.
///
/// # Panics
/// If the value has map keys that are not strings or fails to serialise; types of this crate do neither.
#[must_use]
pub fn json<T: Serialize + ?Sized>(value: &T) -> String {
    // `serde_json::Value` keeps its keys in a BTreeMap, hence sorted.
    let value = serde_json::to_value(value).expect("types of the pure crates always serialise");
    value.to_string()
}

/// SHA-256 of the canonical JSON, in lowercase hex.
#[must_use]
pub fn digest<T: Serialize + ?Sized>(value: &T) -> String {
    sha256_hex(json(value).as_bytes())
}

/// SHA-256 in lowercase hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lowercase hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_equal_bytes() {
        let one: serde_json::Value = serde_json::from_str(r#"{"b": 1, "a": [true, null]}"#).unwrap();
        assert_eq!(json(&one), r#"{"a":[true,null],"b":1}"#);
    }

    #[test]
    fn the_digest_is_sha_256() {
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
