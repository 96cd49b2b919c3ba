//! What others are told of calls and gaps.

use palisade_core::notice::{Kind, Notice};
use palisade_core::record::{Called, Gap, Ruling};
use palisade_core::{Actor, Code};
use palisade_notify::Told;
use palisade_pipeline::notice::{MOST_NAMES, recorded_in};
use palisade_pipeline::refusals::Recorded;
use palisade_pipeline::system_log;

/// Whether a call with that ruling is told, and as what.
pub(crate) const fn kind_of(ruling: Ruling) -> Option<Kind> {
    match ruling {
        Ruling::Passed => None,
        Ruling::Observed => Some(Kind::Observed),
        Ruling::Refused => Some(Kind::Refused),
        Ruling::Bypassed => Some(Kind::Bypass),
    }
}

/// What is told of a judged call.
pub(crate) fn of_call(kind: Kind, called: &Called, actor: &Actor, recorded: &Recorded) -> Notice {
    let first = called.findings.first();
    let code = first.map_or(Code::BadCall, |finding| finding.code);
    let word = match kind {
        Kind::Observed => "would be refused",
        Kind::Bypass => "passed by a bypass",
        Kind::Refused | Kind::Gap | Kind::Fault | Kind::Test => "was refused",
    };
    let message = first.map_or("", |finding| finding.message.as_str());
    let line = format!("{} {word}: {message}", called.method);
    let targets: Vec<String> = called.targets.iter().take(MOST_NAMES).cloned().collect();
    let codes: Vec<String> = called.findings.iter().map(|finding| finding.code.to_string()).collect();
    let notice = Notice::new(kind, code, format!("pm2:{}", called.daemon.home), &line)
        .of(called.scope.as_ref())
        .by(actor.tree.as_str())
        .with("method", called.method.as_str())
        .with("targets", targets)
        .with("codes", codes);
    recorded_in(notice, actor, recorded)
}

/// What is told of a while in which nobody judged.
pub(crate) fn of_gap(home: &str, gap: &Gap) -> Notice {
    Notice::new(Kind::Gap, Code::GuardGap, format!("pm2:{home}"), &gap.told())
        .with("passed", gap.passed)
        .with("refused", gap.refused)
        .with("unread", gap.unread)
}

/// What the system log is told of a notice that went wrong.
pub(crate) fn failed(told: &Told) {
    let line = match told {
        Told::Kept | Told::Nobody => return,
        Told::Undelivered(error) => {
            format!("a notice waits, and `palisade notify deliver` did not start: {error}")
        }
        Told::Lost(error) => format!("a notice was lost: {error}"),
    };
    // The journal has the record of what it was about.
    system_log::write(&line).unwrap_or_default();
}
