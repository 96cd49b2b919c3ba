//! What of a worker's words somebody should hear who is not looking.

use std::collections::BTreeMap;
use std::time::Duration;

use palisade_core::Code;
use palisade_core::notice::{Kind, Notice};
use palisade_host::clock::Stopwatch;
use palisade_jobs::JobId;
use palisade_worker::Report;

use super::told;
use crate::command::notify;
use crate::output::Output;
use crate::session::Session;

/// A place for checkpoints may be away for so long before anybody is told: it is tried again all the time.
const LASTS: Duration = Duration::from_secs(5);

/// Tells those whom the policy of this host names; a host without one tells nobody.
pub(super) struct Alerts {
    session: Session,
    place: String,
    clock: Stopwatch,
    behind: Behind,
}

impl Alerts {
    /// Of a worker on the store at `place`.
    pub(super) fn new(session: Session, place: String) -> Self {
        Self { session, place, clock: Stopwatch::start(), behind: Behind::default() }
    }

    /// Checkpoints of a job that stay behind are told once, and again only after they were stored.
    pub(super) fn note(&mut self, output: Output, report: &Report) {
        if self.behind.is_due(report, self.clock.elapsed()) {
            self.tell(output, Code::CheckpointLate, report);
        }
    }

    fn tell(&self, output: Output, code: Code, report: &Report) {
        let Ok(host) = self.session.host_policy() else { return };
        let notice = Notice::new(Kind::Fault, code, self.place.as_str(), &told::line(report));
        notify::tell(&self.session, output, &host.policy().notify, notice);
    }
}

/// Jobs whose checkpoints are behind, since when, and whether that was told.
#[derive(Default)]
struct Behind(BTreeMap<JobId, (Duration, bool)>);

impl Behind {
    /// Whether this report, made at `now`, is the one that somebody has to hear of.
    fn is_due(&mut self, report: &Report, now: Duration) -> bool {
        match report {
            Report::Trouble { job, .. } => {
                let (since, told) = self.0.entry(*job).or_insert((now, false));
                now.saturating_sub(*since) >= LASTS && !std::mem::replace(told, true)
            }
            Report::Recovered { job }
            | Report::Resumed { job, .. }
            | Report::Checkpoint { job, .. }
            | Report::Ended { job, .. }
            | Report::Lost { job, .. } => {
                self.0.remove(job);
                false
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use palisade_jobs::Token;

    use super::*;

    #[test]
    fn a_lag_is_told_once_when_it_has_lasted_for_five_seconds_and_anew_after_it_was_over() {
        let late = |job| Report::Trouble { job: JobId(job), problem: String::new() };
        let recovered = |job| Report::Recovered { job: JobId(job) };
        let resumed = |job| Report::Resumed { job: JobId(job), token: Token(1), sequence: 1 };
        let mut behind = Behind::default();
        for (at_ms, report, told) in [
            (10_000, late(1), false),
            (14_999, late(1), false),
            (14_999, late(2), false),
            (15_000, late(1), true),
            (90_000, late(1), false),
            (90_000, recovered(1), false),
            (91_000, late(1), false),
            (96_000, late(1), true),
            // A bad checkpoint of which an older one was good says nothing about those that follow.
            (100_000, late(3), false),
            (100_001, resumed(3), false),
            (200_000, late(3), false),
        ] {
            assert_eq!(behind.is_due(&report, Duration::from_millis(at_ms)), told, "{report:?} at {at_ms}");
        }
    }
}
