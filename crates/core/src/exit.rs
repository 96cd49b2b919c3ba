//! The exit codes of every Palisade command.

/// What a command's exit status says. One table for all commands, so that scripts may rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// 0: done.
    Done = 0,
    /// 1: a failure that has no code of its own.
    Failure = 1,
    /// 2: the command line is wrong; nothing was tried.
    Usage = 2,
    /// 3: refused by policy; nothing was touched.
    Refused = 3,
    /// 4: a person has to confirm; nothing was touched.
    ConfirmationNeeded = 4,
    /// 5: the state is no longer the one that the plan shows; nothing was touched.
    PlanStale = 5,
    /// 6: the act was carried out, and what followed differs from the plan.
    VerificationFailed = 6,
    /// 7: the resource cannot be reached; nothing is known about it.
    Unreachable = 7,
    /// 8: the journal is damaged or cannot be written.
    Journal = 8,
    /// 9: somebody else holds the lease; try again later.
    LeaseHeld = 9,
}

impl Exit {
    /// Every code, in order.
    pub const ALL: [Self; 10] = [
        Self::Done,
        Self::Failure,
        Self::Usage,
        Self::Refused,
        Self::ConfirmationNeeded,
        Self::PlanStale,
        Self::VerificationFailed,
        Self::Unreachable,
        Self::Journal,
        Self::LeaseHeld,
    ];

    /// The number that the process ends with.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}
