//! What callers are told. Pure.

use palisade_core::text::Shown;
use palisade_core::{Code, Finding};
use palisade_pipeline::refusals::Recorded;

/// The finding for a call that the daemon must not be given.
pub(crate) fn bad_call(why: &str) -> Finding {
    Finding {
        code: Code::BadCall,
        message: why.to_owned(),
        fix: "use PM2's own command line or API; PM2 restarts every app when it is given such a call"
            .to_owned(),
        subjects: Vec::new(),
    }
}

/// What the client is told of a call that the daemon must not be given.
pub(crate) fn bad_call_text(why: &str) -> String {
    let finding = bad_call(why);
    format!("Palisade refused a malformed call: {} {}. {}", finding.code, finding.message, finding.fix)
}

/// What the client is told of a refusal.
pub(crate) fn refusal(
    method: &str,
    findings: &[Finding],
    who: Option<&str>,
    grounds: &[String],
    recorded: &Recorded,
) -> String {
    let told: Vec<String> = findings
        .iter()
        .map(|finding| format!("{} {}. Fix: {}", finding.code, finding.message, finding.fix))
        .collect();
    let who = match who {
        Some(scope) => format!("You were taken for {scope}: {}", grounds.join("; ")),
        None => "You were taken for nobody".to_owned(),
    };
    let record = match recorded {
        Recorded::Record { sequence } => format!("journal record {sequence}"),
        Recorded::Counted { with } => format!("counted with operation {with}"),
        Recorded::SystemLog => "the journal could not take it".to_owned(),
    };
    format!("Palisade refused {method}: {}. {who}. Recorded: {record}", told.join(". "))
}

/// What the client is told of what cannot be recorded.
pub(crate) fn unrecorded(method: &str) -> String {
    format!(
        "Palisade refused {method}: {} it cannot be recorded, so it is not passed on. Fix: make room or mend the \
         permissions of the journal's folder; reads, starts, restarts and reloads work meanwhile",
        Code::JournalUnwritable
    )
}

/// What the client is told when the daemon, or what a ruling needs, cannot be had.
pub(crate) fn unreachable(method: &str, reason: &str) -> String {
    format!(
        "Palisade could not pass {method} on: {} {}. No daemon was started; an administrator looks at the daemon's \
         process and at pm2.log",
        Code::Unreachable,
        Shown(reason)
    )
}
