//! What goes to and from the store.

use palisade_lease::Held;

use super::store::Incarnation;
use crate::reaper::{Proof, Remembered};

#[derive(Debug, Clone)]
pub(super) enum Ask {
    Register(Incarnation),
    Beat { who: Incarnation, beat: u64 },
    Goodbye(Incarnation),
    Claim(Incarnation),
    Checkpoint { job: usize, token: u64, sequence: u64 },
    Complete { job: usize, token: u64 },
    Acquire { holder: u64, ttl_ms: u64 },
    Renew { held: Held, ttl_ms: u64 },
    Release { held: Held },
    Sweep { first: bool },
    Reap { held: Held, who: Incarnation, beat: u64, proven: bool },
    Remember { held: Held, rows: Vec<Remembered<Incarnation, u64>>, forget: Vec<Incarnation> },
}

#[derive(Debug, Clone)]
pub(super) enum Answer {
    Noted,
    Beaten { beat: u64, holds: Option<(usize, u64)> },
    Claimed(Option<Claimed>),
    Written { token: u64, accepted: bool },
    Completed { token: u64, accepted: bool },
    Acquired(Option<Held>),
    Renewed(bool),
    Swept { store_run: u64, now_us: u64, workers: Vec<Seen>, remembered: Vec<Remembered<Incarnation, u64>> },
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Claimed {
    pub(super) job: usize,
    pub(super) token: u64,
    pub(super) checkpoint: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) who: Incarnation,
    pub(super) beat: u64,
    pub(super) proof: Option<Proof>,
}
