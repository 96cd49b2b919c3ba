//! A report as one document, for `--json` and for whoever asked through a guard.

use palisade_core::{Actor, Code, Receipt};
use serde_json::{Value, json};

use crate::refusals::Recorded;
use crate::run::Report;

/// Where a refusal is recorded, in words; `None` stands for a dry run.
#[must_use]
pub fn place(recorded: Option<&Recorded>) -> String {
    match recorded {
        None => "no, this was a dry run".to_owned(),
        Some(Recorded::Record { sequence }) => format!("journal record {sequence}"),
        Some(Recorded::Counted { with }) => format!("counted with an equal refusal, operation {with}"),
        Some(Recorded::SystemLog) => "in the system log: the journal could not take it".to_owned(),
    }
}

impl Report {
    /// The report of `actor`'s request as one document: `{"result", "exit", "plan", "actor", ..}`.
    #[must_use]
    pub fn document(&self, actor: &Actor) -> Value {
        document(actor, self)
    }
}

fn document(actor: &Actor, report: &Report) -> Value {
    let exit = report.exit().number();
    match report {
        Report::Planned(plan) => json!({ "result": "planned", "exit": exit, "plan": plan, "actor": actor }),
        Report::NothingToDo(plan) => {
            json!({ "result": "nothing-to-do", "exit": exit, "plan": plan, "actor": actor })
        }
        Report::Refused { refusal, recorded } => json!({
            "result": "refused",
            "exit": exit,
            "plan": refusal.plan,
            "findings": refusal.findings,
            "recorded": place(recorded.as_ref()),
            "actor": actor,
        }),
        Report::Stale { fresh, differences } => json!({
            "result": "stale",
            "exit": exit,
            "code": Code::PlanStale,
            "differences": differences,
            "plan": fresh,
            "actor": actor,
        }),
        Report::CarriedOut(done) => json!({
            "result": done.outcome,
            "exit": exit,
            "plan": done.plan,
            "targets": done.targets,
            "verification": done.verification,
            "snapshot": done.before.id,
            "intent": done.intent.sequence(),
            "outcome": done.recorded.as_ref().and_then(Receipt::sequence),
            "took_ms": done.took_ms,
            "actor": actor,
        }),
    }
}
