//! `palisade job enqueue`.

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use palisade_core::{Exit, Timestamp};
use palisade_jobs::job::{Enqueued, NewJob, Start};
use palisade_jobs::{JobStore as _, Note};
use serde_json::{Value, json};

use crate::args::job::EnqueueArgs;
use crate::command::{queue, store};
use crate::failure::Failure;
use crate::output::Output;
use crate::session::Session;

/// Jobs of one transaction.
const AT_ONCE: usize = 5_000;

/// The payload of one job, and the line that it came from where there are many.
type Payload = (Option<usize>, Value);

pub(crate) async fn enqueue(session: &Session, output: Output, args: &EnqueueArgs) -> Result<Exit, Failure> {
    let payloads = payloads(args)?;
    let store = store::open(session, output, &args.store).await?;
    let (_, by) = store::note(session, &args.store)?;
    let template = template(session, args, by)?;
    queue::check_request(&store, output, &args.queue, template.reap_after).await?;
    let lines: Vec<Option<usize>> = payloads.iter().map(|(line, _)| *line).collect();
    let jobs: Vec<NewJob> =
        payloads.into_iter().map(|(_, payload)| NewJob { payload, ..template.clone() }).collect();
    // Before the first is written: a line that cannot be a job leaves all unwritten.
    for (line, job) in lines.iter().zip(&jobs) {
        job.check().map_err(|error| {
            let failure = Failure::from(error);
            match line {
                Some(line) => failure.hint(format!("it is line {line}; no job was made")),
                None => failure,
            }
        })?;
    }
    let mut made: Vec<Enqueued> = Vec::with_capacity(jobs.len());
    for slice in jobs.chunks(AT_ONCE) {
        let enqueued = store.enqueue(slice).await.map_err(|error| {
            let failure = Failure::from(error);
            match made.len().checked_sub(1).and_then(|last| lines[last]) {
                Some(line) => failure.hint(format!(
                    "{} jobs were made before, up to line {line}: cut those lines off and do the rest again",
                    made.len()
                )),
                None => failure,
            }
        })?;
        made.extend(enqueued);
        output.progress(format_args!("{} of {} jobs are enqueued", made.len(), jobs.len()));
    }
    let jobs: Vec<Value> = made.iter().map(|made| json!({ "id": made.id, "new": made.new })).collect();
    output.document(&json!({ "result": "enqueued", "queue": args.queue, "jobs": jobs }))?;
    for job in &made {
        let seen = if job.new { "" } else { " (it bears this key already; no second one was made)" };
        output.data(format_args!("{}{seen}", job.id))?;
    }
    Ok(Exit::Done)
}

fn parse(name: &str, text: &str, hint: &str) -> Result<Value, Failure> {
    serde_json::from_str::<Value>(text)
        .map_err(|error| Failure::usage(format!("{name} is no JSON: {error}; no job was made")).hint(hint))
}

fn payloads(args: &EnqueueArgs) -> Result<Vec<Payload>, Failure> {
    if args.lines {
        return lines("standard input", &read(Path::new("-"))?);
    }
    if let Some(path) = &args.payloads {
        return lines(&name(path), &read(path)?);
    }
    let payload = match (&args.payload, &args.payload_file) {
        (Some(text), _) => parse("the payload", text, "quote it: --payload '{\"day\":\"2026-02-17\"}'")?,
        (None, Some(path)) => parse(&name(path), &read(path)?, "mend the file: it holds one JSON document")?,
        (None, None) => Value::Null,
    };
    Ok(vec![(None, payload)])
}

/// A payload for each line that is not empty.
fn lines(name: &str, text: &str) -> Result<Vec<Payload>, Failure> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let hint = "mend that line: each line is a JSON document of its own";
    let one = |(at, line): (usize, &str)| {
        Ok((Some(at + 1), parse(&format!("line {} of {name}", at + 1), line, hint)?))
    };
    let payloads: Vec<Payload> = lines.map(one).collect::<Result<_, Failure>>()?;
    if payloads.is_empty() {
        return Err(Failure::usage(format!("{name} holds no line, so there is no job to make")));
    }
    Ok(payloads)
}

fn name(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() }
}

/// What a file holds; `-` is standard input.
fn read(path: &Path) -> Result<String, Failure> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(|error| Failure::unreadable(path, &error))
}

fn template(session: &Session, args: &EnqueueArgs, by: Note) -> Result<NewJob, Failure> {
    let start = match (args.delay, args.at) {
        (Some(delay), _) => Start::In(delay),
        (None, Some(at)) => {
            let since = at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
            Start::At(Timestamp::from_unix_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
        }
        (None, None) => Start::Now,
    };
    let asked = session.environment.text("PALISADE_REAP_AFTER").filter(|text| !text.is_empty());
    let asked = asked.map(|text| {
        humantime::parse_duration(&text).map_err(|error| {
            Failure::usage(format!("PALISADE_REAP_AFTER is {text:?}: {error}"))
                .hint("write it like 90m or 2h")
        })
    });
    Ok(NewJob {
        priority: args.priority,
        start,
        unique: args.unique_key.clone(),
        idempotency: args.idempotency_key.clone(),
        max_attempts: args.max_attempts,
        reap_after: match args.reap_after {
            Some(span) => Some(span),
            None => asked.transpose()?,
        },
        ..NewJob::new(args.queue.clone(), Value::Null, by)
    })
}
