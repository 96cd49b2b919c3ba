//! `palisade job`: enqueue, look, and change by hand.

mod bulk;
mod enqueue;
pub(crate) mod show;

use std::time::Duration;

use palisade_core::{Code, Exit};
use palisade_host::clock;
use palisade_jobs::store::Deed;
use palisade_jobs::{Incarnation, Job, JobId, JobStore as _, State};
use palisade_store::Store;
use serde_json::json;

use crate::args::job::{JobCommand, ListArgs, LogsArgs, OneArgs, WaitArgs, WithReason};
use crate::failure::Failure;
use crate::output::Output;
use crate::session::Session;

/// Between two looks at a job that somebody waits for.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// More than a worker can hold: its claims are looked through for one job.
const HELD_MOST: u32 = 10_000;

pub(crate) async fn job(session: &Session, output: Output, command: &JobCommand) -> Result<Exit, Failure> {
    let reason = |args: &WithReason| args.reason.clone();
    match command {
        JobCommand::Enqueue(args) => enqueue::enqueue(session, output, args).await,
        JobCommand::List(args) => list(session, output, args).await,
        JobCommand::Show(args) => show(session, output, args).await,
        JobCommand::Cancel(args) => {
            bulk::bulk(session, output, Deed::Cancel { reason: reason(args) }, &args.bulk).await
        }
        JobCommand::Hold(args) => {
            let reason = reason(args).unwrap_or_else(|| "held by hand".to_owned());
            bulk::bulk(session, output, Deed::Hold { reason }, &args.bulk).await
        }
        JobCommand::Release(args) => bulk::bulk(session, output, Deed::Release, args).await,
        JobCommand::Resume(args) => bulk::bulk(session, output, Deed::Resume, args).await,
        JobCommand::Retry(args) => bulk::bulk(session, output, Deed::Retry, args).await,
        JobCommand::Wait(args) => wait(session, output, args).await,
        JobCommand::Logs(args) => logs(session, output, args).await,
        JobCommand::Handler(command) => super::handler::handler(session, output, command),
    }
}

async fn list(session: &Session, output: Output, args: &ListArgs) -> Result<Exit, Failure> {
    let store = super::store::open(session, output, &args.store).await?;
    let filter = palisade_jobs::store::Filter {
        queue: args.queue.clone(),
        states: args.states.clone(),
        after: args.after,
        most: args.most,
    };
    let jobs = store.jobs(&filter).await?;
    if let Some(queue) = args.queue.as_ref().filter(|_| jobs.is_empty()) {
        super::queue::say_unknown(&store, output, queue).await?;
    }
    output.document(&json!({ "store": store.place(), "jobs": jobs }))?;
    for line in show::table(&jobs, clock::now()) {
        output.data(line)?;
    }
    if let Some(last) =
        jobs.last().filter(|_| u32::try_from(jobs.len()).is_ok_and(|count| count == args.most))
    {
        output.talk(format_args!("there may be more: --after {}", last.id));
    }
    Ok(Exit::Done)
}

async fn show(session: &Session, output: Output, args: &OneArgs) -> Result<Exit, Failure> {
    let store = super::store::open(session, output, &args.store).await?;
    let job = found(&store, args.job).await?;
    output.document(&job)?;
    for line in show::job(&job, clock::now()) {
        output.data(line)?;
    }
    Ok(Exit::Done)
}

/// What happened to a job, in order, and who did it.
pub(crate) async fn explain(session: &Session, output: Output, args: &OneArgs) -> Result<Exit, Failure> {
    let store = super::store::open(session, output, &args.store).await?;
    let job = found(&store, args.job).await?;
    let events = store.events(args.job).await?;
    let beats = beats(&store, &job).await?;
    let beating = beats.as_ref().map(|(who, last)| json!({ "incarnation": who, "acknowledged": last }));
    output.document(&json!({ "job": job, "beats": beating, "events": events }))?;
    for line in show::job(&job, clock::now()) {
        output.data(line)?;
    }
    if let Some((who, last)) = beats {
        output.data(format_args!("{:<11} {last} acknowledged, of incarnation {who}", "beats"))?;
    }
    output.data("")?;
    for event in &events {
        output.data(show::event(event))?;
    }
    Ok(Exit::Done)
}

/// Of a job that runs: which run of a worker holds it, and its last acknowledged beat. Several workers may bear its name.
async fn beats(store: &Store, job: &Job) -> Result<Option<(Incarnation, u64)>, Failure> {
    let (State::Running, Some(token), Some(name)) = (job.state, job.token, &job.worker) else {
        return Ok(None);
    };
    let workers = store.beats().await?.workers;
    let all: Vec<Incarnation> = workers.iter().map(|(who, _)| who.clone()).collect();
    for holder in store.holders(&all).await?.into_iter().filter(|holder| holder.worker.name == *name) {
        let who = &holder.worker.incarnation;
        if store.claims_of(who, HELD_MOST).await?.iter().any(|held| held.token == token) {
            return Ok(workers.into_iter().find(|(one, _)| one == who));
        }
    }
    Ok(None)
}

async fn found(store: &Store, id: JobId) -> Result<Job, Failure> {
    let missing = || {
        Failure::new(Exit::Failure, format!("{} has no job {id}", store.place())).code(Code::JobMissing).hint(
            "look with `palisade job list`; jobs that ended are forgotten after their queue's retention",
        )
    };
    store.job(id).await?.ok_or_else(missing)
}

async fn wait(session: &Session, output: Output, args: &WaitArgs) -> Result<Exit, Failure> {
    let store = super::store::open(session, output, &args.one.store).await?;
    let begun = clock::boot_ms();
    loop {
        let job = found(&store, args.one.job).await?;
        if job.state.is_final() || job.state == State::Held {
            output.document(&job)?;
            output.data(show::ended(&job))?;
            return Ok(if job.state == State::Succeeded { Exit::Done } else { Exit::Failure });
        }
        let waited = Duration::from_millis(clock::boot_ms().saturating_sub(begun));
        if args.timeout.is_some_and(|timeout| waited >= timeout) {
            let state = job.state;
            return Err(Failure::new(Exit::Unreachable, format!("job {} is still {state}", job.id))
                .hint("wait longer, or look at it with `palisade explain job`"));
        }
        output.progress(format_args!("job {} is {}", job.id, job.state));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn logs(session: &Session, output: Output, args: &LogsArgs) -> Result<Exit, Failure> {
    let store = super::store::open(session, output, &args.one.store).await?;
    let mut last = None;
    let mut all = Vec::new();
    loop {
        let job = found(&store, args.one.job).await?;
        for event in store.events(args.one.job).await? {
            if last.is_none_or(|last| event.number > last) {
                output.data(show::event(&event))?;
                last = Some(event.number);
                all.push(event);
            }
        }
        if args.no_follow || job.state.is_final() || job.state == State::Held {
            output.document(&json!({ "job": job, "events": all }))?;
            return Ok(Exit::Done);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
