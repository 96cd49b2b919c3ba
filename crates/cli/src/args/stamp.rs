//! The words of `palisade db stamp`.

use clap::{Args, Subcommand};

use super::database::DatabaseArgs;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
A stamp is bound to this one database. A copy of it keeps the words and loses the binding. It is
signed with the key of this host's journal; keys that count on a host are lines of the file
stamp-keys beside its policy.

Examples:
  palisade db stamp --environment production --database @/etc/palisade/production.url
  palisade db stamp show env:DATABASE_URL
  palisade db stamp accept --environment test --database env:COPY_URL")]
pub(crate) struct StampArgs {
    #[command(subcommand)]
    pub(crate) command: Option<StampCommand>,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum StampCommand {
    /// Show the stamp, whether it is the database's own, and who signed it.
    #[command(after_help = "\
Example:
  palisade db stamp show env:DATABASE_URL")]
    Show(ShowArgs),
    /// Stamp a database anew that bears the stamp of another one, or was promoted.
    #[command(after_help = "\
Examples:
  palisade db stamp accept --environment test --database env:COPY_URL
  palisade db stamp accept --environment production --keep-keys    after a failover")]
    Accept(AcceptArgs),
    /// Take the stamp away; with the last guard gone, the schema palisade too.
    #[command(after_help = "\
Example:
  palisade db stamp remove --database env:DATABASE_URL")]
    Remove(DatabaseArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The database, as --database takes it.
    #[arg(value_name = "URL|@FILE|env:NAME", conflicts_with = "database")]
    pub(crate) url: Option<String>,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AcceptArgs {
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
    /// Let the keys of apps count on: after a failover, so that no app has to be given another one.
    #[arg(long)]
    pub(crate) keep_keys: bool,
}
