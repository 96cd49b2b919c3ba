//! The words of `palisade guard`, and of `palisade guard ... table`.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};
use palisade_dbguard::profile::PROFILES;
use palisade_dbguard::{Budget, Mode};

use super::database::DatabaseArgs;
use super::guard;
use super::identity::RequireCommand;

// What stands in front of which resource. Each verb takes the kind of resource next.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum GuardCommand {
    /// Put a guard in front of a resource, or change its rules.
    #[command(subcommand)]
    Install(InstallCommand),
    /// Take a guard away and leave the resource as it was.
    #[command(subcommand)]
    Remove(RemoveCommand),
    /// Let a guard refuse, or only record.
    #[command(subcommand)]
    Mode(ModeCommand),
    /// Let only those claim and end jobs that said who they are.
    #[command(subcommand)]
    RequireIdentity(RequireCommand),
    /// Show every guard in front of PM2, or with `table` those of a database.
    #[command(after_help = "\
Examples:
  palisade guard list
  palisade guard list table --database env:DATABASE_URL")]
    List(guard::ListArgs),
    /// Show what guards saw: findings, what passed, refusals.
    #[command(subcommand)]
    Report(ReportCommand),
    /// Look whether guards still are what was installed.
    #[command(subcommand)]
    Verify(VerifyCommand),
    /// Empty what guards recorded long ago.
    #[command(subcommand)]
    Prune(PruneCommand),
    /// Bring guards that an earlier build installed up to this one.
    #[command(subcommand)]
    Upgrade(UpgradeCommand),
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum InstallCommand {
    /// A PM2 daemon.
    #[command(name = "pm2")]
    Pm2(guard::InstallArgs),
    /// A table of jobs in PostgreSQL.
    Table(Box<InstallTable>),
    /// A trigger that keeps who logs in to a database, from PostgreSQL 17 on; in enforce it refuses clients that the
    /// rules of this database keep out.
    Login(InstallLogin),
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum RemoveCommand {
    /// A PM2 daemon.
    #[command(name = "pm2")]
    #[command(after_help = "\
Examples:
  palisade guard remove pm2 --dry-run
  palisade guard remove pm2")]
    Pm2(guard::RemoveArgs),
    /// A table of jobs in PostgreSQL.
    #[command(after_help = "\
Examples:
  palisade guard remove table public.backfill_jobs --dry-run
  palisade guard remove table public.backfill_jobs")]
    Table(RemoveTable),
    /// The trigger that keeps who logs in to a database, with what it kept.
    #[command(after_help = "\
Example:
  palisade guard remove login")]
    Login(LoginArgs),
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ModeCommand {
    /// A PM2 daemon.
    #[command(name = "pm2")]
    #[command(after_help = "\
Examples:
  palisade guard mode pm2 enforce --app shop --environment production
  palisade guard mode pm2 observe")]
    Pm2(guard::ModeArgs),
    /// A table of jobs in PostgreSQL.
    #[command(after_help = "\
Example:
  palisade guard mode table public.backfill_jobs enforce")]
    Table(ModeTable),
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ListCommand {
    /// Tables of jobs in PostgreSQL.
    #[command(after_help = "\
Example:
  palisade guard list table --database env:DATABASE_URL")]
    Table(DatabaseArgs),
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ReportCommand {
    /// A PM2 daemon: what would be refused, and which app is safe to enforce.
    #[command(name = "pm2")]
    #[command(after_help = "\
Examples:
  palisade guard report pm2
  palisade guard report pm2 --since 7d --json")]
    Pm2(guard::ReportArgs),
    /// Tables of jobs in PostgreSQL.
    #[command(after_help = "\
Example:
  palisade guard report table public.backfill_jobs --since 24h")]
    Table(ReportTable),
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum VerifyCommand {
    /// Tables of jobs in PostgreSQL.
    Table(VerifyTable),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 6: a guard is not what was installed, or its beacon is stale. A right that voids a guard
is told, and counts with --strict. A pause that is longer than a database's idle time lets it
sleep.

Examples:
  palisade guard verify table
  palisade guard verify table --every 5m --alert
  palisade guard verify table --every 1h --alert --strict")]
pub(crate) struct VerifyTable {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// Look again and again, each time over a new connection, and tell what changes.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) every: Option<Duration>,
    /// Tell the receivers of the host's policy ([notify]) what is wrong.
    #[arg(long)]
    pub(crate) alert: bool,
    /// A right that voids a guard counts as damage.
    #[arg(long)]
    pub(crate) strict: bool,
    /// First guard the TRUNCATE of partitions that were made after the guard, as their owner. Nothing else is changed.
    #[arg(long)]
    pub(crate) repair: bool,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum UpgradeCommand {
    /// Every guarded table of a database.
    Table(UpgradeTable),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Rules, history, stamp, keys and leases stay. No table of an app is locked or written: its workers
go on meanwhile.

Example:
  palisade guard upgrade table --dry-run")]
pub(crate) struct UpgradeTable {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// Print the whole SQL, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum PruneCommand {
    /// The history of a database's guarded tables.
    Table(PruneTable),
}

#[derive(Debug, Args)]
#[command(after_help = "\
No app waits for it: a day that is over is emptied at once, and one that somebody reads is left
for the next time. Run it from a timer, with the rights of whoever installed the guard.

Example:
  palisade guard prune table --keep 30d --dry-run")]
pub(crate) struct PruneTable {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// How much is kept, in whole days.
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = days)]
    pub(crate) keep: Duration,
    /// Show what would be emptied, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  palisade guard install table public.backfill_jobs --inspect
  palisade guard install table public.backfill_jobs --status status --running running \\
      --heartbeat heartbeat_at --done completed --own failed,queued --mode observe
  palisade guard install table public.backfill_jobs ... --dry-run    the whole SQL, for a DBA
  palisade guard install table pgboss.job --profile pg-boss")]
pub(crate) struct InstallTable {
    /// The table, as SQL writes it.
    #[arg(value_name = "TABLE")]
    pub(crate) table: String,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// What is known about a library's table; other options go before it.
    #[arg(long, value_name = "LIBRARY", value_parser = PossibleValuesParser::new(PROFILES.map(|profile| profile.name)))]
    pub(crate) profile: Option<String>,
    /// The column of states.
    #[arg(long, value_name = "COLUMN", required_unless_present_any = ["inspect", "profile", "claimed"])]
    pub(crate) status: Option<String>,
    /// States in which a job runs.
    #[arg(long, value_name = "STATES", value_delimiter = ',',
        required_unless_present_any = ["inspect", "profile", "claimed"])]
    pub(crate) running: Vec<String>,
    /// Without a column of states: a job runs as long as this column is not null, such as locked_at;
    /// its states are `claimed` and `free`.
    #[arg(long, value_name = "COLUMN", conflicts_with_all = ["status", "running"])]
    pub(crate) claimed: Option<String>,
    /// The column of the last heartbeat, a timestamp.
    #[arg(long, value_name = "COLUMN", required_unless_present_any = ["inspect", "profile"])]
    pub(crate) heartbeat: Option<String>,
    /// Where the heartbeat is, if in another table: --heartbeat is then the column whose value is that table's key.
    #[arg(long, value_name = "TABLE.COLUMN", requires = "heartbeat")]
    pub(crate) heartbeat_in: Option<String>,
    /// What identifies a job [default: the primary key].
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub(crate) key: Vec<String>,
    /// States into which a job may always go; DELETE is the row's deletion.
    #[arg(long, value_name = "STATES", value_delimiter = ',')]
    pub(crate) done: Vec<String>,
    /// States into which a worker puts its own job while it beats; they need no budget.
    #[arg(long, value_name = "STATES", value_delimiter = ',')]
    pub(crate) own: Vec<String>,
    /// Columns of which a worker's own exit into a state of --own changes at least one.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub(crate) own_changes: Vec<String>,
    /// The column that says why a job ended: it is recorded, and `db undo` brings the old reason back.
    #[arg(long, value_name = "COLUMN")]
    pub(crate) reason_column: Option<String>,
    /// What the reason of somebody who may take a silent job looks like.
    #[arg(long, value_name = "REGEX", requires = "reason_column")]
    pub(crate) reason: Option<String>,
    /// What a user's cancel leaves in which column.
    #[arg(long, value_name = "COLUMN=REGEX", value_parser = mark)]
    pub(crate) user_mark: Option<(String, String)>,
    /// From this silence on a job may be taken by anybody [default: 60m, or what the profile says].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) min_age: Option<Duration>,
    /// Up to this silence a job counts as alive: three beats, and at least 2m [default: 2m, or what the profile says].
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) quiet_after: Option<Duration>,
    /// How far a heartbeat may be set back or lie in the future.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) clock_skew: Duration,
    /// How many exits that only look right may happen within what time.
    #[arg(long, value_name = "N/TIME", default_value = "3/10m", value_parser = budget)]
    pub(crate) budget: Budget,
    /// Refuse what breaks a rule, or only record it.
    #[arg(long, value_enum, default_value_t = ModeName::Observe)]
    pub(crate) mode: ModeName,
    /// Propose columns and rules from the catalogue, and change nothing.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) inspect: bool,
    /// Print the whole SQL, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
In enforce a login is refused under quarantine (PAL-324), from a build below the minimum epoch
(PAL-323), and of a client of another environment, by its role's binding or by its name (PAL-335).
Superusers and members of palisade_owner always get in, and so does everybody where the trigger
cannot judge. The way back: palisade guard install login --mode observe

Examples:
  palisade guard install login --dry-run
  palisade guard install login --mode enforce")]
pub(crate) struct InstallLogin {
    #[command(flatten)]
    pub(crate) login: LoginArgs,
    /// Keep who comes, or also refuse.
    #[arg(long, value_enum, default_value = "observe")]
    pub(crate) mode: ModeName,
}

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// Print the whole SQL, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Observe or enforce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeName {
    /// What breaks a rule passes and is recorded.
    Observe,
    /// What breaks a rule is refused.
    Enforce,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::Observe => Self::Observe,
            ModeName::Enforce => Self::Enforce,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RemoveTable {
    /// The table, as SQL writes it.
    #[arg(value_name = "TABLE")]
    pub(crate) table: String,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// Keep what the guard recorded, in the schema palisade.
    #[arg(long)]
    pub(crate) keep_history: bool,
    /// Print the whole SQL, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ModeTable {
    /// The table, as SQL writes it.
    #[arg(value_name = "TABLE")]
    pub(crate) table: String,
    /// Refuse what breaks a rule, or only record it.
    #[arg(value_enum)]
    pub(crate) mode: ModeName,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReportTable {
    /// The table, as SQL writes it [default: every guarded table].
    #[arg(value_name = "TABLE")]
    pub(crate) table: Option<String>,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// How far back.
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = humantime::parse_duration)]
    pub(crate) since: Duration,
}

/// Why a word is not what it should be.
#[derive(Debug, thiserror::Error)]
enum WordError {
    #[error("write it as N/TIME, such as 3/10m")]
    Budget,
    #[error(transparent)]
    Time(#[from] humantime::DurationError),
    #[error("keep at least a day: what happened last is what somebody asks for")]
    TooShort,
    #[error("write it as COLUMN=REGEX, such as cancelled_by=^user:")]
    Mark,
}

fn budget(text: &str) -> Result<Budget, WordError> {
    let (jobs, window) = text.split_once('/').ok_or(WordError::Budget)?;
    let window = humantime::parse_duration(window)?;
    Ok(Budget { jobs: jobs.parse().map_err(|_| WordError::Budget)?, window })
}

fn days(text: &str) -> Result<Duration, WordError> {
    let time = humantime::parse_duration(text)?;
    if time < Duration::from_secs(86_400) { Err(WordError::TooShort) } else { Ok(time) }
}

fn mark(text: &str) -> Result<(String, String), WordError> {
    let (column, pattern) = text.split_once('=').ok_or(WordError::Mark)?;
    Ok((column.to_owned(), pattern.to_owned()))
}
