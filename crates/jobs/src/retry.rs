//! How long a failed job waits.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Exponential backoff with a ceiling and jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// Before the second attempt, in milliseconds; doubled for each further one.
    pub first_ms: u64,
    /// Never longer than this, in milliseconds.
    pub most_ms: u64,
}

impl Backoff {
    /// 10 s, doubled up to one hour.
    pub const DEFAULT: Self = Self { first_ms: 10_000, most_ms: 3_600_000 };

    /// The wait after `attempts` failed attempts; `random` spreads it over the upper half, so that jobs that failed
    /// together do not come back together.
    #[must_use]
    pub fn after(self, attempts: u16, random: u64) -> Duration {
        let doublings = u32::from(attempts.saturating_sub(1)).min(62);
        let whole = self.first_ms.saturating_mul(1 << doublings).min(self.most_ms);
        let half = whole / 2;
        Duration::from_millis(whole - half + if half == 0 { 0 } else { random % (half + 1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_ceiling_and_never_leaves_the_upper_half() {
        let backoff = Backoff { first_ms: 1_000, most_ms: 5_000 };
        for (attempts, whole) in [(1, 1_000), (2, 2_000), (3, 4_000), (4, 5_000), (u16::MAX, 5_000)] {
            for random in [0, 1, 499, u64::MAX] {
                let wait = backoff.after(attempts, random).as_millis();
                assert!((whole / 2..=whole).contains(&wait), "{attempts}: {wait}");
            }
        }
    }
}
