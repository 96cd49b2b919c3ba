//! `palisade notify`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum NotifyCommand {
    /// Hand one notice to each receiver of the policy now, and say what came of it.
    #[command(after_help = "\
Example:
  palisade notify test")]
    Test,
    /// List the notices that wait to be delivered.
    #[command(after_help = "\
Example:
  palisade notify list")]
    List,
    /// Deliver what waits, until nothing does: guards start this by themselves.
    #[command(after_help = "\
Example:
  palisade notify deliver")]
    Deliver,
}
