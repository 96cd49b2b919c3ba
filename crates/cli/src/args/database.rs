//! The words of `palisade db` and of whatever else reaches a database.

use clap::{Args, Subcommand};

/// Which database.
#[derive(Debug, Clone, Args)]
pub(crate) struct DatabaseArgs {
    /// postgres://ROLE:PASSWORD@HOST/DATABASE, or @FILE or env:NAME to read it from there
    /// [default: $PALISADE_DATABASE_URL].
    #[arg(long = "database", value_name = "URL|@FILE|env:NAME")]
    pub(crate) database: Option<String>,
    /// Go on only if this is the database with that id, as `palisade db identify` prints it.
    #[arg(long, value_name = "ID")]
    pub(crate) expect: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DbCommand {
    /// Say which database a URL leads to, and what Palisade can do there.
    Identify(IdentifyArgs),
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
