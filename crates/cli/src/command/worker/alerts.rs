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
    /// Jobs whose checkpoints are behind, since when, and whether that was told.
    behind: BTreeMap<JobId, (Stopwatch, bool)>,
}

impl Alerts {
    /// Of a worker on the store at `place`.
    pub(super) const fn new(session: Session, place: String) -> Self {
        Self { session, place, behind: BTreeMap::new() }
    }

    /// Checkpoints of a job that stay behind are told once, and again only after they were stored.
    pub(super) fn note(&mut self, output: Output, report: &Report) {
        match report {
            Report::Trouble { job, .. } => {
                let (since, told) = self.behind.entry(*job).or_insert_with(|| (Stopwatch::start(), false));
                if since.elapsed() >= LASTS && !std::mem::replace(told, true) {
                    self.tell(output, Code::CheckpointLate, report);
                }
            }
            Report::Recovered { job }
            | Report::Checkpoint { job, .. }
            | Report::Ended { job, .. }
            | Report::Lost { job, .. } => drop(self.behind.remove(job)),
            _ => {}
        }
    }

    fn tell(&self, output: Output, code: Code, report: &Report) {
        let Ok(host) = self.session.host_policy() else { return };
        let notice = Notice::new(Kind::Fault, code, self.place.as_str(), &told::line(report));
        notify::tell(&self.session, output, &host.policy().notify, notice);
    }
}
