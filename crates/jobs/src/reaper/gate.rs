//! What stands before a condemnation.

/// A protection of the rule. Each can be switched off in tests, to see that the simulation finds that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Gate {
    /// Time that could not be observed is not charged.
    Credit,
    /// The slower of two clocks counts.
    TwoClocks,
    /// This term itself has seen the silence for a while, steadily.
    Fresh,
    /// The judge's own writes were accepted all that while.
    Canary,
    /// Few enough are suspect at once.
    Brake,
    /// The threshold grows while sweeps are slow.
    Health,
    /// A new term keeps the silence that was charged.
    Memory,
    /// A proven death is condemned at once.
    Proof,
}

impl Gate {
    /// Every one.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 8] = [
        Self::Credit,
        Self::TwoClocks,
        Self::Fresh,
        Self::Canary,
        Self::Brake,
        Self::Health,
        Self::Memory,
        Self::Proof,
    ];
}
