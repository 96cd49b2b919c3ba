//! The words of `palisade db` and of whatever else reaches a database.

use std::time::Duration;

use clap::{Args, Subcommand};
use palisade_core::EnvironmentName;

use super::identity::{EpochCommand, KeyCommand, ProofArgs};
use super::quarantine::{BeaconArgs, ForkArgs};
use super::stamp::StampArgs;

// Which database.
#[derive(Debug, Clone, Args)]
pub(crate) struct DatabaseArgs {
    /// postgres://ROLE:PASSWORD@HOST/DATABASE, or @FILE or env:NAME to read it from there
    /// [default: $PALISADE_DATABASE_URL].
    #[arg(long = "database", value_name = "URL|@FILE|env:NAME")]
    pub(crate) database: Option<String>,
    /// Go on only if this is the database with that id, as `palisade db identify` prints it.
    #[arg(long, value_name = "ID")]
    pub(crate) expect: Option<String>,
    /// Go on only if the database bears the stamp of this environment, as its own.
    #[arg(long, value_name = "ENVIRONMENT")]
    pub(crate) environment: Option<EnvironmentName>,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum DbCommand {
    /// Say which database a URL leads to, and what Palisade can do there.
    Identify(IdentifyArgs),
    /// Say which environment a database belongs to, in the database itself.
    Stamp(StampArgs),
    /// Keys with which apps prove who they are.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Renew the beacon of a database, which a copy of it stops having.
    Beacon(BeaconArgs),
    /// Make an empty, stamped database beside this one, with a role of its own.
    Fork(ForkArgs),
    /// Print a proof for palisade.begin.
    Proof(ProofArgs),
    /// The lowest epoch of builds that may begin anything.
    #[command(subcommand)]
    Epoch(EpochCommand),
    /// Say which environment a role belongs to, and show all such roles.
    Bind(BindArgs),
    /// Give back jobs that somebody took wrongly, from what a table's guard recorded.
    Undo(UndoArgs),
    /// Show who is connected, and what contradicts what is expected.
    Audit(super::audit::AuditArgs),
    /// Say who is expected.
    #[command(subcommand)]
    Expect(super::audit::ExpectCommand),
    /// Give the good code a new role, and take from the old one what can do harm.
    #[command(subcommand)]
    Rotate(super::rotate::RotateCommand),
}

// Which role.
#[derive(Debug, Args)]
#[command(after_help = "\
A role of another environment than the database's stamp cannot claim a job of a guarded table
there. Without a binding the name that a client gives itself is looked at, such as atom-saas-test.

Examples:
  palisade db bind                              show every binding
  palisade db bind atom_test test
  palisade db bind atom_test --remove")]
pub(crate) struct BindArgs {
    /// The role, as it logs in.
    #[arg(value_name = "ROLE")]
    pub(crate) role: Option<String>,
    /// The environment that it belongs to.
    #[arg(value_name = "ENVIRONMENT", requires = "role")]
    pub(crate) to: Option<EnvironmentName>,
    /// Bind it to none.
    #[arg(long, requires = "role", conflicts_with = "to")]
    pub(crate) remove: bool,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}

// Which exits to undo.
#[derive(Debug, Args)]
#[command(after_help = "\
A row that somebody changed since is left alone. Exits into states of --done and --own are a
worker's own.

Examples:
  palisade db undo public.backfill_jobs --since 2h --by atom-saas-test --dry-run
  palisade db undo public.backfill_jobs --since 2h --op 48213 --to queued")]
pub(crate) struct UndoArgs {
    /// The guarded table, as SQL writes it.
    #[arg(value_name = "TABLE")]
    pub(crate) table: String,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// How far back.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) since: Duration,
    /// Only what a client did that called itself so.
    #[arg(long, value_name = "APP")]
    pub(crate) by: Option<String>,
    /// Only what this transaction did, as `explain row` names it.
    #[arg(long, value_name = "TRANSACTION")]
    pub(crate) op: Option<String>,
    /// Into which state [default: the one that each job left].
    #[arg(long, value_name = "STATE")]
    pub(crate) to: Option<String>,
    /// Show the plan, and touch nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

// Which job.
#[derive(Debug, Args)]
pub(crate) struct RowArgs {
    /// The guarded table, as SQL writes it.
    #[arg(value_name = "TABLE")]
    pub(crate) table: String,
    /// The job's key, as text; several columns as (1,a).
    #[arg(value_name = "KEY")]
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}

// What else than a code can be explained.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ExplainCommand {
    /// Who took this job of a guarded table, from where, and against which rule.
    #[command(after_help = "\
Example:
  palisade explain row public.backfill_jobs 17")]
    Row(RowArgs),
    /// What happened to a durable job, in order, and who did it.
    #[command(after_help = "\
Example:
  palisade explain job 17")]
    Job(super::job::OneArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  palisade db identify env:DATABASE_URL
  palisade db identify @/etc/palisade/production.url --expect 7401234567890123456/16384
  palisade db identify --json")]
pub(crate) struct IdentifyArgs {
    /// The database, as --database takes it.
    #[arg(value_name = "URL|@FILE|env:NAME", conflicts_with = "database")]
    pub(crate) url: Option<String>,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}
