//! What a worker tells, as lines.

use std::sync::mpsc::Receiver;

use palisade_core::Code;
use palisade_core::text::escaped;
use palisade_host::clock;
use palisade_worker::Report;
use palisade_worker::report::How;
use serde_json::{Value, json};

use crate::output::Output;

/// Until the worker is over: a document on each line with `--json`, else a line on standard error.
pub(super) fn tell_all(output: Output, reports: &Receiver<Report>) {
    for report in reports {
        if output.json {
            let mut document = json!({ "at": clock::now() });
            if let (Value::Object(all), Ok(Value::Object(fields))) =
                (&mut document, serde_json::to_value(&report))
            {
                all.extend(fields);
            }
            // Nobody can be told that it is closed; the jobs go on.
            Output::json_line(&document).unwrap_or_default();
        } else {
            output.talk(format!("{} {}", clock::now(), escaped(&line(&report))));
        }
    }
}

fn line(report: &Report) -> String {
    match report {
        Report::Started { incarnation } => format!("started as {incarnation}"),
        Report::Claimed { job, attempt, .. } => format!("job {job}: attempt {attempt} begins"),
        Report::Resumed { job, sequence, .. } => format!("job {job}: goes on from checkpoint {sequence}"),
        Report::Checkpoint { job, sequence, .. } => format!("job {job}: checkpoint {sequence} is stored"),
        Report::Trouble { job, problem } => format!("job {job}: {} {problem}", Code::CheckpointLate),
        Report::Recovered { job } => format!("job {job}: checkpoints are stored again"),
        Report::Stopping { job, why, .. } => format!("job {job}: told to stop: {}", why.as_str()),
        Report::Ended { job, how, said, .. } => {
            let said = said.as_deref().map(|said| format!(": {said}")).unwrap_or_default();
            format!("job {job}: {}{said}", ended(*how))
        }
        Report::Lost { job, problem, .. } => format!("job {job}: {} {problem}", Code::ClaimSpent),
        Report::BeatMissed { missed, for_ms, problem } => {
            let code = Code::BeatMissed;
            format!("{code} {missed} beats missed for {for_ms} ms, nothing is claimed: {problem}")
        }
        Report::BeatsAgain { missed } => format!("a beat was acknowledged after {missed} that were not"),
        Report::Suspected => "the reaper heard nothing of this worker for half the threshold".to_owned(),
        Report::StoreTrouble { problem } => format!("the store does not answer as it should: {problem}"),
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
