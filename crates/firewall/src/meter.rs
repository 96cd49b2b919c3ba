//! How many bytes all connections hold together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most bytes that all connections hold for frames that are not whole yet, or not taken yet.
pub(crate) const TOTAL_CAP: usize = 64 * 1024 * 1024;

/// One connection's share of the total. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Meter {
    total: Arc<AtomicUsize>,
    mine: usize,
}

impl Meter {
    pub(crate) const fn new(total: Arc<AtomicUsize>) -> Self {
        Self { total, mine: 0 }
    }

    /// Notes what this connection holds now. `false` if that is too much for all of them together.
    #[must_use]
    pub(crate) fn set(&mut self, bytes: usize) -> bool {
        let before = self.mine;
        self.mine = bytes;
        if bytes <= before {
            self.total.fetch_sub(before - bytes, Ordering::Relaxed);
            return true;
        }
        self.total.fetch_add(bytes - before, Ordering::Relaxed) + (bytes - before) <= TOTAL_CAP
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.total.fetch_sub(self.mine, Ordering::Relaxed);
    }
}
