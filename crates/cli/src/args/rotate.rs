//! The words of `palisade db rotate`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::database::DatabaseArgs;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
#[command(after_help = "\
The steps, each of which can be taken back: begin (the new role gets what the old one has), then the
good code gets the new role, restrict (the old role may not change guarded columns any more), retire
(it may not log in any more).

Examples:
  palisade db rotate begin app --to app2 --password-file /etc/atom/app2.password
  palisade db rotate status
  palisade db rotate restrict app --dry-run
  palisade db rotate undo app")]
pub(crate) enum RotateCommand {
    /// Make the new role, with everything that the old one was given in this database.
    #[command(after_help = "\
Example:
  palisade db rotate begin app --to app2 --password-file /etc/atom/app2.password")]
    Begin(BeginArgs),
    /// Take from the old role what takes jobs: UPDATE of guarded columns, DELETE and TRUNCATE.
    #[command(after_help = "\
Examples:
  palisade db rotate restrict app --dry-run
  palisade db rotate restrict app")]
    Restrict(RestrictArgs),
    /// Take the old role's login.
    #[command(after_help = "\
Example:
  palisade db rotate retire app --terminate")]
    Retire(RetireArgs),
    /// Take the last step back.
    #[command(after_help = "\
Example:
  palisade db rotate undo app")]
    Undo(StepArgs),
    /// Show how far rotations are, and who still uses the old role.
    #[command(after_help = "\
Example:
  palisade db rotate status")]
    Status(StatusArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BeginArgs {
    /// The old role.
    #[arg(value_name = "OLD")]
    pub(crate) old: String,
    /// The name of the new role.
    #[arg(long, value_name = "NEW")]
    pub(crate) to: String,
    /// Write the new role's password into this new file, readable for this user only
    /// [default: print it once].
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Show the whole SQL, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}

// Which rotation, and how carefully.
#[derive(Debug, Args)]
pub(crate) struct StepArgs {
    /// The old role.
    #[arg(value_name = "OLD")]
    pub(crate) old: String,
    /// Whoever used the role within this time counts as using it.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    pub(crate) since: Duration,
    /// Type the old role to take the step although somebody uses the role that loses something.
    #[arg(long, value_name = "OLD")]
    pub(crate) confirm: Option<String>,
    /// Show whom it would hit and the whole SQL, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RestrictArgs {
    #[command(flatten)]
    pub(crate) step: StepArgs,
    /// Who owns guarded tables from then on that the old role owns now [default: the new role].
    #[arg(long, value_name = "ROLE")]
    pub(crate) owner: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RetireArgs {
    #[command(flatten)]
    pub(crate) step: StepArgs,
    /// End the old role's sessions too.
    #[arg(long)]
    pub(crate) terminate: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// How far back to look for who used a role.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    pub(crate) since: Duration,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}
