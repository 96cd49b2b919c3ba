//! What a judge is set to.

use std::time::Duration;

/// Settings of a judge. Thresholds of single subjects are the subjects' own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How often it sweeps.
    pub sweep_every: Duration,
    /// The shortest threshold that counts here, whatever a row says.
    pub floor: Duration,
    /// How long a worker may take to come back after the store was gone.
    pub reconnect_grace: Duration,
    /// So many may always be reaped in one pass.
    pub brake_least: usize,
    /// And so many of a hundred.
    pub brake_percent: usize,
}

/// Settings with which no judge can work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLimits {
    /// Sweeps too often or too seldom.
    #[error("sweeps every {0:?} are not possible: take 50 ms to 10 minutes")]
    Sweep(Duration),
    /// Would never, or always, brake.
    #[error("a brake at {0} % is none: take 1 to 100")]
    Percent(usize),
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sweep_every: Duration::from_secs(5),
            floor: Duration::ZERO,
            reconnect_grace: Duration::from_secs(60),
            brake_least: 2,
            brake_percent: 30,
        }
    }
}

impl Limits {
    /// How many sweeps of its own a term needs before it condemns.
    pub(crate) const FRESH_SWEEPS: u32 = 4;
    /// How many beats.
    pub(crate) const FRESH_BEATS: u32 = 3;

    /// Checks the settings.
    ///
    /// # Errors
    /// [`InvalidLimits`].
    pub fn check(&self) -> Result<(), InvalidLimits> {
        if !(Duration::from_millis(50)..=Duration::from_secs(600)).contains(&self.sweep_every) {
            return Err(InvalidLimits::Sweep(self.sweep_every));
        }
        if !(1..=100).contains(&self.brake_percent) {
            return Err(InvalidLimits::Percent(self.brake_percent));
        }
        Ok(())
    }

    /// How many may be reaped in one pass over `population` subjects.
    #[must_use]
    pub fn most(&self, population: usize) -> usize {
        self.brake_least.max(population.saturating_mul(self.brake_percent) / 100)
    }

    /// For how long a term has to have seen a subject silent before it condemns it: three beats, four sweeps, or the
    /// time that a worker may take to come back, whichever is longest.
    #[must_use]
    pub fn fresh(&self, beat_every: Duration) -> Duration {
        (beat_every * Self::FRESH_BEATS).max(self.sweep_every * Self::FRESH_SWEEPS).max(self.reconnect_grace)
    }
}
