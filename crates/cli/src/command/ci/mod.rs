//! `palisade ci`: workflows, what they carry and whether they may run.

mod epoch;

use palisade_core::Exit;

use crate::args::ci::{CiCommand, EpochCommand};
use crate::failure::Failure;
use crate::output::Output;
use crate::session::Session;

pub(crate) fn run(session: &Session, output: Output, command: &CiCommand) -> Result<Exit, Failure> {
    match command {
        CiCommand::Epoch(EpochCommand::Raise(args)) => epoch::raise(session, output, args),
        CiCommand::Epoch(EpochCommand::List) => epoch::list(session, output),
    }
}
