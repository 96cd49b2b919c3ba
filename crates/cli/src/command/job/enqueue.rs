//! `palisade job enqueue`.

use std::io::Read as _;
use std::time::{Duration, UNIX_EPOCH};

use palisade_core::{Exit, Timestamp};
use palisade_jobs::job::{Enqueued, NewJob, Start};
use palisade_jobs::{JobStore as _, Note};
use serde_json::{Value, json};

use crate::args::job::EnqueueArgs;
use crate::command::store;
use crate::failure::Failure;
use crate::output::Output;
use crate::session::Session;

/// Jobs of one transaction.
const AT_ONCE: usize = 1_000;

pub(crate) async fn enqueue(session: &Session, output: Output, args: &EnqueueArgs) -> Result<Exit, Failure> {
    let payloads = payloads(args)?;
    let store = store::open(session, output, &args.store).await?;
    let (_, by) = store::note(session, &args.store)?;
    let template = template(session, args, by)?;
    let jobs: Vec<NewJob> =
        payloads.into_iter().map(|payload| NewJob { payload, ..template.clone() }).collect();
    let mut made: Vec<Enqueued> = Vec::with_capacity(jobs.len());
    for slice in jobs.chunks(AT_ONCE) {
        let enqueued = store.enqueue(slice).await.map_err(|error| {
            let failure = Failure::from(error);
            if made.is_empty() {
                failure
            } else {
                failure.hint(format!("{} jobs were made before", made.len()))
            }
        })?;
        made.extend(enqueued);
    }
    let jobs: Vec<Value> = made.iter().map(|made| json!({ "id": made.id, "new": made.new })).collect();
    output.document(&json!({ "result": "enqueued", "queue": args.queue, "jobs": jobs }))?;
    for job in &made {
        let seen = if job.new { "" } else { " (it bears this key already; no second one was made)" };
        output.data(format_args!("{}{seen}", job.id))?;
    }
    Ok(Exit::Done)
}

fn payloads(args: &EnqueueArgs) -> Result<Vec<Value>, Failure> {
    let parse = |name: &str, text: &str| {
        serde_json::from_str::<Value>(text).map_err(|error| {
            Failure::usage(format!("{name} is no JSON: {error}"))
                .hint("quote it: --payload '{\"day\":\"2026-02-17\"}'")
        })
    };
    if args.lines {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let payloads: Vec<Value> =
            lines.map(|(at, line)| parse(&format!("line {}", at + 1), line)).collect::<Result<_, _>>()?;
        if payloads.is_empty() {
            return Err(Failure::usage("standard input holds no line, so there is no job to make"));
        }
        return Ok(payloads);
    }
    let payload = match (&args.payload, &args.payload_file) {
        (Some(text), _) => parse("the payload", text)?,
        (None, Some(path)) if path.as_os_str() == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            parse("standard input", &text)?
        }
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Failure::new(Exit::Failure, format!("cannot read {}: {error}", path.display()))
            })?;
            parse(&path.display().to_string(), &text)?
        }
        (None, None) => Value::Null,
    };
    Ok(vec![payload])
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
