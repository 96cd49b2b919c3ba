//! The command line, as types.

pub(crate) mod audit;
pub(crate) mod bypass;
pub(crate) mod ci;
pub(crate) mod daemon;
pub(crate) mod database;
pub(crate) mod guard;
pub(crate) mod guard_table;
pub(crate) mod identity;
pub(crate) mod job;
pub(crate) mod notify;
pub(crate) mod quarantine;
pub(crate) mod queue;
pub(crate) mod reaper;
pub(crate) mod rotate;
pub(crate) mod stamp;
pub(crate) mod worker;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use palisade_core::{AppName, EnvironmentName, Operation};

/// Stops one environment from destroying another, even when the destroyer runs old code.
#[derive(Debug, Parser)]
#[command(name = "palisade", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "\
Examples:
  palisade init                                        write a policy from what PM2 runs
  palisade pm2 list                                    every process with its owner
  palisade pm2 delete --app shop --environment production --dry-run
  palisade pm2 restore                                 bring back what was deleted last
  palisade explain PAL-101                             what a code means and how to go on

Exit codes: 0 done, 1 failure, 2 usage, 3 refused, 4 confirmation needed, 5 plan stale,
  6 verification failed after the act, 7 unreachable, 8 journal, 9 lease held by another")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

// Options that every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Print one JSON document on standard output instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing on standard error but errors and open guards.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// When to colour the output.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,
}

/// When to colour the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

// Commands that stand below another: as arguments they are deferred like all others, which a bare enum is not.
#[derive(Debug, Args)]
pub(crate) struct Nested<C: Subcommand> {
    #[command(subcommand)]
    pub(crate) command: C,
}

// Only what is typed gets its arguments built: the whole tree costs each start a third of its page faults.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Look at and operate the processes of a PM2 daemon.
    #[command(name = "pm2")]
    Pm2(Nested<Pm2Command>),
    /// Look at a PostgreSQL database.
    Db(Nested<database::DbCommand>),
    /// Put guards in front of resources, and look what they saw.
    Guard(Nested<guard_table::GuardCommand>),
    /// Run a deployment command while holding the lease of its app and environment.
    Deploy(DeployArgs),
    /// Show who holds which lease, on this host or in a database.
    Lease(Nested<LeaseCommand>),
    /// Judge the silent jobs of a guarded table.
    Reaper(Nested<reaper::ReaperCommand>),
    /// Check what happened against what was promised.
    Verify(Nested<reaper::VerifyCommand>),
    /// Write a policy from what the daemon runs; run again, it adds what is new.
    Init(InitArgs),
    /// Check and show the policy.
    Config(Nested<ConfigCommand>),
    /// Read, verify and export the journal.
    Journal(Nested<JournalCommand>),
    /// Look at workflows, and keep old versions of them from changing anything.
    Ci(Nested<ci::CiCommand>),
    /// Look for what is wrong on this host; each finding comes with its fix.
    Doctor(Pm2Home),
    /// Shut an app, a role or a build out at every guard of a database.
    Quarantine(quarantine::QuarantineArgs),
    /// Open guards for a while: nothing is refused until it ends by itself.
    Off(bypass::OffArgs),
    /// End a bypass before its time.
    On(bypass::OnArgs),
    /// Enqueue durable jobs, look at them, and change them by hand.
    Job(Nested<job::JobCommand>),
    /// Look at queues, pause them, and set their rules.
    Queue(Nested<queue::QueueCommand>),
    /// Try whether notices of refusals arrive, and look which ones wait.
    Notify(Nested<notify::NotifyCommand>),
    /// Run a program for each job of a queue.
    Worker(worker::WorkerArgs),
    /// What a worker starts between itself and a program.
    #[command(hide = true)]
    WorkerKeeper(worker::KeeperArgs),
    /// Explain a code, such as PAL-101.
    Explain(ExplainArgs),
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Pm2Command {
    /// List every process with its owner.
    List(Pm2Home),
    /// Delete the processes of an app: stop them and take them off PM2's list.
    Delete(OperateArgs),
    /// Stop the processes of an app; they stay on PM2's list.
    Stop(OperateArgs),
    /// Restart the processes of an app.
    Restart(CarryingArgs),
    /// Reload the processes of an app, instance by instance where it is a cluster.
    Reload(CarryingArgs),
    /// Show what an operation would do, and write the plan to a file for `apply`.
    Plan(PlanArgs),
    /// Carry out a plan file exactly as it was shown, or not at all.
    Apply(ApplyArgs),
    /// Bring back processes that are gone, from the restore bundle of a snapshot.
    Restore(RestoreArgs),
    /// Take a snapshot now, with a restore bundle: for a timer, or before work by hand.
    Snapshot(Pm2Home),
    /// List the kept snapshots.
    Snapshots,
    /// Incident runbook: what is gone, since when, by whom, and the restore that would follow.
    Runbook(RunbookArgs),
    /// Settle operations that were cut off before their outcome was recorded.
    Reconcile(Pm2Home),
    /// End the daemon with all its apps; a person has to confirm.
    Kill(daemon::KillArgs),
    /// End the daemon and start it anew, with the pm2 that is installed now; every app comes back.
    Update(daemon::UpdateArgs),
    /// Save an app's processes for the next start, and lose nobody else's.
    Save(daemon::SaveArgs),
    /// Empty an app's own log files.
    Flush(daemon::FlushArgs),
}

// Which daemon.
#[derive(Debug, Clone, Args)]
pub(crate) struct Pm2Home {
    /// The daemon's PM2_HOME [default: $PM2_HOME, else ~/.pm2].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) pm2_home: Option<PathBuf>,
}

// In whose name.
#[derive(Debug, Clone, Args)]
pub(crate) struct ScopeArgs {
    /// The app [default: $PALISADE_APP].
    #[arg(long, value_name = "APP")]
    pub(crate) app: Option<AppName>,
    /// The environment [default: $PALISADE_ENVIRONMENT].
    #[arg(long, value_name = "ENVIRONMENT")]
    pub(crate) environment: Option<EnvironmentName>,
}

// Of which app, on which daemon, and whether for show.
#[derive(Debug, Clone, Args)]
pub(crate) struct AppArgs {
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    #[command(flatten)]
    pub(crate) daemon: Pm2Home,
    /// Judge and show what would be done, and touch nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

// What an act may need besides: a confirmation, and patience.
#[derive(Debug, Clone, Args)]
pub(crate) struct SevereArgs {
    /// Type the app's name to confirm a severe act.
    #[arg(long, value_name = "APP")]
    pub(crate) confirm: Option<String>,
    /// How long to wait while another deployment holds the lease.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub(crate) wait: Duration,
}

// Which processes, under which conditions.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  palisade pm2 delete --app shop --environment production
  palisade pm2 stop --app shop --environment test shop-worker-test
  palisade pm2 delete --app shop --environment production --dry-run --json")]
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

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  palisade deploy --app shop --environment production --wait 60s -- ./deploy.sh")]
pub(crate) struct DeployArgs {
    #[command(flatten)]
    pub(crate) scope: ScopeArgs,
    /// How long to wait while another deployment holds the lease.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub(crate) wait: Duration,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<std::ffi::OsString>,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum LeaseCommand {
    /// List every lease with its holder and term: this host's, or those of a database or Redis.
    List(reaper::LeasesArgs),
    /// Show one lease of a database or Redis.
    Show {
        /// Its name, as `lease list` prints it.
        name: String,
        #[command(flatten)]
        leases: reaper::LeasesArgs,
    },
    /// After a restore from a backup: end every lease, and raise its term above all that anybody may still show.
    AfterRestore {
        #[command(flatten)]
        leases: reaper::LeasesArgs,
        /// The highest term that a holder from the lost time was seen with.
        #[arg(long, value_name = "TERM", default_value_t = 0)]
        above: u64,
        /// The highest epoch of a build that was seen in the lost time: each minimum that a guard's database has is raised
        /// above it, and so to what builds have proven there.
        #[arg(long, value_name = "EPOCH", value_parser = clap::value_parser!(u64).range(..999_999_999_999_999_999))]
        above_epoch: Option<u64>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    pub(crate) daemon: Pm2Home,
    /// Show what would be written, and write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ConfigCommand {
    /// Check the policy and the project file; every problem at once.
    Check {
        /// A file to check instead of the policy in force.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Show the values in force.
    Show {
        /// Where each value comes from.
        #[arg(long)]
        origin: bool,
    },
    /// Print the JSON Schema of the policy file, for editors.
    Schema,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum JournalCommand {
    /// Print the newest records, and with -f those that follow.
    Tail {
        /// How many.
        #[arg(long, short = 'n', default_value_t = 20)]
        lines: usize,
        /// Go on as records are written.
        #[arg(long, short)]
        follow: bool,
    },
    /// Print one record whole.
    Show {
        /// Its number, or the id of its operation.
        #[arg(value_name = "SEQUENCE|OPERATION")]
        record: String,
    },
    /// Check every byte against the signed tree.
    Verify {
        /// Also compare with an anchor that `journal anchor` wrote; may be repeated.
        #[arg(long, value_name = "FILE")]
        anchor: Vec<PathBuf>,
        /// The verifier key [default: the one in the state folder].
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
    },
    /// Print how large it is and how old.
    Stat,
    /// Print every record.
    Export {
        /// The format.
        #[arg(long, value_enum, default_value_t = ExportFormat::Jsonl)]
        format: ExportFormat,
    },
    /// Save the signed head elsewhere, so that a cut tail is found.
    Anchor {
        /// To this file: best on another machine or a folder that this user cannot rewrite.
        #[arg(long, value_name = "FILE", required_unless_present = "git")]
        out: Option<PathBuf>,
        /// As a git note on HEAD of this repository (refs/notes/palisade).
        #[arg(long, value_name = "REPOSITORY")]
        git: Option<PathBuf>,
    },
}

/// Formats of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// One JSON record a line.
    Jsonl,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ExplainArgs {
    #[command(subcommand)]
    pub(crate) command: Option<database::ExplainCommand>,
    /// A code such as PAL-101, or nothing for the list.
    pub(crate) code: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    /// Arguments are built late, and a doc comment on their struct would then take the place of the command's own line.
    #[test]
    fn every_command_says_of_itself_what_the_list_of_commands_says_of_it() {
        let mut cli = Cli::command();
        let listed = abouts(&cli);
        cli.build();
        let built = abouts(&cli);
        assert!(listed.len() > 10, "{listed:?}");
        for (name, about) in listed {
            assert!(built.contains(&(name.clone(), about.clone())), "{name}: {about}");
        }
    }

    fn abouts(command: &clap::Command) -> Vec<(String, String)> {
        let about =
            |command: &clap::Command| command.get_about().map(ToString::to_string).unwrap_or_default();
        let own = command.get_subcommands().map(|sub| (sub.get_name().to_owned(), about(sub)));
        own.chain(command.get_subcommands().flat_map(abouts)).collect()
    }
}
