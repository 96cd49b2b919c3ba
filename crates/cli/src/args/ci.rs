//! `palisade ci`, as types.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use palisade_core::Epoch;

use super::ScopeArgs;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum CiCommand {
    /// Show what is known of the CI job that runs this, and what is not and why.
    #[command(after_help = "\
Example:
  palisade ci context")]
    Context,
    /// Decide whether a CI job may begin: as a runner's job-started hook, or as a first step.
    Admit(AdmitArgs),
    /// Look for dangerous shapes in workflows and in the scripts that they call.
    Lint(LintArgs),
    /// Keep workflows that were built from an old version from changing anything here.
    #[command(subcommand)]
    Epoch(EpochCommand),
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum EpochCommand {
    /// Put the epoch into a workflow file, or raise the one that is there.
    Write(WriteArgs),
    /// Compare the workflows of a checkout with the minimums of this host.
    Check(CheckArgs),
    /// Raise the lowest epoch that a workflow may run with on this host. It never falls.
    Raise(RaiseArgs),
    /// List the lowest epochs of this host.
    #[command(after_help = "\
Example:
  palisade ci epoch list")]
    List,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  palisade ci epoch write .gitea/workflows/deploy.yml
  palisade ci epoch write .github/workflows/*.yml --to 7 --dry-run")]
pub(crate) struct WriteArgs {
    /// Workflow files. Only the literal is changed; remarks and layout stay.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The epoch [default: one more than the file carries, 1 at first].
    #[arg(long, value_name = "EPOCH")]
    pub(crate) to: Option<Epoch>,
    /// Show what would be written, and write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  palisade ci epoch check
  palisade ci epoch check .gitea/workflows/deploy.yml --repository acme/shop --json")]
pub(crate) struct CheckArgs {
    /// Workflow files [default: all of the checkout around the working folder].
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The repository: OWNER/NAME [default: the CI job's own, else that of the checkout's remote `origin`].
    #[arg(long, value_name = "OWNER/NAME")]
    pub(crate) repository: Option<String>,
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
    /// The lowest epoch that is let through [default: the one that the workflow's file in this checkout carries].
    #[arg(long, value_name = "EPOCH")]
    pub(crate) to: Option<Epoch>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  palisade ci admit --hook                       in a runner's job-started hook
  palisade ci admit                              as the first step of a job
  palisade ci admit --hook --strict --app shop --environment production

Exit codes: 0 the job may begin, 3 it may not")]
pub(crate) struct AdmitArgs {
    /// This runs before the first step, as the runner's hook.
    #[arg(long)]
    pub(crate) hook: bool,
    /// Refuse what is only warned of otherwise: an old commit, a further attempt, a runner that keeps old copies.
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    /// Where to ask for the head of the branch [default: the forge's address of the repository].
    #[arg(long, value_name = "ADDRESS", conflicts_with = "offline")]
    pub(crate) remote: Option<String>,
    /// Ask no remote.
    #[arg(long)]
    pub(crate) offline: bool,
    /// The firewall's control socket, to register the job there [default: that of the daemon's firewall, if it has one].
    #[arg(long, value_name = "SOCKET")]
    pub(crate) control: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  palisade ci lint
  palisade ci lint .gitea/workflows/deploy.yml --json

Accept one finding with a reason, on its line or the one above:
  # palisade: accept PAL-705 this daemon runs nothing but this app")]
pub(crate) struct LintArgs {
    /// Workflow files, or folders with a checkout [default: the checkout around the working folder].
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
}
