//! What others are told of a refusal.

use palisade_core::notice::{Kind, Notice};
use palisade_core::{Actor, Code};

use crate::refusals::Recorded;
use crate::run::Report;

/// Names of processes that a notice lists.
pub const MOST_NAMES: usize = 20;

impl Report {
    /// What others are told of `actor`'s request, where it was refused and recorded. Of a dry run nobody is told.
    #[must_use]
    pub fn notice(&self, actor: &Actor) -> Option<Notice> {
        let Self::Refused { refusal, recorded: Some(recorded) } = self else { return None };
        let plan = &refusal.plan;
        let first = refusal.findings.first();
        let (code, message) =
            first.map_or((Code::ForeignTarget, ""), |finding| (finding.code, finding.message.as_str()));
        let line = format!("{} of {} was refused: {message}", plan.operation, plan.scope);
        let codes: Vec<String> = refusal.findings.iter().map(|finding| finding.code.to_string()).collect();
        let names = plan.targets.iter().map(|target| target.pin.name.clone());
        let notice = Notice::new(Kind::Refused, code, format!("pm2:{}", plan.daemon.home), &line)
            .of(Some(&plan.scope))
            .by(actor.tree.as_str())
            .with("method", plan.operation.to_string())
            .with("targets", names.take(MOST_NAMES).collect::<Vec<_>>())
            .with("codes", codes);
        Some(recorded_in(notice, actor, recorded))
    }
}

/// Adds who it was, and where the record is.
#[must_use]
pub fn recorded_in(notice: Notice, actor: &Actor, recorded: &Recorded) -> Notice {
    let notice = notice.with("uid", actor.observed.uid).with("pid", actor.observed.process.pid);
    match recorded {
        Recorded::Record { sequence } => notice.with("record", *sequence),
        Recorded::Counted { with } => notice.with("counted_with", with.as_str()),
        Recorded::SystemLog => notice.with("record", "none: the journal could not be written"),
    }
}
