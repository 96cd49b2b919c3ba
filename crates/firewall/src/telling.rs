//! What others are told of calls and gaps.

use palisade_core::notice::{Kind, Notice};
use palisade_core::record::{Called, Gap, Ruling};
use palisade_core::{Actor, Code};
use palisade_notify::Told;
use palisade_pipeline::refusals::Recorded;
use palisade_pipeline::system_log;

/// Names of processes that a notice lists.
const MOST_NAMES: usize = 20;

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
        .with("codes", codes)
        .with("uid", actor.observed.uid)
        .with("pid", actor.observed.process.pid);
    match recorded {
        Recorded::Record { sequence } => notice.with("record", *sequence),
        Recorded::Counted { with } => notice.with("counted_with", with.as_str()),
        Recorded::SystemLog => notice.with("record", "none: the journal could not be written"),
    }
}

/// What is told of a while in which nobody judged.
pub(crate) fn of_gap(home: &str, gap: &Gap) -> Notice {
    let line = format!(
        "nobody judged from {} to {}: {} changes passed, {} were refused ({})",
        gap.from, gap.to, gap.passed, gap.refused, gap.reason
    );
    Notice::new(Kind::Gap, Code::GuardGap, format!("pm2:{home}"), &line)
        .with("passed", gap.passed)
        .with("refused", gap.refused)
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
