//! What goes wrong, and when.

use super::dice::Dice;
use super::{SWEEP_MS, THRESHOLD_MS};

/// Kinds of faults. Every one is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// The store stands still; what was sent waits.
    StorePause(u64),
    /// The store is gone and comes back; what was sent is lost, and workers are slower than the reaper to be back.
    StoreRestart(u64),
    /// The store restarts again and again.
    StoreFlaps {
        times: u64,
        up_ms: u64,
        down_ms: u64,
    },
    /// The store can be read only.
    ReadOnly(u64),
    /// The store's clock jumps.
    ClockForward(u64),
    ClockBack(u64),
    /// The store's clock runs faster or slower, in percent.
    ClockRate(u64),
    /// One worker stands still.
    WorkerPause(usize, u64),
    /// One worker ends without a word; whether its end can be proven, and how long until it is started again.
    WorkerCrash {
        worker: usize,
        proven: bool,
        away_ms: u64,
    },
    /// One worker goes in order.
    WorkerGoes {
        worker: usize,
        away_ms: u64,
    },
    /// One worker's beats do not come, and its process is seen.
    BeatsStuck(usize, u64),
    /// One worker cannot send, hear, or both.
    WorkerCut {
        worker: usize,
        to: bool,
        from: bool,
        ms: u64,
    },
    /// No worker can send, while the reaper can.
    WorkersCut(u64),
    /// A reaper stands still, ends, gives its lease up, or is cut off.
    ReaperPause(usize, u64),
    ReaperCrash(usize),
    ReaperReleases(usize),
    ReaperCut {
        reaper: usize,
        to: bool,
        from: bool,
        ms: u64,
    },
    /// Everything takes seconds, and workers' ways are longer.
    Congestion(u64),
    /// A person holds a job, also one that runs, and releases it later.
    JobHeld(usize),
    /// So many of a thousand messages are lost, doubled, or minutes late.
    Loss {
        per_mille: u64,
        ms: u64,
    },
    Doubled {
        per_mille: u64,
        ms: u64,
    },
    Late {
        per_mille: u64,
        ms: u64,
    },
}

impl Fault {
    /// What it is called in the table of coverage.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::StorePause(_) => "store paused",
            Self::StoreRestart(_) => "store restarted",
            Self::StoreFlaps { .. } => "store restarted again and again",
            Self::ReadOnly(_) => "store read only",
            Self::ClockForward(_) => "store's clock jumps forward",
            Self::ClockBack(_) => "store's clock jumps back",
            Self::ClockRate(_) => "store's clock at another rate",
            Self::WorkerPause(..) => "worker paused",
            Self::WorkerCrash { proven: true, .. } => "worker dead, proven",
            Self::WorkerCrash { proven: false, .. } => "worker dead",
            Self::WorkerGoes { .. } => "worker goes in order",
            Self::BeatsStuck(..) => "beats stuck",
            Self::WorkerCut { to: true, from: true, .. } => "worker cut off",
            Self::WorkerCut { to: true, .. } => "worker cannot send",
            Self::WorkerCut { .. } => "worker cannot hear",
            Self::WorkersCut(_) => "all workers cut off",
            Self::ReaperPause(..) => "reaper paused",
            Self::ReaperCrash(_) => "reaper dead",
            Self::ReaperReleases(_) => "lease given up",
            Self::ReaperCut { to: true, from: true, .. } => "reaper cut off",
            Self::ReaperCut { to: true, .. } => "reaper cannot send",
            Self::ReaperCut { .. } => "reaper cannot hear",
            Self::JobHeld(_) => "job held by a person",
            Self::Congestion(_) => "everything slow",
            Self::Loss { .. } => "messages lost",
            Self::Doubled { .. } => "messages doubled",
            Self::Late { .. } => "messages late",
        }
    }
}

/// One of the faults that must do no harm, with everything about it thrown.
pub(super) fn any(dice: &mut Dice, workers: usize, reapers: usize) -> Fault {
    let t = THRESHOLD_MS;
    let worker = usize::try_from(dice.between(0, workers as u64)).unwrap();
    let reaper = usize::try_from(dice.between(0, reapers as u64)).unwrap();
    let (to, from) = *dice.pick(&[(true, true), (true, false), (false, true)]);
    // Of very different lengths: most trouble sits at the edges of the threshold.
    let span = match dice.between(0, 4) {
        0 => dice.between(100, SWEEP_MS * 2),
        1 => dice.between(SWEEP_MS, t * 9 / 10),
        2 => dice.between(t - SWEEP_MS, t + SWEEP_MS * 4),
        _ => dice.between(t, t * 10),
    };
    match dice.between(0, 23) {
        0 => Fault::StorePause(span),
        1 | 2 => Fault::StoreRestart(span.min(t * 3)),
        3 => Fault::StoreFlaps {
            times: dice.between(3, 25),
            up_ms: dice.between(SWEEP_MS * 2, SWEEP_MS * 3),
            down_ms: dice.between(1_000, SWEEP_MS * 2),
        },
        4 => Fault::ReadOnly(span.min(t * 5 / 2)),
        5 => Fault::ClockForward(dice.between(1_000, 7_200_000)),
        6 => Fault::ClockBack(dice.between(1_000, 7_200_000)),
        7 => Fault::ClockRate(dice.between(50, 195)),
        8 | 9 => Fault::WorkerPause(worker, span),
        10 => Fault::WorkerCrash { worker, proven: dice.chance(500), away_ms: dice.between(1_000, t * 4) },
        11 => Fault::WorkerGoes { worker, away_ms: dice.between(1_000, t * 2) },
        12 => Fault::BeatsStuck(worker, span),
        13 => Fault::WorkerCut { worker, to, from, ms: span },
        14 => Fault::WorkersCut(dice.between(t / 2, t * 3)),
        15 => Fault::ReaperPause(reaper, span),
        16 => *dice.pick(&[Fault::ReaperCrash(reaper), Fault::ReaperReleases(reaper)]),
        17 => Fault::ReaperCut { reaper, to, from, ms: span },
        18 | 19 => Fault::Loss { per_mille: dice.between(20, 250), ms: span },
        20 => Fault::JobHeld(worker),
        21 => Fault::Doubled { per_mille: dice.between(20, 500), ms: span },
        _ => Fault::Late { per_mille: dice.between(20, 200), ms: span },
    }
}
