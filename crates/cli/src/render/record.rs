//! Journal records, one line each.

use palisade_core::bypass::Bypass;
use palisade_core::outcome::Outcome;
use palisade_core::record::{
    Administered, Called, EpochRaised, Event, Intent, JobJudged, JobsChanged, NoticeUndelivered,
    OutcomeRecord, Phase, Refused, Ruling,
};
use palisade_core::text::escaped;
use palisade_core::{Finding, Record};

use super::actor;
use super::plan::task;

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
        Event::Refused(refused) => refusal(refused),
        Event::Intent(intent) => intended(intent),
        Event::Outcome(done) => outcome(done),
        Event::Reconciled(outcome) => format!("settled later: {}", word(outcome.outcome)),
        Event::DeploymentStarted(started) => format!(
            "deployment of {} began, term {}, {}",
            started.term.scope, started.term.number, started.program
        ),
        Event::DeploymentEnded(ended) => match ended.exit {
            Some(exit) => format!("deployment of {} ended with {exit}", ended.term.scope),
            None if ended.not_started => {
                format!("deployment of {} ended: its command could not be started", ended.term.scope)
            }
            None => format!("deployment of {} was ended by a signal", ended.term.scope),
        },
        Event::DeploymentRefused(refused) => {
            format!("REFUSED deployment of {}: {}", refused.scope, codes(&refused.findings))
        }
        Event::Recovered(recovered) => {
            format!("cut an incomplete record of {} bytes after a crash", recovered.dropped_bytes)
        }
        Event::Called(called) => call(called),
        Event::BypassBegan(bypass) => opened(bypass),
        Event::BypassEnded(ended) => format!("bypass {} ended before its time", ended.id),
        Event::Administered(done) => administered(done),
        Event::JobsChanged(done) => jobs(done),
        Event::EpochRaised(raised) => raise(raised),
        Event::JobJudged(judged) => job(judged),
        Event::Gap(gap) => gap.told(),
        Event::NoticeUndelivered(lost) => undelivered(lost),
        Event::Repeated(repeated) => format!("{} equal refusals until {}", repeated.count, repeated.last_at),
    }
}

fn refusal(refused: &Refused) -> String {
    format!(
        "REFUSED {}: {} of {} processes, {}",
        task(refused.operation, &refused.scope),
        refused.targets.len(),
        refused.total,
        codes(&refused.findings)
    )
}

fn intended(intent: &Intent) -> String {
    let names: Vec<&str> = intent.targets.iter().map(|target| target.pin.name.as_str()).collect();
    format!(
        "intends {}: {} (snapshot {})",
        task(intent.operation, &intent.scope),
        names.join(", "),
        intent.snapshot.as_str()
    )
}

fn opened(bypass: &Bypass) -> String {
    format!(
        "BYPASS {} opens {} for {} s: {}",
        bypass.id,
        bypass.opened,
        bypass.left(bypass.from_boot_ms).as_secs(),
        bypass.reason
    )
}

fn undelivered(lost: &NoticeUndelivered) -> String {
    format!(
        "notice {} of {} did not reach {}, {} tries{}: {}",
        lost.code,
        lost.resource,
        lost.receiver,
        lost.tries,
        if lost.given_up { ", GIVEN UP" } else { "" },
        lost.reason
    )
}

fn jobs(done: &JobsChanged) -> String {
    let phase = match done.phase {
        Phase::Begun => "begins",
        Phase::Done => "done",
        Phase::Failed => "FAILED",
    };
    let queue = done.queue.as_ref().map(|queue| format!(" of {queue}")).unwrap_or_default();
    let details = done.details.join("; ");
    format!("{} {} jobs{queue} in {}: {phase} {details}", done.deed, done.jobs, done.store)
        .trim_end()
        .to_owned()
}

fn administered(done: &Administered) -> String {
    let phase = match done.phase {
        Phase::Begun => "begins",
        Phase::Done => "done",
        Phase::Failed => "FAILED",
    };
    format!("{} at {}: {phase} {}", done.act.said(), done.home, done.details.join("; ")).trim_end().to_owned()
}

fn call(called: &Called) -> String {
    let word = match called.ruling {
        Ruling::Passed => "call passed",
        Ruling::Observed => "call observed",
        Ruling::Refused => "CALL REFUSED",
        Ruling::Bypassed => "CALL PASSED BY A BYPASS",
    };
    let scope = called.scope.as_ref().map_or_else(|| "nobody known".to_owned(), ToString::to_string);
    let targets = called.targets.join(", ");
    let codes = codes(&called.findings);
    format!("{word} {} by {scope}: {targets} {codes}", called.method).trim_end().to_owned()
}

fn outcome(done: &OutcomeRecord) -> String {
    let verified = match done.verification.as_ref().map(|found| found.drift.len()) {
        Some(0) => "verified".to_owned(),
        Some(drift) => format!("{drift} differences"),
        None => "not verified".to_owned(),
    };
    format!("{} in {} ms, {verified}", word(done.outcome), done.took_ms)
}

fn raise(raised: &EpochRaised) -> String {
    match raised.from {
        Some(from) => format!("epoch of {} raised from {from} to {}", raised.subject, raised.to),
        None => format!("first epoch of {}: {}", raised.subject, raised.to),
    }
}

fn job(judged: &JobJudged) -> String {
    let codes = codes(&judged.findings);
    match (judged.admitted, judged.findings.is_empty()) {
        (true, true) => "job admitted".to_owned(),
        (true, false) => format!("job admitted with warnings: {codes}"),
        (false, _) => format!("JOB REFUSED: {codes}"),
    }
}

fn codes(findings: &[Finding]) -> String {
    findings.iter().map(|finding| finding.code.to_string()).collect::<Vec<_>>().join(" ")
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Partial => "partly done",
        Outcome::Failed => "failed",
        Outcome::Unknown => "outcome UNKNOWN",
    }
}
