//! `palisade guard`: puts a guard in front of a daemon, shows it, changes its mode, takes it away.

mod install;
mod list;
mod mode;
mod parts;
mod remove;
mod report;
mod separate;

use std::path::PathBuf;

use palisade_core::record::{Act, Administered, Event, Phase};
use palisade_core::{Code, Exit};
use palisade_host::random;
use palisade_install::act::ActError;
use palisade_install::found::FindError;
use palisade_install::plan::Barred;
use palisade_pipeline::announce::{Announced, announce};
use palisade_pm2::Location;

pub(crate) use self::parts::in_path;
use crate::args::Pm2Home;
use crate::args::guard::IsolationWord;
use crate::args::guard_table::{
    GuardCommand, InstallCommand, ListCommand, ModeCommand, PruneCommand, RemoveCommand, ReportCommand,
    UpgradeCommand, VerifyCommand,
};
use crate::args::identity::RequireCommand;
use crate::command::{guard_table, identity, login, prune, upgrade, verify_table};
use crate::failure::Failure;
use crate::output::Output;
use crate::session::Session;

pub(crate) async fn guard(output: Output, command: &GuardCommand) -> Result<Exit, Failure> {
    let session = Session::open;
    let acting = || {
        let session = Session::open()?;
        super::ci::no_stale_job(&session)?;
        Ok::<Session, Failure>(session)
    };
    match command {
        GuardCommand::Install(InstallCommand::Pm2(args)) => match args.separate.isolation {
            IsolationWord::SameUid => install::install(&acting()?, output, args).await,
            IsolationWord::SeparateUid => separate::install(&acting()?, output, args).await,
        },
        GuardCommand::Install(InstallCommand::Table(args)) => guard_table::install(output, args).await,
        GuardCommand::Install(InstallCommand::Login(args)) => login::install(output, args).await,
        GuardCommand::Remove(RemoveCommand::Login(args)) => login::remove(output, args).await,
        GuardCommand::Remove(RemoveCommand::Pm2(args)) => remove::remove(&acting()?, output, args).await,
        GuardCommand::Remove(RemoveCommand::Table(args)) => guard_table::remove(output, args).await,
        GuardCommand::Mode(ModeCommand::Pm2(args)) => mode::mode(&acting()?, output, args),
        GuardCommand::Mode(ModeCommand::Table(args)) => guard_table::mode(output, args).await,
        GuardCommand::RequireIdentity(RequireCommand::Table(args)) => identity::required(output, args).await,
        GuardCommand::List(args) => match &args.kind {
            None => list::list(&session()?, output, &args.daemon),
            Some(ListCommand::Table(database)) => guard_table::list(output, database).await,
        },
        GuardCommand::Report(ReportCommand::Pm2(args)) => report::report(&session()?, output, args).await,
        GuardCommand::Report(ReportCommand::Table(args)) => guard_table::show_report(output, args).await,
        GuardCommand::Prune(PruneCommand::Table(args)) => prune::history(output, args).await,
        GuardCommand::Upgrade(UpgradeCommand::Table(args)) => upgrade::guards(output, args).await,
        GuardCommand::Verify(VerifyCommand::Table(args)) => verify_table::check(output, args).await,
    }
}

/// The home that is meant, as PM2 finds it, without symbolic links.
pub(crate) fn home(session: &Session, daemon: &Pm2Home) -> Result<PathBuf, Failure> {
    let location = Location::find(daemon.pm2_home.as_deref(), &session.environment).map_err(|error| {
        Failure::usage(error.to_string()).hint("name the daemon's home with --pm2-home FOLDER")
    })?;
    Ok(location.home)
}

/// Records an administrator's act in the journal, where that can be written, and in the system log.
pub(crate) fn record(
    session: &Session,
    act: Act,
    phase: Phase,
    home: &std::path::Path,
    details: Vec<String>,
) -> Result<Announced, Failure> {
    let policy = session.host_policy().ok().map(|host| host.reference().clone());
    let home = home.display().to_string();
    let line = format!("{act:?} of PM2 at {home}: {phase:?} {}", details.join("; "));
    let event = Event::Administered(Administered { act, phase, home, details });
    Ok(announce(&session.state, policy.as_ref(), random::operation_id()?, session.actor()?, event, &line))
}

impl From<Barred> for Failure {
    fn from(barred: Barred) -> Self {
        let code = match barred {
            Barred::Daemons(_) => Code::TwoDaemons,
            Barred::NoDaemon | Barred::Unreachable => Code::Unreachable,
            Barred::Stranger(_) | Barred::NoSocket(_) => Code::GuardBarred,
        };
        let exit = if code == Code::GuardBarred { Exit::Failure } else { Exit::Unreachable };
        Self::new(exit, barred.to_string()).code(code).hint(barred.fix())
    }
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Self {
        Self::new(Exit::Failure, error.to_string())
            .caused_by(&error)
            .hint("check PM2_HOME or --pm2-home, and that this user may enter it")
    }
}

impl From<ActError> for Failure {
    fn from(error: ActError) -> Self {
        Self::new(Exit::Failure, error.to_string())
            .caused_by(&error)
            .code(Code::GuardStep)
            .hint("mend what is named above and call it again: each step may be repeated")
    }
}
