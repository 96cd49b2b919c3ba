//! The RFC 6962 Merkle tree over the records' payloads, as a compact range: O(log n) state for n records.
//!
//! A leaf is `SHA-256(0x00 || payload)`, a node `SHA-256(0x01 || left || right)`; the prefixes keep a node from
//! passing as a leaf. The empty tree's root is the hash of nothing.

use sha2::{Digest as _, Sha256};

/// A SHA-256 hash: leaf, node or root.
pub type Hash = [u8; 32];

/// Hash of one record's payload as a leaf.
#[must_use]
pub fn leaf(payload: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(payload).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The roots of the perfect subtrees that make up a tree of some size, largest first.
///
/// There is one for each bit that is set in the size, which is all that is needed to append and to give the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    hashes: Vec<Hash>,
}

impl Frontier {
    /// The frontier of a tree with `size` leaves, or `None` if that size needs another number of hashes.
    #[must_use]
    pub fn from_parts(size: u64, hashes: Vec<Hash>) -> Option<Self> {
        (hashes.len() == size.count_ones() as usize).then_some(Self { size, hashes })
    }

    /// Appends a leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut merged = leaf;
        for _ in 0..self.size.trailing_ones() {
            let left = self.hashes.pop().expect("each set bit of the size has a hash");
            merged = node(&left, &merged);
        }
        self.hashes.push(merged);
        self.size += 1;
    }

    /// Number of leaves.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Hashes of the perfect subtrees, largest first.
    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// Root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut smallest_first = self.hashes.iter().rev();
        let Some(last) = smallest_first.next() else { return Sha256::digest([]).into() };
        smallest_first.fold(*last, |right, left| node(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use palisade_core::canonical::hex;
    use proptest::prelude::*;

    use super::*;

    /// The leaves of the test vectors that Certificate Transparency implementations share.
    const LEAVES: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];

    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    /// RFC 6962 section 2.1, word for word: split at the largest power of two below the size.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [only] => *only,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node(&by_definition(&leaves[..split]), &by_definition(&leaves[split..]))
            }
        }
    }

    #[test]
    fn the_roots_of_the_known_vectors_come_out() {
        let mut tree = Frontier::default();
        assert_eq!(hex(&tree.root()), ROOTS[0], "empty tree");
        for (count, (payload, root)) in LEAVES.iter().zip(&ROOTS[1..]).enumerate() {
            tree.push(leaf(payload));
            assert_eq!(hex(&tree.root()), *root, "{} leaves", count + 1);
        }
    }

    #[test]
    fn a_frontier_with_a_hash_too_many_or_too_few_is_refused() {
        assert!(Frontier::from_parts(0, vec![]).is_some());
        assert!(Frontier::from_parts(5, vec![[1; 32]; 2]).is_some());
        assert!(Frontier::from_parts(5, vec![[1; 32]; 3]).is_none());
        assert!(Frontier::from_parts(5, vec![[1; 32]]).is_none());
        assert!(Frontier::from_parts(0, vec![[1; 32]]).is_none());
    }

    #[test]
    fn a_leaf_is_not_a_node() {
        let (left, right) = ([3; 32], [4; 32]);
        let as_payload: Vec<u8> = left.iter().chain(&right).copied().collect();
        assert_ne!(leaf(&as_payload), node(&left, &right));
    }

    proptest! {
        #[test]
        fn the_compact_range_agrees_with_the_definition(payloads in prop::collection::vec(any::<[u8; 3]>(), 0..200)) {
            let leaves: Vec<Hash> = payloads.iter().map(|payload| leaf(payload)).collect();
            let mut tree = Frontier::default();
            for one in &leaves {
                tree.push(*one);
            }
            prop_assert_eq!(tree.root(), by_definition(&leaves));
            prop_assert_eq!(tree.size(), leaves.len() as u64);
        }

        #[test]
        fn a_frontier_that_was_saved_goes_on_as_if_it_had_not(before in 0_u8..70, after in 1_u8..70) {
            let mut whole = Frontier::default();
            (0..before).for_each(|n| whole.push(leaf(&[n])));
            let mut restored = Frontier::from_parts(whole.size(), whole.hashes().to_vec()).unwrap();
            for n in 0..after {
                whole.push(leaf(&[n, n]));
                restored.push(leaf(&[n, n]));
            }
            prop_assert_eq!(whole, restored);
        }
    }
}
