//! Secrets leave no trace but a salted fingerprint.

use std::collections::BTreeMap;
use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::canonical::hex;

/// Random bytes that make fingerprints of one capture useless for guessing in another.
///
/// Kept only beside the values that it salts: in the restore bundle.
#[derive(Clone, PartialEq, Eq)]
pub struct Salt([u8; 32]);

impl Salt {
    /// A salt from 32 random bytes.
    #[must_use]
    pub const fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// The salt in hex, for the private file that it lives in.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }

    /// Keyed fingerprint of `value` under the variable's `name`: 64 bits of HMAC-SHA-256 in hex.
    #[must_use]
    pub fn fingerprint(&self, name: &str, value: &str) -> Fingerprint {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(&(name.len() as u64).to_be_bytes());
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
        Fingerprint(hex(&mac.finalize().into_bytes()[..8]))
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}

/// What stands in a snapshot where a value stood.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

/// Names of environment variables with fingerprints of their values.
pub type Fingerprints = BTreeMap<String, Fingerprint>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_under_one_salt_compare_equal_and_reveal_nothing() {
        let salt = Salt::new([7; 32]);
        let one = salt.fingerprint("DATABASE_URL", "postgres://u:hunter2@h/d");
        assert_eq!(one, salt.fingerprint("DATABASE_URL", "postgres://u:hunter2@h/d"));
        assert_ne!(one, salt.fingerprint("DATABASE_URL", "postgres://u:hunter3@h/d"));
        assert_ne!(one, salt.fingerprint("OTHER_URL", "postgres://u:hunter2@h/d"));
        assert_ne!(one, Salt::new([8; 32]).fingerprint("DATABASE_URL", "postgres://u:hunter2@h/d"));
        assert!(!format!("{one:?}{salt:?}").contains("hunter2"));
    }
}
