//! The words of `palisade db key`, `proof` and `epoch`: who an app is, and how old its build may be.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use palisade_core::{AppName, EnvironmentName};

use super::database::DatabaseArgs;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum KeyCommand {
    /// Write the key of an app into a file that only this user can read.
    #[command(after_help = "\
The key proves who an app is, for palisade.begin (docs/identity.md). Put the file where only that
app can read it.

Examples:
  palisade db key create --app atom --environment production --database @production.url
  palisade db key create --app atom --environment production --key /etc/atom/palisade.key")]
    Create(KeyArgs),
    /// Give an app another key; the one before counts for a while longer.
    #[command(after_help = "\
Example:
  palisade db key rotate --app atom --environment production --grace 2h")]
    Rotate(RotateArgs),
    /// Show which apps have a key and a minimum epoch.
    #[command(after_help = "\
Example:
  palisade db key list --database env:DATABASE_URL")]
    List(DatabaseArgs),
}

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// Whose key.
    #[arg(long, value_name = "APP")]
    pub(crate) app: AppName,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// The file to write [default: keys/APP@ENVIRONMENT.key in the state folder].
    #[arg(long = "key", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    #[command(flatten)]
    pub(crate) key: KeyArgs,
    /// How much longer the key before counts: until every process of the app has the new one.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    pub(crate) grace: Duration,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A proof is good for half a minute before and after its moment. It needs no connection.

Examples:
  palisade db proof --app atom --environment production
  psql -c \"BEGIN; $(palisade db proof --app atom --environment production --sql); ...; COMMIT\"")]
pub(crate) struct ProofArgs {
    /// Who says it.
    #[arg(long, value_name = "APP")]
    pub(crate) app: AppName,
    /// In which environment.
    #[arg(long, value_name = "ENVIRONMENT")]
    pub(crate) environment: EnvironmentName,
    /// The key file [default: keys/APP@ENVIRONMENT.key in the state folder].
    #[arg(long = "key", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Print the whole call.
    #[arg(long)]
    pub(crate) sql: bool,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum EpochCommand {
    /// Set the lowest epoch of a build of an app that may claim, cancel or reap.
    Set(EpochArgs),
    /// Let builds of any epoch begin again.
    #[command(after_help = "\
Example:
  palisade db epoch clear --app atom --environment production")]
    Clear(AppArgs),
    /// Show the minimums, and how many claims said no epoch.
    #[command(after_help = "\
Example:
  palisade db epoch list --database env:DATABASE_URL")]
    List(DatabaseArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
A build says its epoch in palisade.begin, or in its application_name as app@EPOCH or
app/environment@EPOCH.

Example:
  palisade db epoch set 412 --app atom --environment production")]
pub(crate) struct EpochArgs {
    /// The minimum.
    #[arg(value_name = "EPOCH", value_parser = clap::value_parser!(u64).range(..=999_999_999_999_999_999))]
    pub(crate) epoch: u64,
    #[command(flatten)]
    pub(crate) of: AppArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AppArgs {
    /// Of which app.
    #[arg(long, value_name = "APP")]
    pub(crate) app: AppName,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum RequireCommand {
    /// A table of jobs in PostgreSQL.
    Table(RequireTable),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  palisade guard require-identity table public.backfill_jobs on --lease reaper
  palisade guard require-identity table public.backfill_jobs off")]
pub(crate) struct RequireTable {
    /// The table, as SQL writes it.
    #[arg(value_name = "TABLE")]
    pub(crate) table: String,
    /// Whether only transactions that said who they are may claim a job, or end one other than by --done.
    #[arg(value_enum)]
    pub(crate) required: Switch,
    /// Whose holder may take jobs of others, however fresh their beat is [default: any lease's].
    #[arg(long, value_name = "LEASE")]
    pub(crate) lease: Option<String>,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Switch {
    /// It is asked for.
    On,
    /// It is not.
    Off,
}
