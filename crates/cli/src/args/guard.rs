//! `palisade guard ... pm2`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use palisade_core::policy::Mode;
use palisade_core::{AppName, EnvironmentName};

use super::Pm2Home;
use super::guard_table::ListCommand;

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) daemon: Pm2Home,
    #[command(subcommand)]
    pub(crate) kind: Option<ListCommand>,
}

/// Modes of a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeWord {
    /// Let through, and record what would have been refused.
    Observe,
    /// Refuse.
    Enforce,
}

impl From<ModeWord> for Mode {
    fn from(word: ModeWord) -> Self {
        match word {
            ModeWord::Observe => Self::Observe,
            ModeWord::Enforce => Self::Enforce,
        }
    }
}

// Where the firewall and its units are; the defaults are those of an installed Palisade.
#[derive(Debug, Clone, Args)]
pub(crate) struct PartsArgs {
    /// The firewall's binary [default: beside this one, else in PATH].
    #[arg(long, value_name = "FILE")]
    pub(crate) firewall: Option<PathBuf>,
    /// Write or remove systemd units here and start none, as for an image
    /// [default: /etc/systemd/system where systemd is in charge].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) unit_folder: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The guard begins in observe: it refuses nothing and records what it would refuse. After a while
look at `palisade guard report pm2`, and let it refuse for one app after the other with `palisade
guard mode pm2`.

Examples:
  palisade guard install pm2 --dry-run
  palisade guard install pm2
  palisade guard install pm2 --isolation separate-uid --daemon-user pm2d --guard-user palisade \\
      --deployer-group deployers --pm2-home /srv/pm2 --dry-run")]
pub(crate) struct InstallArgs {
    #[command(flatten)]
    pub(crate) daemon: Pm2Home,
    /// Also set this mode for every app [default: as the policy says, which is observe unless set].
    #[arg(long, value_enum)]
    pub(crate) mode: Option<ModeWord>,
    /// Show the steps, and take none.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) separate: SeparateArgs,
    #[command(flatten)]
    pub(crate) parts: PartsArgs,
}

/// What separates the daemon from its callers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum IsolationWord {
    /// One user for all: a seat belt.
    #[default]
    SameUid,
    /// Users of their own for daemon, guard and deployers: a boundary. The daemon is restarted once.
    SeparateUid,
}

// Users of their own.
#[derive(Debug, Clone, Args)]
pub(crate) struct SeparateArgs {
    /// What separates the daemon from its callers.
    #[arg(long, value_enum, default_value_t, value_name = "WHICH")]
    pub(crate) isolation: IsolationWord,
    /// With separate-uid: the user of the daemon and its apps, by name or number.
    #[arg(long, value_name = "USER")]
    pub(crate) daemon_user: Option<String>,
    /// With separate-uid: the user of the guard, its journal and its key.
    #[arg(long, value_name = "USER")]
    pub(crate) guard_user: Option<String>,
    /// With separate-uid: the group of those who may connect.
    #[arg(long, value_name = "GROUP")]
    pub(crate) deployer_group: Option<String>,
    /// With separate-uid: type the daemon's home to confirm that every app restarts once.
    #[arg(long, value_name = "HOME")]
    pub(crate) confirm: Option<String>,
    /// With separate-uid: PM2's own command [default: the one in PATH].
    #[arg(long, value_name = "FILE")]
    pub(crate) pm2: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ModeArgs {
    /// What guards do with findings.
    #[arg(value_enum, value_name = "MODE")]
    pub(crate) mode: ModeWord,
    /// Only of this app [default: every environment and app].
    #[arg(long, value_name = "APP")]
    pub(crate) app: Option<AppName>,
    /// Only in this environment.
    #[arg(long, value_name = "ENVIRONMENT", requires = "app")]
    pub(crate) environment: Option<EnvironmentName>,
    /// Show what would change, and write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) daemon: Pm2Home,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    #[command(flatten)]
    pub(crate) daemon: Pm2Home,
    /// Show the steps, and take none.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) parts: PartsArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    pub(crate) daemon: Pm2Home,
    /// Only what was recorded within this time.
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = humantime::parse_duration)]
    pub(crate) since: std::time::Duration,
}
