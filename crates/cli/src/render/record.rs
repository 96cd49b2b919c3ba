//! Journal records, one line each.

use palisade_core::Record;
use palisade_core::outcome::Outcome;
use palisade_core::record::{Act, Administered, Called, Event, Phase, Ruling};
use palisade_core::text::escaped;

use super::actor;

/// `sequence time who: what`, on one line.
pub(crate) fn line(sequence: u64, record: &Record) -> String {
    let text =
        format!("{sequence:>6}  {}  {}: {}", record.at, actor::brief(&record.actor), what(&record.event));
    escaped(&text).into_owned()
}

fn what(event: &Event) -> String {
    match event {
        Event::PolicyChanged(change) => match &change.from {
            Some(from) => format!("policy revision {} after {}", change.to.revision, from.revision),
            None => format!("first policy, revision {}", change.to.revision),
        },
        Event::Refused(refused) => {
            let codes: Vec<String> =
                refused.findings.iter().map(|finding| finding.code.to_string()).collect();
            format!(
                "REFUSED {} of {}: {} of {} processes, {}",
                refused.operation,
                refused.scope,
                refused.targets.len(),
                refused.total,
                codes.join(" ")
            )
        }
        Event::Intent(intent) => {
            let names: Vec<&str> = intent.targets.iter().map(|target| target.pin.name.as_str()).collect();
            format!(
                "intends {} of {}: {} (snapshot {})",
                intent.operation,
                intent.scope,
                names.join(", "),
                intent.snapshot.as_str()
            )
        }
        Event::Outcome(outcome) => {
            let verified = outcome.verification.as_ref().map(|found| found.drift.len());
            let verified = match verified {
                Some(0) => "verified".to_owned(),
                Some(drift) => format!("{drift} differences"),
                None => "not verified".to_owned(),
            };
            format!("{} in {} ms, {verified}", word(outcome.outcome), outcome.took_ms)
        }
        Event::Reconciled(outcome) => format!("settled later: {}", word(outcome.outcome)),
        Event::DeploymentStarted(started) => {
            format!(
                "deployment of {} began, term {}, {}",
                started.term.scope, started.term.number, started.program
            )
        }
        Event::DeploymentEnded(ended) => match ended.exit {
            Some(exit) => format!("deployment of {} ended with {exit}", ended.term.scope),
            None => format!("deployment of {} was ended by a signal", ended.term.scope),
        },
        Event::Recovered(recovered) => {
            format!("cut an incomplete record of {} bytes after a crash", recovered.dropped_bytes)
        }
        Event::Called(called) => call(called),
        Event::BypassBegan(bypass) => format!(
            "BYPASS {} opens {} for {} s: {}",
            bypass.id,
            bypass.opened,
            bypass.left(bypass.from_boot_ms).as_secs(),
            bypass.reason
        ),
        Event::BypassEnded(ended) => format!("bypass {} ended before its time", ended.id),
        Event::Administered(done) => administered(done),
        Event::Repeated(repeated) => format!("{} equal refusals until {}", repeated.count, repeated.last_at),
    }
}

fn administered(done: &Administered) -> String {
    let act = match done.act {
        Act::GuardInstall => "install of the guard",
        Act::GuardRemove => "removal of the guard",
        Act::GuardMode => "change of the guard's mode",
        Act::DaemonKill => "end of the daemon and its apps",
        Act::DaemonUpdate => "update of the daemon",
        Act::Save => "save of the list",
        Act::Flush => "flush of logs",
    };
    let phase = match done.phase {
        Phase::Begun => "begins",
        Phase::Done => "done",
        Phase::Failed => "FAILED",
    };
    format!("{act} of PM2 at {}: {phase} {}", done.home, done.details.join("; ")).trim_end().to_owned()
}

fn call(called: &Called) -> String {
    let word = match called.ruling {
        Ruling::Passed => "call passed",
        Ruling::Observed => "call observed",
        Ruling::Refused => "CALL REFUSED",
        Ruling::Bypassed => "CALL PASSED BY A BYPASS",
    };
    let scope = called.scope.as_ref().map_or_else(|| "nobody known".to_owned(), ToString::to_string);
    let codes: Vec<String> = called.findings.iter().map(|finding| finding.code.to_string()).collect();
    let targets = called.targets.join(", ");
    format!("{word} {} by {scope}: {targets} {}", called.method, codes.join(" ")).trim_end().to_owned()
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Partial => "partly done",
        Outcome::Failed => "failed",
        Outcome::Unknown => "outcome UNKNOWN",
    }
}
