//! The words of `palisade quarantine`, `db beacon` and `db fork`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::database::DatabaseArgs;

#[derive(Debug, Args)]
#[command(after_help = "\
Every guard of the database refuses it from the next statement on, in observe too. A client is
known by what it proved, or by the name that it gives itself: one that hides its name is not known
by it.

Examples:
  palisade quarantine atom-saas-test --reason \"cancels production's jobs\" --database @production.url
  palisade quarantine atom --build 411
  palisade quarantine --role atom_old
  palisade quarantine atom-saas-test --lift
  palisade quarantine --list")]
pub(crate) struct QuarantineArgs {
    /// Which app, as it proves or calls itself.
    #[arg(value_name = "APP", required_unless_present_any = ["role", "list"])]
    pub(crate) app: Option<String>,
    /// Which role; with an APP only that app under that role.
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<String>,
    /// Which build of the app, by its epoch.
    #[arg(long, value_name = "EPOCH", requires = "app")]
    pub(crate) build: Option<String>,
    /// Why, for who meets it.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Let it in again.
    #[arg(long, conflicts_with = "reason")]
    pub(crate) lift: bool,
    /// Show who is shut out.
    #[arg(long, conflicts_with_all = ["app", "role", "lift", "reason"])]
    pub(crate) list: bool,
    /// Refuse only, and end no connection.
    #[arg(long)]
    pub(crate) keep_connections: bool,
    /// There is no pooler before this database: end its connections also where other apps come from the same place.
    #[arg(long, conflicts_with = "keep_connections")]
    pub(crate) direct: bool,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A physical copy of a database has its stamp, and nobody who renews its beacon. While the beacon is
stale identities give no rights and `palisade worker` claims nothing; no write of an app fails. It
runs until it is told to end.

Examples:
  palisade db beacon --environment production --database @production.url
  palisade db beacon --once --every 10m      from a timer
  palisade db beacon --end                   nobody renews it any more, on purpose")]
pub(crate) struct BeaconArgs {
    /// How often; five times that is how old it may become.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    pub(crate) every: Duration,
    /// Renew it once.
    #[arg(long)]
    pub(crate) once: bool,
    /// Take it away.
    #[arg(long, conflicts_with = "once")]
    pub(crate) end: bool,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The new database is empty: run your migrations with its URL. --environment is what it is stamped
for.

Examples:
  palisade db fork jobs_test --environment test --database @production-admin.url --url-file test.url
  palisade db fork jobs_test --environment test      prints the URL with its password once")]
pub(crate) struct ForkArgs {
    /// The name of the new database.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The name of its role [default: NAME].
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<String>,
    /// Where to write its URL, with the password, for this user only.
    #[arg(long, value_name = "FILE")]
    pub(crate) url_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}
