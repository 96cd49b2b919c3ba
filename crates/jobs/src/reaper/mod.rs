//! The reaper's rule: who is silent for so long, in time that could be *observed*, that its work may be taken.
//!
//! A timestamp in a row lies: it is written before a lock is waited for, by a clock that steps, and it grows old while
//! nobody can write. So the judge compares no timestamps. At each sweep it looks whether a counter has changed, and
//! charges the time since its last sweep to those whose counter has not, as far as it could have seen a change:
//!
//! * Time between two sweeps is charged by the slower of two clocks, the store's and the judge's own, and at most two
//!   sweeps of it. After a failed sweep or a restart of the store nothing is charged until workers had time to come
//!   back; a new term and a change of policy charge nothing once. What was charged before is **kept**: a team that
//!   deploys every hour still reaps at a threshold of sixty minutes.
//! * A subject is *silent*, then *suspect* from half its threshold on, then *condemned*, and *reaped* once the store
//!   has accepted that. Any change of its counter refutes it until then: the store compares the counter again.
//! * Condemning by silence needs every [`Gate`]: the threshold of the row, the whole silence seen steadily by this
//!   term for a while, the judge's own writes accepted all that while, few enough suspects at once, sweeps that are
//!   quick beside the threshold.
//! * A proven death ([`Proof`]) needs none of them.
//!
//! A job whose worker beats and which makes no progress is another matter: [`Paces`] tells of it.
//!
//! The rule is pure. It is given sweeps and gives rulings; who sweeps, and who writes, is elsewhere. Silence lives in
//! the judge's memory; what has been silent for long enough to matter is given back as [`Remembered`], for the store
//! to keep, so that the next term begins with it.

mod brake;
mod gate;
mod judge;
mod limits;
mod pace;
mod reason;
mod roll;
#[cfg(test)]
mod tests;
mod watch;

pub use brake::{Brake, Held};
pub use gate::Gate;
pub use judge::{Condemned, Counts, Ground, Judge, Remembered, Ruling, Silence};
pub use limits::{InvalidLimits, Limits};
pub use pace::{Idle, Paced, Paces, Step};
pub use reason::{Reaper, Reason};
pub use roll::{Place, Roll, reap_of_stuck, reaps};

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One that may be judged, as a sweep saw it: a worker, or a row of somebody else's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject<K, C> {
    /// Which one. A new start is a new subject.
    pub key: K,
    /// What changes with each sign of life. Compared for equality only.
    pub counter: C,
    /// After how much silence its work may be taken, as the store has it.
    pub reap_after: Duration,
    /// Whether its threshold was given to it for good, with its claims: another one then means other claims. Else it
    /// means that the policy has changed, and the subject is looked at anew.
    pub fixed: bool,
    /// How often it beats.
    pub beat_every: Duration,
    /// What proves that it is dead.
    pub proof: Option<Proof>,
}

/// Why a subject is dead for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// It said goodbye.
    Goodbye,
    /// No process has its pid and start time any more, on the boot on which it ran.
    ProcessGone,
    /// Its machine has started anew since.
    OtherBoot,
}

impl Proof {
    /// Its words, as the evidence of a reap has them.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Goodbye => "goodbye",
            Self::ProcessGone => "process gone",
            Self::OtherBoot => "another boot",
        }
    }
}

/// What a sweep saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep<K, C> {
    /// Which run of the store answered. Another one means that it was away in between, however shortly, and that
    /// workers may still be on their way back.
    pub store_run: u64,
    /// The store's clock in the statement that read the subjects, in microseconds from anywhere.
    pub store_us: u64,
    /// The judge's own boot clock when the answer was there, in microseconds.
    pub judge_us: u64,
    /// From the question to the answer.
    pub took: Duration,
    /// Whether a write of the judge's own, on the path that beats take, was accepted since the sweep before.
    pub canary: bool,
    /// Everybody who may be judged.
    pub subjects: Vec<Subject<K, C>>,
}
