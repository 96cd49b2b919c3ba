//! The designs that are compared: ours, and eleven that lack something.

/// How a judge comes to think that a worker is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judge {
    /// By the time in which the judge itself looked and nothing changed: our rule.
    Observed,
    /// By the age of the last beat on the server's clock.
    ServerAge,
    /// By the age of the last beat on the judge's own clock; that of the first reaper is one tick ahead.
    ClientAge,
}

/// What the transaction of a reap does with the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    /// There is no lease at all: every reaper judges.
    NoLease,
    /// A judge looks at the lease before it judges; the write does not (a lock in Redis).
    Unfenced,
    /// The write reads the lease and does not lock its row (a sub-select).
    Read,
    /// The write reads the lease's row and holds it until its end.
    Locked,
}

/// What happens to a reaped job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is given back and may be claimed again.
    Requeue,
    /// It is over, though nobody asked for that.
    Cancel,
}

/// A promise of the design. Its bit in a state says that it was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Promise {
    /// No job is reaped while its last accepted beat is at most the threshold old, on the server's clock.
    S1 = 1,
    /// A reap is written only under the term that is the lease's at that moment.
    S2 = 2,
    /// Once an attempt is over, nothing that carries it is accepted.
    S3 = 4,
    /// No job ends but by being done.
    S4a = 8,
    /// A job is done at most once.
    S4b = 16,
    /// The number of the last checkpoint never falls.
    S4c = 32,
    /// A job without a worker is taken up again within the bound.
    L1 = 64,
}

impl Promise {
    /// All of them.
    pub(crate) const ALL: [Self; 7] =
        [Self::S1, Self::S2, Self::S3, Self::S4a, Self::S4b, Self::S4c, Self::L1];

    /// Its name in the table.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::S1 => "S1",
            Self::S2 => "S2",
            Self::S3 => "S3",
            Self::S4a => "S4a",
            Self::S4b => "S4b",
            Self::S4c => "S4c",
            Self::L1 => "L1",
        }
    }
}

/// The protections that are on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Design {
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// How silence is judged.
    pub(crate) judge: Judge,
    /// How a reap is fenced.
    pub(crate) fence: Fence,
    /// What a reap does to the job.
    pub(crate) ending: Ending,
    /// The database refuses whoever reaps without a term.
    pub(crate) guard: bool,
    /// A reap compares attempt and beat with what was judged, in its own write.
    pub(crate) recheck: bool,
    /// A worker's write must carry the running attempt.
    pub(crate) attempt: bool,
    /// A checkpoint must be newer than the last one.
    pub(crate) sequence: bool,
    /// A job is made once under its key.
    pub(crate) key: bool,
    /// After a restore, numbers of claims go on above what may have been given out.
    pub(crate) raises: bool,
    /// A worker whose write is refused drops its attempt.
    pub(crate) drops: bool,
    /// What it has to break: nothing, or each of these.
    pub(crate) breaks: &'static [Promise],
}

/// Ours, with every protection on.
pub(crate) const FULL: Design = Design {
    name: "full",
    judge: Judge::Observed,
    fence: Fence::Locked,
    ending: Ending::Requeue,
    guard: true,
    recheck: true,
    attempt: true,
    sequence: true,
    key: true,
    raises: true,
    drops: true,
    breaks: &[],
};

/// The first incident: no lease, a stale client with a threshold of its own, writes that look at nothing.
const SEED: Design = Design {
    name: "seed: no lease, no check, cancels",
    judge: Judge::ServerAge,
    fence: Fence::NoLease,
    ending: Ending::Cancel,
    guard: false,
    recheck: false,
    attempt: false,
    sequence: false,
    key: true,
    raises: true,
    drops: true,
    breaks: &[Promise::S1, Promise::S2, Promise::S3, Promise::S4a, Promise::S4b, Promise::S4c],
};

/// The designs that lack something in what they may do at any time.
pub(crate) const WEAKENED: [Design; 9] = [
    SEED,
    Design {
        name: "one threshold for all, own clocks, no lease",
        judge: Judge::ClientAge,
        ending: Ending::Requeue,
        attempt: true,
        sequence: true,
        breaks: &[Promise::S1, Promise::S2],
        ..SEED
    },
    Design {
        name: "lease without a fence at the write",
        judge: Judge::ServerAge,
        fence: Fence::Unfenced,
        recheck: false,
        breaks: &[Promise::S1, Promise::S2],
        ..FULL
    },
    Design { name: "no second look at the row", recheck: false, breaks: &[Promise::S1], ..FULL },
    Design { name: "lease read, not locked", fence: Fence::Read, breaks: &[Promise::S2], ..FULL },
    Design {
        name: "no attempt on a worker's writes",
        attempt: false,
        breaks: &[Promise::S3, Promise::S4b],
        ..FULL
    },
    Design { name: "no order of checkpoints", sequence: false, breaks: &[Promise::S4c], ..FULL },
    Design { name: "no key at the enqueue", key: false, breaks: &[Promise::S4b], ..FULL },
    Design { name: "guard in the clients only", guard: false, breaks: &[Promise::S1, Promise::S2], ..FULL },
];

/// This one lacks something that only a restore shows.
pub(crate) const SET_BACK: Design =
    Design { name: "numbers begin again after a restore", raises: false, breaks: &[Promise::S3], ..FULL };

/// And this one something that only a bound of time shows.
pub(crate) const DEAF: Design =
    Design { name: "a refused worker carries on", drops: false, breaks: &[Promise::L1], ..FULL };
