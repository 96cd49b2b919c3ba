//! `palisade notify`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum NotifyCommand {
    /// Hand one notice to each receiver of the policy now, and say what came of it.
    Test,
    /// List the notices that wait to be delivered.
    List,
    /// Deliver what waits, until nothing does: guards start this by themselves.
    Deliver,
}
