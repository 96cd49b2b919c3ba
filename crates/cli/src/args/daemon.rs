//! `palisade pm2 kill`, `update`, `save` and `flush`: the safe ways.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

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
pub(crate) struct FlushArgs {
    #[command(flatten)]
    pub(crate) of: AppArgs,
}
