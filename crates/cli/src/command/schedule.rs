//! `palisade queue schedule`: jobs by the clock.

use palisade_core::record::{JobsChanged, Phase};
use palisade_core::{Code, Exit, QueueName};
use palisade_jobs::{JobStore as _, Schedule};
use palisade_store::Store;
use serde_json::json;

use super::store::{self, Ledger};
use crate::args::queue::{NamedArgs, ScheduleArgs, ScheduleCommand};
use crate::failure::Failure;
use crate::output::{GOOD, Output, styled};
use crate::render::table;
use crate::session::Session;

pub(crate) async fn schedule(
    session: &Session,
    output: Output,
    command: &ScheduleCommand,
) -> Result<Exit, Failure> {
    match command {
        ScheduleCommand::List(args) => {
            let schedules = store::open(session, output, args).await?.schedules().await?;
            output.document(&json!({ "schedules": schedules }))?;
            let rows: Vec<_> = schedules.iter().map(row).collect();
            for line in table::columns(&["schedule", "queue", "when", "zone", "next", "last"], &rows) {
                output.data(line)?;
            }
            Ok(Exit::Done)
        }
        ScheduleCommand::Set(args) => set(session, output, args).await,
        ScheduleCommand::Remove(args) => remove(session, output, args).await,
    }
}

fn row(schedule: &Schedule) -> Vec<String> {
    let moment = |moment: Option<palisade_core::Timestamp>| {
        moment.map_or_else(|| "never".to_owned(), |moment| moment.to_string())
    };
    vec![
        schedule.name.to_string(),
        schedule.queue.to_string(),
        schedule.cron.to_string(),
        schedule.zone.clone(),
        moment(schedule.next),
        moment(schedule.last),
    ]
}

async fn set(session: &Session, output: Output, args: &ScheduleArgs) -> Result<Exit, Failure> {
    let payload = serde_json::from_str(&args.payload)
        .map_err(|error| Failure::usage(format!("the payload is no JSON: {error}; no schedule was set")))
        .map_err(|failure| failure.hint(r#"quote it: --payload '{"day":"2026-02-17"}'"#))?;
    let store = store::open(session, output, &args.store).await?;
    let (actor, by) = store::note(session, &args.store)?;
    let schedule = Schedule {
        name: args.name.clone(),
        queue: args.queue.clone(),
        cron: args.cron.clone(),
        zone: args.zone.clone(),
        payload,
        priority: args.priority,
        max_attempts: args.max_attempts,
        next: None,
        last: None,
        by,
    };
    let what = format!("schedule {} at {} {}", args.name, args.cron, args.zone);
    let ledger = Ledger::begin(session, actor, entry(&store, &args.queue, what))?;
    if let Err(error) = store.set_schedule(&schedule).await {
        ledger.end(Phase::Failed, vec![error.to_string()]);
        return Err(error.into());
    }
    let recorded = ledger.end(Phase::Done, Vec::new());
    let stored = store.schedules().await?.into_iter().find(|stored| stored.name == args.name);
    output.document(&json!({ "result": "set", "schedule": stored, "recorded": recorded }))?;
    let next = stored.as_ref().and_then(|stored| stored.next);
    let next = next.map_or_else(|| "never".to_owned(), |next| next.to_string());
    output.data(format_args!("{} schedule {} ticks next at {next}", styled(GOOD, "done:"), args.name))?;
    output.data(format_args!("  recorded: {recorded}"))?;
    Ok(Exit::Done)
}

async fn remove(session: &Session, output: Output, args: &NamedArgs) -> Result<Exit, Failure> {
    let store = store::open(session, output, &args.store).await?;
    let (actor, _) = store::note(session, &args.store)?;
    let what = format!("schedule {} taken away", args.queue);
    let ledger = Ledger::begin(session, actor, entry(&store, &args.queue, what))?;
    let is_gone = match store.remove_schedule(&args.queue).await {
        Ok(is_gone) => is_gone,
        Err(error) => {
            ledger.end(Phase::Failed, vec![error.to_string()]);
            return Err(error.into());
        }
    };
    if !is_gone {
        ledger.end(Phase::Failed, vec!["there is no such schedule".to_owned()]);
        return Err(Failure::new(Exit::Failure, format!("there is no schedule {}", args.queue))
            .code(Code::JobMissing)
            .hint("look with `palisade queue schedule list`"));
    }
    let recorded = ledger.end(Phase::Done, Vec::new());
    output.document(&json!({ "result": "removed", "schedule": args.queue, "recorded": recorded }))?;
    output.data(format_args!("{} schedule {} is gone", styled(GOOD, "done:"), args.queue))?;
    output.data(format_args!("  recorded: {recorded}"))?;
    Ok(Exit::Done)
}

fn entry(store: &Store, queue: &QueueName, what: String) -> JobsChanged {
    JobsChanged {
        deed: "schedule".to_owned(),
        phase: Phase::Begun,
        store: store.place(),
        queue: Some(queue.clone()),
        jobs: 0,
        first: Vec::new(),
        details: vec![what],
    }
}
