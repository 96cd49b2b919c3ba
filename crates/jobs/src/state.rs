//! What a job may become.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a job stands.
///
/// ```text
/// scheduled -> ready -> running -> succeeded | cancelled | dead
///                ^        |-> retrying -> ready       (failed, attempts left)
///                |        |-> handover -> ready       (reaped: its worker is given time to notice)
///                |        '-> ready                   (drained: no attempt is charged)
///                '-- held (by a person while it waits, by its worker where resuming would be wrong,
///                          by the reaper where no attempt is left)
/// cancelled -> ready (resumed)     dead -> ready (retried)     held -> ready or scheduled (released)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not before its time.
    Scheduled,
    /// Waits for a worker.
    Ready,
    /// A worker holds a claim on it.
    Running,
    /// An attempt failed; the next one waits for its backoff.
    Retrying,
    /// Taken from a silent worker, and not given out before that worker must have stopped by itself.
    Handover,
    /// Waits for a person.
    Held,
    /// Done.
    Succeeded,
    /// Ended by a person or an app that asked for it.
    Cancelled,
    /// Failed for good. It can be retried by hand.
    Dead,
}

impl State {
    /// Every state, in the order of a job's life.
    pub const ALL: [Self; 9] = [
        Self::Scheduled,
        Self::Ready,
        Self::Running,
        Self::Retrying,
        Self::Handover,
        Self::Held,
        Self::Succeeded,
        Self::Cancelled,
        Self::Dead,
    ];

    /// Whether the job ended. A person can still retry or resume it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Cancelled | Self::Dead)
    }

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Handover => "handover",
            Self::Held => "held",
            Self::Succeeded => "succeeded",
            Self::Cancelled => "cancelled",
            Self::Dead => "dead",
        }
    }

    /// Whether `self -> to` is a step that a job may take.
    #[must_use]
    pub const fn may_become(self, to: Self) -> bool {
        match (self, to) {
            (Self::Running, Self::Running | Self::Scheduled) => false,
            (Self::Running, _) => true,
            // By hand: a retry of what ended, a release of what is held.
            (Self::Succeeded, _) => false,
            (Self::Held, to) => matches!(to, Self::Ready | Self::Scheduled | Self::Cancelled),
            (Self::Cancelled | Self::Dead, to) => matches!(to, Self::Ready),
            (Self::Scheduled | Self::Retrying | Self::Handover, to) => {
                matches!(to, Self::Ready | Self::Held | Self::Cancelled)
            }
            (Self::Ready, to) => matches!(to, Self::Running | Self::Held | Self::Cancelled),
        }
    }
}

/// A word that is no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no state of a job: scheduled, ready, running, retrying, handover, held, succeeded, cancelled or dead"
)]
pub struct NoState(String);

impl FromStr for State {
    type Err = NoState;

    fn from_str(word: &str) -> Result<Self, NoState> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == word);
        found.ok_or_else(|| NoState(word.to_owned()))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_waits_for_a_worker_can_begin_to_run() {
        for state in State::ALL {
            assert_eq!(state.may_become(State::Running), state == State::Ready, "{state}");
        }
    }

    #[test]
    fn what_succeeded_stays_so() {
        for to in State::ALL {
            assert!(!State::Succeeded.may_become(to), "{to}");
        }
    }

    #[test]
    fn every_word_is_read_as_it_is_written() {
        for state in State::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!("Running".parse::<State>().is_err());
    }
}
