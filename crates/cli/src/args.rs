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
pub(crate) mod journal;
pub(crate) mod notify;
pub(crate) mod pm2;
pub(crate) mod quarantine;
pub(crate) mod queue;
pub(crate) mod reaper;
pub(crate) mod rotate;
pub(crate) mod stamp;
pub(crate) mod worker;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use palisade_core::{AppName, EnvironmentName};

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
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Print one JSON document on standard output instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing on standard error but errors and open guards.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// When to colour the output; auto is on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,
}

/// When to colour the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    // Without help of their own: it would stand on each page.
    Auto,
    Always,
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
    Pm2(Nested<pm2::Pm2Command>),
    /// Say whose a PostgreSQL database is, who may change it, and what was wrongly taken.
    Db(Nested<database::DbCommand>),
    /// Put guards in front of resources, and look what they saw.
    Guard(Nested<guard_table::GuardCommand>),
    /// Run a deployment command while holding the lease of its app and environment.
    Deploy(DeployArgs),
    /// Show who holds which lease, on this host or in a database.
    Lease(Nested<LeaseCommand>),
    /// Judge silent workers, or the silent jobs of a guarded table.
    Reaper(Nested<reaper::ReaperCommand>),
    /// Check what happened against what was promised.
    Verify(Nested<reaper::VerifyCommand>),
    /// Write a policy from what the daemon runs; run again, it adds what is new.
    #[command(after_help = "\
It writes the host's policy, or adds to it what runs and no app claims. The grouping is a guess:
look it over.

Examples:
  palisade init --dry-run
  palisade init")]
    Init(InitArgs),
    /// Check and show the policy.
    Config(Nested<ConfigCommand>),
    /// Read, verify and export the journal.
    Journal(Nested<journal::JournalCommand>),
    /// Look at workflows, and keep old versions of them from changing anything.
    Ci(Nested<ci::CiCommand>),
    /// Look for what is wrong on this host; each finding comes with its fix.
    #[command(after_help = "\
Exit code 1: something does not work, or a guard is not what it seems.

Examples:
  palisade doctor
  palisade doctor --json")]
    Doctor(Pm2Home),
    /// Shut an app, a role or a build out at every guard of a database.
    Quarantine(quarantine::QuarantineArgs),
    /// Open guards for a while: nothing is refused until it ends by itself.
    Off(bypass::OffArgs),
    /// End a bypass before its time.
    #[command(after_help = "\
Examples:
  palisade on
  palisade on pm2")]
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
    #[command(after_help = "\
Examples:
  palisade explain PAL-101
  palisade explain row public.backfill_jobs 17
  palisade explain job 17")]
    Explain(ExplainArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "\
Example:
  palisade completions bash > ~/.local/share/bash-completion/completions/palisade")]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
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
    #[command(after_help = "\
Examples:
  palisade lease list
  palisade lease list --store env:DATABASE_URL --schema palisade_jobs")]
    List(reaper::LeasesArgs),
    /// Show one lease of a database or Redis.
    #[command(after_help = "\
Example:
  palisade lease show reaper/public.backfill_jobs --store env:DATABASE_URL")]
    Show {
        /// Its name, as `lease list` prints it.
        name: String,
        #[command(flatten)]
        leases: reaper::LeasesArgs,
    },
    /// After a restore from a backup: end every lease, and raise its term above all that anybody may still show.
    #[command(after_help = "\
Examples:
  palisade lease after-restore --store env:DATABASE_URL --schema palisade_jobs
  palisade lease after-restore --store env:DATABASE_URL --above 41 --above-epoch 412")]
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
    #[command(after_help = "\
Examples:
  palisade config check
  palisade config check ./palisade.toml")]
    Check {
        /// A file to check instead of the policy in force.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Show the values in force.
    #[command(after_help = "\
Example:
  palisade config show --origin")]
    Show {
        /// Where each value comes from.
        #[arg(long)]
        origin: bool,
    },
    /// Print the JSON Schema of the policy file, for editors.
    #[command(after_help = "\
Example:
  palisade config schema > palisade.schema.json")]
    Schema,
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
mod tests;
