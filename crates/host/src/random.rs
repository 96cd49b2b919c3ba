//! Randomness from the kernel, as the values of the core that are made of it.

use palisade_core::redact::Salt;
use palisade_core::request::OperationId;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::clock;

/// The kernel gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("cannot get {bytes} random bytes from the kernel")]
pub struct Error {
    bytes: usize,
    #[source]
    source: Errno,
}

/// `N` random bytes, at most 256, fit for keys.
///
/// # Errors
/// If the kernel refuses, as a seccomp filter without `getrandom` does.
pub fn bytes<const N: usize>() -> Result<[u8; N], Error> {
    // So few bytes are given whole or not at all (getrandom(2)).
    const { assert!(N <= 256, "more would have to be asked for in parts") }
    let mut random = [0_u8; N];
    getrandom(&mut random, GetRandomFlags::empty()).map_err(|source| Error { bytes: N, source })?;
    Ok(random)
}

/// A new operation id; later ids sort after earlier ones as far as the wall clock does.
///
/// # Errors
/// As [`bytes`].
pub fn operation_id() -> Result<OperationId, Error> {
    Ok(OperationId::new(clock::now(), bytes()?))
}

/// A new salt for one restore bundle.
///
/// # Errors
/// As [`bytes`].
pub fn salt() -> Result<Salt, Error> {
    Ok(Salt::new(bytes()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_salts_never_repeat() {
        let ids: std::collections::BTreeSet<_> = (0..100).map(|_| operation_id().unwrap()).collect();
        assert_eq!(ids.len(), 100);
        assert!(salt().unwrap() != salt().unwrap());
        assert_ne!(bytes::<16>().unwrap(), [0; 16]);
    }
}
