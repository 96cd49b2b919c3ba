//! What a worker tells, as lines.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use palisade_core::Code;
use palisade_core::text::escaped;
use palisade_host::clock::{self, Stopwatch};
use palisade_worker::Report;
use palisade_worker::report::How;
use serde_json::{Value, json};

use super::alerts::Alerts;
use super::metrics::Metrics;
use crate::output::Output;

/// The file of metrics is written so often at most.
const EVERY: Duration = Duration::from_secs(1);

/// Old output of programs is looked for so often.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);

/// Until the worker is over: a document on each line with `--json`, else a line on standard error; metrics, where a
/// file for them was named; and what stays wrong to those whom the policy names.
pub(super) fn tell_all(
    output: Output,
    reports: &Receiver<Report>,
    mut metrics: Option<Metrics>,
    mut alerts: Alerts,
    forget_logs: impl Fn(),
) {
    let (mut written, mut forgot) = (None, None);
    loop {
        if forgot.as_ref().is_none_or(|last: &Stopwatch| last.elapsed() >= FORGET_EVERY) {
            forget_logs();
            forgot = Some(Stopwatch::start());
        }
        let due = |last: &Stopwatch| last.elapsed() >= EVERY;
        if let Some(metrics) = metrics.as_mut().filter(|_| written.as_ref().is_none_or(due)) {
            write(output, metrics);
            written = Some(Stopwatch::start());
        }
        match reports.recv_timeout(EVERY) {
            Ok(report) => {
                if let Some(metrics) = &mut metrics {
                    metrics.note(&report);
                }
                tell(output, &report);
                alerts.note(output, &report);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if let Some(metrics) = &mut metrics {
        write(output, metrics);
    }
}

/// A file that cannot be written is told when that begins, not each second.
fn write(output: Output, metrics: &mut Metrics) {
    let before = metrics.problem.is_some();
    metrics.write();
    if let Some(problem) = metrics.problem.as_ref().filter(|_| !before) {
        output.talk(format!("metrics are not written: {}", escaped(problem)));
    }
}

fn tell(output: Output, report: &Report) {
    if output.json {
        let mut document = json!({ "at": clock::now() });
        if let (Value::Object(all), Ok(Value::Object(fields))) = (&mut document, serde_json::to_value(report))
        {
            all.extend(fields);
        }
        // Nobody can be told that it is closed; the jobs go on.
        Output::json_line(&document).unwrap_or_default();
    } else {
        output.talk(format!("{} {}", clock::now(), escaped(&line(report))));
    }
}

pub(super) fn line(report: &Report) -> String {
    match report {
        Report::Started { incarnation } => format!("started as {incarnation}"),
        Report::Claimed { job, attempt, .. } => format!("job {job}: attempt {attempt} begins"),
        Report::Resumed { job, sequence, .. } => format!("job {job}: goes on from checkpoint {sequence}"),
        Report::Checkpoint { job, sequence, .. } => format!("job {job}: checkpoint {sequence} is stored"),
        Report::Trouble { job, problem } => format!("job {job}: {} {problem}", Code::CheckpointLate),
        Report::CheckpointsAway { place, problem } => format!(
            "{} checkpoints cannot be stored in {place}, jobs go on without: {problem}; check --checkpoints, and for a \
             bucket AWS_ENDPOINT_URL, AWS_REGION and the credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role of \
             this machine at Amazon's",
            Code::CheckpointLate
        ),
        Report::Recovered { job } => format!("job {job}: checkpoints are stored again"),
        Report::Stopping { job, why, .. } => format!("job {job}: told to stop: {}", why.as_str()),
        Report::Ended { job, how, said, .. } => {
            let said = said.as_deref().map(|said| format!(": {said}")).unwrap_or_default();
            format!("job {job}: {}{said}", ended(*how))
        }
        Report::Lost { job, problem, .. } => format!("job {job}: {} {problem}", Code::ClaimSpent),
        Report::GaveBack { job, .. } => {
            format!(
                "job {job}: the store had it as this worker's, and nobody worked on it: it was given back"
            )
        }
        Report::BeatMissed { missed, for_ms, problem } => {
            let code = Code::BeatMissed;
            format!("{code} {missed} beats missed for {for_ms} ms, nothing is claimed: {problem}")
        }
        Report::BeatsAgain { missed } => format!("a beat was acknowledged after {missed} that were not"),
        Report::Suspected => "the reaper heard nothing of this worker for half the threshold".to_owned(),
        Report::StoreTrouble { problem } => format!("the store does not answer as it should: {problem}"),
        Report::DispatchClosed { problem } => {
            format!("{} nothing is claimed, what runs goes on: {problem}", Code::BeaconStale)
        }
        Report::DispatchOpen => "the beacon is fresh again: jobs are claimed".to_owned(),
        Report::Draining => "draining: nothing new is claimed".to_owned(),
        Report::Gone => "said goodbye".to_owned(),
    }
}

const fn ended(how: How) -> &'static str {
    match how {
        How::Completed => "done",
        How::Failed => "failed",
        How::Cancelled => "cancelled",
        How::Drained => "given back unfinished, no attempt charged",
        How::Held => "held for a person",
    }
}
