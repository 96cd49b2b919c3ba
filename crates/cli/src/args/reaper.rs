//! The words of `palisade reaper`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::database::DatabaseArgs;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ReaperCommand {
    /// Judge silent workers, or the silent jobs of a guarded table, as the one elected reaper, until it is ended.
    Run(RunArgs),
    /// Say who the reaper is, and what it knows.
    #[command(after_help = "\
Examples:
  palisade reaper status --store env:DATABASE_URL
  palisade reaper status --table public.backfill_jobs")]
    Status(ReaperStatusArgs),
}

// What to judge, and how.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --table it serves the job engine: each claim has a threshold of its own, from the rules of
its queue. With --table it serves a guarded table, and the threshold is the guard's --min-age.
Flags and PALISADE_REAP_AFTER lengthen only. Silence counts only while it could be observed.
SIGTERM ends it in order, and the lease is free at once.

Examples:
  palisade reaper run --store env:DATABASE_URL
  palisade reaper run --dry-run
  palisade reaper run --table public.backfill_jobs --requeue-to queued")]
pub(crate) struct RunArgs {
    /// The guarded table, as SQL writes it [default: the job engine's own].
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<String>,
    /// The store of the job engine: sqlite:PATH or postgres://..., or @FILE or env:NAME to read it from there
    /// [default: $DATABASE_URL, else jobs.db in the state folder].
    #[arg(long, value_name = "URL|@FILE|env:NAME", conflicts_with_all = ["table", "database"])]
    pub(crate) store: Option<String>,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// The state that a reaped job of a table is given back to.
    #[arg(long, value_name = "STATE", requires = "table")]
    pub(crate) requeue_to: Option<String>,
    /// The key file that proves who reaps (palisade db key create): needed where the guard asks for an identity, and
    /// otherwise what the history names.
    #[arg(long, env = "PALISADE_KEY_FILE", value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Say what would be reaped, and reap nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// A longer silence than the rules ask for.
    #[arg(long, env = "PALISADE_REAP_AFTER", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) reap_after: Option<Duration>,
    /// How often a job of the table beats; the job engine knows that of its own.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) beat_every: Duration,
    #[command(flatten)]
    pub(crate) judge: JudgeArgs,
}

// How a reaper judges.
#[derive(Debug, Args)]
#[command(next_help_heading = "Reaper")]
pub(crate) struct JudgeArgs {
    /// How often the reaper looks.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) sweep_every: Duration,
    /// How long workers may take to come back after the database was away.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) reconnect_grace: Duration,
    /// How long the reaper's lease lasts without renewal.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    pub(crate) lease: Duration,
    /// So many may always be reaped in one pass.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) brake_least: usize,
    /// And so many of a hundred running ones.
    #[arg(long, value_name = "PERCENT", default_value_t = 30)]
    pub(crate) brake_percent: usize,
    /// You have looked: those whom the brake spares at the start are dead indeed.
    #[arg(long)]
    pub(crate) lift_brake: bool,
}

// Whose reaper.
#[derive(Debug, Args)]
pub(crate) struct ReaperStatusArgs {
    /// The guarded table, as SQL writes it [default: the job engine's own].
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<String>,
    /// The store of the job engine: sqlite:PATH or postgres://..., or @FILE or env:NAME to read it from there
    /// [default: $DATABASE_URL, else jobs.db in the state folder].
    #[arg(long, value_name = "URL|@FILE|env:NAME", conflicts_with_all = ["table", "database"])]
    pub(crate) store: Option<String>,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}

// Whose leases.
#[derive(Debug, Args)]
pub(crate) struct LeasesArgs {
    /// postgres://, redis:// or sqlite:FILE, or @FILE or env:NAME to read it from there [default: this host's].
    #[arg(long = "store", value_name = "URL|@FILE|env:NAME")]
    pub(crate) store: Option<String>,
    /// The schema of PostgreSQL: palisade for guards, palisade_jobs for the job engine.
    #[arg(long, value_enum, default_value_t = LeaseSchema::Palisade, requires = "store")]
    pub(crate) schema: LeaseSchema,
}

/// Where leases are in PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum LeaseSchema {
    Palisade,
    PalisadeJobs,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum VerifyCommand {
    /// Hold what is recorded of the job engine, or of a guarded table, against what was promised.
    #[command(after_help = "\
Ends with exit 6 where a promise was broken: S1 no job is taken before its threshold, a proven
death excepted; S2 each reap is written under the term in force; S3 after the end of an attempt
nothing of it is accepted; S4 no job is lost or done twice, its checkpoints never go back, and one
key makes one job. A guarded table has S1 and S2.

Examples:
  palisade verify history --store env:DATABASE_URL
  palisade verify history --table public.backfill_jobs")]
    History(ReaperStatusArgs),
}
