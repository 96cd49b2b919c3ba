//! `palisade ci`, as types.

use clap::{Args, Subcommand};
use palisade_core::Epoch;

#[derive(Debug, Subcommand)]
pub(crate) enum CiCommand {
    /// Keep workflows that were built from an old version from changing anything here.
    #[command(subcommand)]
    Epoch(EpochCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum EpochCommand {
    /// Raise the lowest epoch that a workflow may run with on this host. It never falls.
    Raise(RaiseArgs),
    /// List the lowest epochs of this host.
    List,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  palisade ci epoch raise --repository acme/shop --workflow 'Deploy to production' --to 7
  palisade ci epoch raise --repository acme/shop --every-workflow --to 7 --dry-run")]
pub(crate) struct RaiseArgs {
    /// The repository, as the forge says it: OWNER/NAME [default: the CI job's own].
    #[arg(long, value_name = "OWNER/NAME")]
    pub(crate) repository: Option<String>,
    /// The workflow: its `name:`, or the path of its file.
    #[arg(long, value_name = "WORKFLOW", required_unless_present = "every_workflow")]
    pub(crate) workflow: Option<String>,
    /// Every workflow of the repository, also under names that it had before.
    #[arg(long, conflicts_with = "workflow")]
    pub(crate) every_workflow: bool,
    /// The lowest epoch that is let through.
    #[arg(long, value_name = "EPOCH")]
    pub(crate) to: Epoch,
    /// Show what would change, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}
