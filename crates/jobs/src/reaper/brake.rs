//! The brake: silence of many at once is a sign of a fault of ours, not of theirs.

use std::time::Duration;

use serde::Serialize;

/// Why nothing is condemned by silence for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum Held {
    /// More are suspect than one pass may take.
    Brake {
        /// So many are suspect.
        suspects: usize,
        /// So many may be.
        most: usize,
        /// Of so many.
        population: usize,
    },
}

/// Counts for how long too many have been suspect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Brake {
    held: Option<Mass>,
    lifted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mass {
    /// Observed time since too many are suspect.
    lasted: Duration,
    /// Whether somebody has shown a sign of life since.
    alive: bool,
}

impl Brake {
    /// Takes in one sweep. `longest` is the longest threshold among the suspects, `beat` whether anybody at all has
    /// shown a sign of life in this sweep.
    pub(super) fn see(&mut self, too_many: bool, charge: Duration, beat: bool) {
        if !too_many {
            (self.held, self.lifted) = (None, false);
            return;
        }
        let mass = self.held.get_or_insert(Mass { lasted: Duration::ZERO, alive: false });
        mass.lasted += charge;
        mass.alive |= beat;
    }

    /// Whether it holds. It lets go after twice the threshold, once others have been seen alive through the same
    /// store, or when an operator says so.
    pub(super) fn holds(&self, longest: Duration) -> bool {
        self.held.is_some_and(|mass| !(self.lifted || mass.alive && mass.lasted >= longest * 2))
    }

    /// An operator has looked and says that they are dead. Counts until few are suspect again.
    pub(super) fn lift(&mut self) {
        self.lifted = self.held.is_some();
    }

    /// It could not be seen for a while: the time starts anew.
    pub(super) fn look_anew(&mut self) {
        if let Some(mass) = &mut self.held {
            (mass.lasted, mass.alive) = (Duration::ZERO, false);
        }
    }
}
