//! `palisade reaper`: the elected judge of silent workers, and of a guarded table's silent jobs.

pub(crate) mod clerk;
pub(crate) mod engine;
mod table;

use std::time::Duration;

use palisade_core::Exit;
use palisade_jobs::reaper::Limits;
use palisade_lease::Seen;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::reaper::{JudgeArgs, ReaperCommand};
use crate::failure::Failure;
use crate::output::Output;

pub(crate) async fn reaper(output: Output, command: &ReaperCommand) -> Result<Exit, Failure> {
    match command {
        ReaperCommand::Run(args) => match &args.table {
            Some(table) => table::run(output, args, table).await,
            None => engine::run(output, args).await,
        },
        ReaperCommand::Status(args) => match &args.table {
            Some(table) => table::status(output, &args.database, table).await,
            None => engine::status(output, args).await,
        },
    }
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

/// Ready once somebody tells this process to end.
pub(crate) fn until_told() -> Result<impl Future<Output = ()>, Failure> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    })
}
