//! `palisade ci`: workflows, what they carry and whether they may run.

mod admit;
mod checkout;
mod context;
mod epoch;
pub(crate) mod health;
mod lint;
mod raise;
mod remote;

use palisade_core::Exit;
use palisade_pipeline::epochs;

use crate::args::ci::{CiCommand, EpochCommand};
use crate::failure::Failure;
use crate::output::Output;
use crate::session::Session;

pub(crate) async fn run(session: &Session, output: Output, command: &CiCommand) -> Result<Exit, Failure> {
    match command {
        CiCommand::Context => context::context(session, output),
        CiCommand::Admit(args) => admit::admit(session, output, args).await,
        CiCommand::Lint(args) => lint::lint(output, args),
        CiCommand::Epoch(EpochCommand::Write(args)) => epoch::write(output, args),
        CiCommand::Epoch(EpochCommand::Check(args)) => epoch::check(session, output, args),
        CiCommand::Epoch(EpochCommand::Raise(args)) => raise::raise(session, output, args),
        CiCommand::Epoch(EpochCommand::List) => raise::list(session, output),
    }
}

/// Before an administrator's act: a stale job may not ask for it.
pub(crate) fn no_stale_job(session: &Session) -> Result<(), Failure> {
    let host = session.host_policy().ok();
    let barred = epochs::bars(&session.state, host.as_ref().map(|host| host.reference()), &session.actor()?);
    match barred {
        None => Ok(()),
        Some(finding) => {
            Err(Failure::new(Exit::Refused, finding.message).code(finding.code).hint(finding.fix))
        }
    }
}
