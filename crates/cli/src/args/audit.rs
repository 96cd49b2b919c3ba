//! The words of `palisade db audit` and `palisade db expect`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use palisade_audit::Network;

use super::database::DatabaseArgs;

#[derive(Debug, Args)]
#[command(after_help = "\
Without --log the strongest source is taken that the server allows this role: its log, its login
trigger, or samples of its sessions. Exit code 6: something contradicts the expectations.

Examples:
  palisade db audit
  palisade db audit --log /var/log/postgresql/postgresql-15-main.log --follow
  journalctl -u postgresql -o cat | palisade db audit --log - --prefix '%m [%p] '
  palisade db audit --source sample --every 250ms --for 1m")]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// Read this file of the server's log, or - for standard input.
    #[arg(long, value_name = "FILE|-", conflicts_with = "source")]
    pub(crate) log: Option<String>,
    /// How that log is written [default: told from its first lines].
    #[arg(long, value_enum, requires = "log")]
    pub(crate) format: Option<FormatName>,
    /// The server's log_line_prefix [default: asked of the server, or told from the first lines].
    #[arg(long, value_name = "PREFIX", requires = "log")]
    pub(crate) prefix: Option<String>,
    /// Where to look.
    #[arg(long, value_enum, default_value_t = SourceName::Auto)]
    pub(crate) source: SourceName,
    /// How far back; of a log, files that were written since.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    pub(crate) since: Duration,
    /// Go on, and tell what is new as it comes.
    #[arg(long)]
    pub(crate) follow: bool,
    /// How often to look for what is new; a pause that lets a database sleep is longer than its idle time.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = humantime::parse_duration)]
    pub(crate) every: Duration,
    /// How long to take samples.
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) span: Duration,
}

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatName {
    /// log_destination = stderr.
    Stderr,
    /// log_destination = csvlog.
    Csv,
    /// log_destination = jsonlog.
    Json,
}

/// Where an audit looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SourceName {
    /// The strongest that the server allows this role.
    Auto,
    /// The server's log, read through SQL.
    Log,
    /// What the login trigger kept (`palisade guard install login`).
    Trigger,
    /// Looking again and again who is connected.
    Sample,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
#[command(after_help = "\
Expectations are kept in the database that they are about (schema palisade_audit).

Examples:
  palisade db expect environment production
  palisade db expect app atom-saas --role app --from 10.0.0.0/16 --writes public.backfill_jobs
  palisade db expect app 'puma: cluster worker *' --role app
  palisade db expect list")]
pub(crate) enum ExpectCommand {
    /// Show what is expected.
    #[command(after_help = "\
Example:
  palisade db expect list")]
    List(DatabaseArgs),
    /// Expect an app; what is named is added to what is there.
    #[command(after_help = "\
Examples:
  palisade db expect app atom-saas --role app --from 10.0.0.0/16 --writes public.backfill_jobs
  palisade db expect app atom-saas --remove")]
    App(ExpectApp),
    /// Say which environment this database is.
    #[command(after_help = "\
Example:
  palisade db expect environment production")]
    Environment {
        /// Such as production.
        #[arg(value_name = "ENVIRONMENT")]
        name: String,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Say where a pooler stands, behind which addresses say nothing.
    #[command(after_help = "\
Example:
  palisade db expect pooler 10.0.7.12")]
    Pooler {
        /// Its address or network.
        network: Network,
        /// No pooler stands there any more.
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Take away everything that audits keep in this database.
    #[command(after_help = "\
Example:
  palisade db expect forget --confirm atom")]
    Forget {
        /// Type the database's name to confirm it.
        #[arg(long, value_name = "DATABASE")]
        confirm: Option<String>,
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ExpectApp {
    /// The name that it gives itself (application_name), without @EPOCH; * stands for any text.
    #[arg(value_name = "APP")]
    pub(crate) app: String,
    /// A role that it logs in as [default: any].
    #[arg(long = "role", value_name = "ROLES", value_delimiter = ',')]
    pub(crate) roles: Vec<String>,
    /// Where it comes from: addresses, networks, or local [default: anywhere].
    #[arg(long = "from", value_name = "NETWORKS", value_delimiter = ',')]
    pub(crate) networks: Vec<Network>,
    /// It may change the schema.
    #[arg(long)]
    pub(crate) ddl: bool,
    /// Guarded tables that it writes.
    #[arg(long, value_name = "TABLES", value_delimiter = ',')]
    pub(crate) writes: Vec<String>,
    /// Expect it no more.
    #[arg(long, conflicts_with_all = ["roles", "networks", "ddl", "writes"])]
    pub(crate) remove: bool,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}
