//! What a judge remembers of one subject.

use std::time::Duration;

use super::Subject;

/// The silence of one subject, as one judge has charged it.
#[derive(Debug, Clone)]
pub(super) struct Watch<C> {
    pub(super) counter: C,
    reap_after: Duration,
    /// Charged in all, by this term and those before it.
    pub(super) silent: Duration,
    /// Seen silent by this term, for so long, since it last could not see.
    pub(super) seen: Duration,
    /// Sweeps of this term in which it was seen silent since then.
    pub(super) sweeps: u32,
    /// Whether the store has a row of it.
    pub(super) stored: bool,
    /// The sweep that saw it last.
    pub(super) last: u64,
}

impl<C: Clone + Eq> Watch<C> {
    /// One that is seen for the first time by this term. `silent` is what terms before have charged to this counter.
    pub(super) fn first<K>(subject: &Subject<K, C>, silent: Duration, stored: bool, last: u64) -> Self {
        Self {
            counter: subject.counter.clone(),
            reap_after: subject.reap_after,
            silent,
            seen: Duration::ZERO,
            sweeps: 0,
            stored,
            last,
        }
    }

    /// Takes in what a sweep saw of it, and how much time it could observe and does charge. Gives whether the subject
    /// has shown a sign of life.
    pub(super) fn see<K>(
        &mut self,
        subject: &Subject<K, C>,
        (observed, charge): (Duration, Duration),
        last: u64,
    ) -> bool {
        self.last = last;
        if self.counter != subject.counter {
            self.counter = subject.counter.clone();
            self.reap_after = subject.reap_after;
            (self.silent, self.seen, self.sweeps) = (Duration::ZERO, Duration::ZERO, 0);
            return true;
        }
        // A threshold that has changed is a change of policy: what was charged stays, and it has to be seen anew.
        if self.reap_after != subject.reap_after {
            self.reap_after = subject.reap_after;
            if !subject.fixed {
                self.look_anew();
                return false;
            }
        }
        self.silent += charge;
        if !observed.is_zero() {
            self.seen += observed;
            self.sweeps = self.sweeps.saturating_add(1);
        }
        false
    }

    /// What was seen does not count as seen steadily any more; what was charged stays.
    pub(super) fn look_anew(&mut self) {
        (self.seen, self.sweeps) = (Duration::ZERO, 0);
    }
}
