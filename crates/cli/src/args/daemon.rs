//! `palisade pm2 kill`, `update`, `save` and `flush`: the safe ways.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{AppArgs, Pm2Home};

#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    #[command(flatten)]
    pub(crate) daemon: Pm2Home,
    /// Type the daemon's home to confirm that every app of it goes down.
    #[arg(long, value_name = "HOME")]
    pub(crate) confirm: Option<String>,
    /// How long to wait while another act on this daemon is under way.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub(crate) wait: Duration,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The daemon is ended and started anew by the pm2 in PATH; every app of its list comes back and is
looked for. Behind a guard it listens on its private sockets from then on.

Example:
  palisade pm2 update --confirm=/home/deploy/.pm2")]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    pub(crate) kill: KillArgs,
    /// PM2's own command [default: the one in PATH].
    #[arg(long, value_name = "FILE")]
    pub(crate) pm2: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The app's entries in dump.pm2 become what runs of it now. Those of others are refreshed if they
run, and stay if they do not: PM2's own save would drop them.

Example:
  palisade pm2 save --app shop --environment production")]
pub(crate) struct SaveArgs {
    #[command(flatten)]
    pub(crate) of: AppArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A guard in front of PM2 keeps dump.pm2 as it was before somebody changed it past the guard, and
`palisade pm2 save` as it was before that save. Without a verb the versions are listed, with what
each has that the file lacks now.

Examples:
  palisade pm2 dumps
  palisade pm2 dumps restore 00000001771323180123 --dry-run")]
pub(crate) struct DumpsArgs {
    #[command(subcommand)]
    pub(crate) verb: Option<DumpsVerb>,
    #[command(flatten)]
    pub(crate) daemon: Pm2Home,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DumpsVerb {
    /// Put the entries of a version back into dump.pm2; what it has besides stays.
    Restore(DumpRestoreArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  palisade pm2 dumps restore 00000001771323180123")]
pub(crate) struct DumpRestoreArgs {
    /// Which version.
    #[arg(value_name = "VERSION")]
    pub(crate) name: String,
    /// Say what would be done, and touch nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) daemon: Pm2Home,
}

#[derive(Debug, Args)]
pub(crate) struct FlushArgs {
    #[command(flatten)]
    pub(crate) of: AppArgs,
}
