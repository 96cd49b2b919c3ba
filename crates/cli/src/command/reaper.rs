//! `palisade reaper`: the elected judge of silent jobs.

use palisade_core::Exit;
use palisade_core::text::Shown;
use palisade_dbguard::{Table, reap};
use palisade_lease::{LeaseStore as _, Name};
use palisade_store::lease::PostgresLeases;
use serde_json::json;

use crate::args::reaper::{ReaperCommand, StatusArgs};
use crate::command::db::{reach, target};
use crate::command::reap_table;
use crate::command::undo::guard_of;
use crate::failure::Failure;
use crate::output::Output;

/// The schema in which a guard keeps its leases.
pub(crate) const SCHEMA: &str = "palisade";

pub(crate) async fn reaper(output: Output, command: &ReaperCommand) -> Result<Exit, Failure> {
    match command {
        ReaperCommand::Run(args) => reap_table::run(output, args).await,
        ReaperCommand::Status(args) => status(output, args).await,
    }
}

pub(crate) fn name_of(table: &Table) -> Result<Name, Failure> {
    Name::new(&format!("reaper/{}", table.shown())).map_err(|error| Failure::usage(error.to_string()))
}

async fn status(output: Output, args: &StatusArgs) -> Result<Exit, Failure> {
    let (session, _) = reach(output, None, &args.database).await?;
    let (table, guard) = guard_of(&session, &args.table).await?;
    let columns = reap::columns(&guard, &table)?;
    let look = reap::look(&session, &guard, &table, &columns).await?;
    let leases = PostgresLeases::new(target(output, args.database.database.as_deref())?, SCHEMA);
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
    let who = match &lease {
        Some(seen) if seen.valid_for.is_some() => format!("{} under term {}", seen.holder, seen.term),
        Some(seen) => format!("nobody; the last one was {} under term {}", seen.holder, seen.term),
        None => "nobody, ever".to_owned(),
    };
    output.data(format!("reaper: {who}"))?;
    Ok(Exit::Done)
}
