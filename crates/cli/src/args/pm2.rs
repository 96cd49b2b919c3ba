//! The words of `palisade pm2`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use palisade_core::Operation;

use super::{AppArgs, Pm2Home, SevereArgs, daemon};

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Pm2Command {
    /// List every process with its owner.
    #[command(after_help = "\
Examples:
  palisade pm2 list
  palisade pm2 list --pm2-home /srv/pm2 --json")]
    List(Pm2Home),
    /// Delete the processes of an app: stop them and take them off PM2's list.
    #[command(after_help = "\
Examples:
  palisade pm2 delete --app shop --environment production --dry-run
  palisade pm2 delete --app shop --environment production
  palisade pm2 delete --app shop --environment production shop-worker --wait 60s")]
    Delete(OperateArgs),
    /// Stop the processes of an app; they stay on PM2's list.
    #[command(after_help = "\
Examples:
  palisade pm2 stop --app shop --environment test
  palisade pm2 stop --app shop --environment production shop-worker")]
    Stop(OperateArgs),
    /// Restart the processes of an app.
    #[command(after_help = "\
Examples:
  palisade pm2 restart --app shop --environment production
  palisade pm2 restart --app shop --environment production shop-api --update-env")]
    Restart(CarryingArgs),
    /// Reload the processes of an app, instance by instance where it is a cluster.
    #[command(after_help = "\
Example:
  palisade pm2 reload --app shop --environment production")]
    Reload(CarryingArgs),
    /// Show what an operation would do, and write the plan to a file for `apply`.
    #[command(after_help = "\
Examples:
  palisade pm2 plan delete --app shop --environment production --out plan.json
  palisade pm2 apply plan.json")]
    Plan(PlanArgs),
    /// Carry out a plan file exactly as it was shown, or not at all.
    #[command(after_help = "\
Exit code 5: what the plan shows is no longer so, and nothing was done.

Examples:
  palisade pm2 plan delete --app shop --environment production --out plan.json
  palisade pm2 apply plan.json")]
    Apply(ApplyArgs),
    /// Bring back processes that are gone, from the restore bundle of a snapshot.
    #[command(after_help = "\
What runs is not touched. Each process is compared with its bundle field by field afterwards.

Examples:
  palisade pm2 restore --dry-run
  palisade pm2 restore
  palisade pm2 restore --snapshot 20260217101300123-01a204c0 --name shop-api")]
    Restore(RestoreArgs),
    /// Take a snapshot now, with a restore bundle: for a timer, or before work by hand.
    #[command(after_help = "\
Example:
  palisade pm2 snapshot")]
    Snapshot(Pm2Home),
    /// List the kept snapshots.
    #[command(after_help = "\
Examples:
  palisade pm2 snapshots
  palisade pm2 snapshots --json")]
    Snapshots,
    /// Incident runbook: what is gone, since when, by whom, and the restore that would follow.
    #[command(after_help = "\
Examples:
  palisade pm2 runbook
  palisade pm2 runbook --out incident.md")]
    Runbook(RunbookArgs),
    /// Settle operations that were cut off before their outcome was recorded.
    #[command(after_help = "\
Example:
  palisade pm2 reconcile")]
    Reconcile(Pm2Home),
    /// End the daemon with all its apps; a person has to confirm.
    #[command(after_help = "\
Example:
  palisade pm2 kill --confirm=/home/deploy/.pm2")]
    Kill(daemon::KillArgs),
    /// End the daemon and start it anew, with the pm2 that is installed now; every app comes back.
    Update(daemon::UpdateArgs),
    /// Save an app's processes for the next start, and lose nobody else's.
    Save(daemon::SaveArgs),
    /// Empty an app's own log files.
    #[command(after_help = "\
Example:
  palisade pm2 flush --app shop --environment test --dry-run")]
    Flush(daemon::FlushArgs),
    /// Versions of dump.pm2 from before it was changed, and the way back to one.
    Dumps(daemon::DumpsArgs),
}

// Which processes, under which conditions.
#[derive(Debug, Clone, Args)]
pub(crate) struct OperateArgs {
    /// Exact process names; without any, everything that the app owns in the environment.
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// A process by exact name, as the positional argument; may be repeated.
    #[arg(long = "name", value_name = "NAME")]
    pub(crate) more_names: Vec<String>,
    #[command(flatten)]
    pub(crate) of: AppArgs,
    #[command(flatten)]
    pub(crate) severe: SevereArgs,
    /// Leave out names that are not there; nothing left to do is a success.
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
}

// As [`OperateArgs`], and whether the caller's variables go along.
#[derive(Debug, Clone, Args)]
pub(crate) struct CarryingArgs {
    #[command(flatten)]
    pub(crate) operate: OperateArgs,
    /// Carry this shell's variables into the processes.
    #[arg(long)]
    pub(crate) update_env: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// What would be done.
    #[arg(value_enum)]
    pub(crate) operation: PlannedOperation,
    #[command(flatten)]
    pub(crate) carrying: CarryingArgs,
    /// Write the plan to this file, for `palisade pm2 apply FILE`.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Operations that can be planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlannedOperation {
    Delete,
    Stop,
    Restart,
    Reload,
}

impl From<PlannedOperation> for Operation {
    fn from(planned: PlannedOperation) -> Self {
        match planned {
            PlannedOperation::Delete => Self::Delete,
            PlannedOperation::Stop => Self::Stop,
            PlannedOperation::Restart => Self::Restart,
            PlannedOperation::Reload => Self::Reload,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// A file that `palisade pm2 plan --out FILE` wrote.
    #[arg(value_name = "FILE")]
    pub(crate) plan: PathBuf,
    #[command(flatten)]
    pub(crate) daemon: Pm2Home,
    #[command(flatten)]
    pub(crate) severe: SevereArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The snapshot [default: the newest of the last 24 hours of which something is missing].
    #[arg(long, value_name = "ID")]
    pub(crate) snapshot: Option<String>,
    /// Only the process of this name; may be repeated.
    #[arg(long = "name", value_name = "NAME")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) daemon: Pm2Home,
    /// Show what would be brought back, and start nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunbookArgs {
    #[command(flatten)]
    pub(crate) daemon: Pm2Home,
    /// Compare with this snapshot [default: the newest of which something is missing].
    #[arg(long, value_name = "ID")]
    pub(crate) snapshot: Option<String>,
    /// Write the report to this file instead of standard output.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}
