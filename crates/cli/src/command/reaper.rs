//! `palisade reaper`: the elected judge of silent workers, and of a guarded table's silent jobs.

pub(crate) mod engine;

use std::time::Duration;

use palisade_core::Exit;
use palisade_core::text::Shown;
use palisade_dbguard::{Table, reap};
use palisade_jobs::reaper::Limits;
use palisade_lease::{LeaseStore as _, Name, Seen};
use palisade_store::lease::PostgresLeases;
use serde_json::json;

use crate::args::database::DatabaseArgs;
use crate::args::reaper::{JudgeArgs, ReaperCommand};
use crate::command::db::{reach, target};
use crate::command::reap_table;
use crate::command::undo::guard_of;
use crate::failure::Failure;
use crate::output::Output;

/// The schema in which a guard keeps its leases.
pub(crate) const SCHEMA: &str = "palisade";

pub(crate) async fn reaper(output: Output, command: &ReaperCommand) -> Result<Exit, Failure> {
    match command {
        ReaperCommand::Run(args) => match &args.table {
            Some(table) => reap_table::run(output, args, table).await,
            None => engine::run(output, args).await,
        },
        ReaperCommand::Status(args) => match &args.table {
            Some(table) => status(output, &args.database, table).await,
            None => engine::status(output, args).await,
        },
    }
}

pub(crate) fn name_of(table: &Table) -> Result<Name, Failure> {
    Name::new(&format!("reaper/{}", table.shown())).map_err(|error| Failure::usage(error.to_string()))
}

async fn status(output: Output, database: &DatabaseArgs, table: &str) -> Result<Exit, Failure> {
    let (session, _) = reach(output, None, database).await?;
    let (table, guard) = guard_of(&session, table).await?;
    let columns = reap::columns(&guard, &table)?;
    let look = reap::look(&session, &guard, &table, &columns).await?;
    let leases = PostgresLeases::new(target(output, database.database.as_deref())?, SCHEMA);
    let lease = leases.show(&name_of(&table)?).await?;
    let after = humantime::format_duration(guard.rules.min_age).to_string();
    output.document(&json!({
        "table": table.shown(), "running": look.running.len(), "reap_after": after, "policy": look.policy,
        "lease": lease,
    }))?;
    output.data(format!(
        "{}: {} running, reaped after {after}",
        Shown(&table.shown()),
        look.running.len()
    ))?;
    output.data(format!("reaper: {}", holder(lease.as_ref())))?;
    Ok(Exit::Done)
}

/// Who has the lease, for people.
pub(crate) fn holder(lease: Option<&Seen>) -> String {
    match lease {
        Some(seen) if seen.valid_for.is_some() => format!("{} under term {}", seen.holder, seen.term),
        Some(seen) => format!("nobody; the last one was {} under term {}", seen.holder, seen.term),
        None => "nobody, ever".to_owned(),
    }
}

/// How a reaper judges, from flags.
pub(crate) fn limits(args: &JudgeArgs, floor: Duration) -> Result<Limits, Failure> {
    let limits = Limits {
        sweep_every: args.sweep_every,
        floor,
        reconnect_grace: args.reconnect_grace,
        brake_least: args.brake_least,
        brake_percent: args.brake_percent,
    };
    limits.check().map_err(|error| Failure::usage(error.to_string()))?;
    Ok(limits)
}
