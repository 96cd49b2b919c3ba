//! `palisade off` and `palisade on`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// What a bypass can open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Resource {
    /// The guards of PM2 daemons.
    Pm2,
}

// Which guards.
#[derive(Debug, Clone, Args)]
pub(crate) struct OpenedArgs {
    /// The resource whose guards are meant [default: every guard of this host].
    #[arg(value_enum, value_name = "RESOURCE")]
    pub(crate) resource: Option<Resource>,
    /// Only the guard of the daemon with this PM2_HOME.
    #[arg(long, value_name = "FOLDER", requires = "resource")]
    pub(crate) pm2_home: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
While it is off, nothing is refused: what would have been is passed on and recorded with the
bypass's id. Protocol safety holds. It ends by itself, also after a restart of the machine;
`palisade on` ends it earlier.

Example:
  palisade off pm2 --for 30m --reason 'rule PAL-103 bars the rollback of ticket 812'")]
pub(crate) struct OffArgs {
    #[command(flatten)]
    pub(crate) opened: OpenedArgs,
    /// For how long; at most 24h.
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) span: Duration,
    /// Why, for the journal and for whoever is alerted.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct OnArgs {
    #[command(flatten)]
    pub(crate) opened: OpenedArgs,
}
