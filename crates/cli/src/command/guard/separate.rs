//! `palisade guard install pm2 --isolation separate-uid`: users of their own, by one controlled restart.

use std::path::{Path, PathBuf};

use palisade_core::record::{Act, Phase};
use palisade_core::text::Shown;
use palisade_core::{Code, Exit, Snapshot};
use palisade_host::files;
use palisade_install::accounts::{self, Users};
use palisade_install::act::{self, Program};
use palisade_install::daemon::{self, Pm2Command};
use palisade_install::separate::{self, Step};
use palisade_install::{Found, plan};
use palisade_pm2::dump;
use serde_json::json;

use super::super::lifecycle::{self, Prepared};
use super::parts;
use crate::args::Pm2Home;
use crate::args::daemon::KillArgs;
use crate::args::guard::{InstallArgs, SeparateArgs};
use crate::failure::Failure;
use crate::output::{BAD, GOOD, Output, styled};
use crate::session::Session;

/// Everything that was named and checked; nothing has been touched.
struct Work<'a> {
    session: &'a Session,
    home: PathBuf,
    users: Users,
    program: Program,
    script: PathBuf,
    confirm: Option<String>,
}

pub(super) async fn install(session: &Session, output: Output, args: &InstallArgs) -> Result<Exit, Failure> {
    let home = super::home(session, &args.daemon)?;
    let users = users(&args.separate)?;
    if files::own_uid() != 0 {
        return Err(Failure::usage("a change of users takes root").hint("run it with sudo"));
    }
    let found = Found::at(&home)?;
    let steps = separate::plan(&found, &users, separate::uid_of)?;
    let program = parts::program(session, &args.parts)?;
    for path in [&home, &program.path] {
        separate::check_way(path)?;
    }
    separate::check_policy(&session.policy_path)?;
    separate::check_way(session.state.root())?;
    let script = script(session, args)?;
    let work = Work { session, home, users, program, script, confirm: args.separate.confirm.clone() };
    if steps.is_empty() {
        show(&work, output, &[], &[], &[])?;
        return Ok(Exit::Done);
    }
    if args.dry_run {
        return planned(&work, output, &found, &steps);
    }
    let (done, problems) = work.carry_out(&found, &steps).await?;
    let units = work.units(args)?;
    show(&work, output, &done, &problems, &units)?;
    Ok(if problems.is_empty() { Exit::Done } else { Exit::VerificationFailed })
}

fn users(args: &SeparateArgs) -> Result<Users, Failure> {
    let named = |value: &Option<String>, option: &str, what: &str| {
        value.clone().ok_or_else(|| {
            Failure::usage(format!("--isolation separate-uid needs {option}: {what}"))
                .hint("three users are needed: daemon and apps, guard, deployers; see docs/guard.md")
        })
    };
    let unknown = |error: accounts::Unknown| Failure::usage(error.to_string());
    let daemon = named(&args.daemon_user, "--daemon-user", "the user of the daemon and its apps")?;
    let guard = named(&args.guard_user, "--guard-user", "the user of the firewall, its journal and its key")?;
    let deployers = named(&args.deployer_group, "--deployer-group", "the group of those who may connect")?;
    Ok(Users {
        daemon: accounts::user(&daemon).map_err(unknown)?,
        guard: accounts::user(&guard).map_err(unknown)?,
        deployers: accounts::group(&deployers).map_err(unknown)?,
    })
}

fn script(session: &Session, args: &InstallArgs) -> Result<PathBuf, Failure> {
    let named = args.separate.pm2.clone().or_else(|| super::in_path(session, "pm2"));
    let found = named.and_then(|path| path.canonicalize().ok());
    found.ok_or_else(|| {
        Failure::usage("there is no `pm2` in PATH").hint("name PM2's own command with --pm2 FILE")
    })
}

fn planned(work: &Work<'_>, output: Output, found: &Found, steps: &[Step]) -> Result<Exit, Failure> {
    let told: Vec<&str> = steps.iter().map(|step| step.told()).collect();
    let home = work.home.display();
    output.document(&json!({ "result": "planned", "home": work.home, "steps": told }))?;
    for line in &told {
        output.data(format_args!("- {line}"))?;
    }
    for line in work.who() {
        output.data(format_args!("  {line}"))?;
    }
    if !found.daemons.is_empty() {
        output.data(format_args!("every app restarts once; to carry it out: add --confirm={home}"))?;
    }
    output.data("dry run: nothing was touched")?;
    Ok(Exit::Done)
}

impl Work<'_> {
    fn who(&self) -> [String; 3] {
        let Users { daemon, guard, deployers } = &self.users;
        [
            format!("daemon, apps: {} (uid {})", Shown(&daemon.name), daemon.uid),
            format!("guard:        {} (uid {})", Shown(&guard.name), guard.uid),
            format!("deployers:    group {deployers}"),
        ]
    }

    /// Carries the steps out, and looks for every app of before. Gives what was done, and what is not as it was.
    async fn carry_out(&self, found: &Found, steps: &[Step]) -> Result<(Vec<String>, Vec<String>), Failure> {
        separate::take_state(self.session.state.root())?;
        let prepared = self.prepare(steps).await?;
        let details: Vec<String> = steps.iter().map(|step| step.told().to_owned()).collect();
        super::record(self.session, Act::GuardInstall, Phase::Begun, &self.home, details.clone())?;
        let wanted = self.names(prepared.as_ref());
        let carried = self.all(found, steps, prepared.as_ref());
        let problems = match carried {
            Ok(()) => self.verify(prepared.as_ref().map(|prepared| &prepared.before), &wanted).await?,
            Err((step, error)) => {
                let mut said = vec![format!("{}: {}", step.told(), error.message)];
                said.extend(error.causes);
                said.push("call it again: it goes on from here".to_owned());
                said
            }
        };
        let phase = if problems.is_empty() { Phase::Done } else { Phase::Failed };
        // By now the state is the guard's, which root may write too; the system log has the line in any case.
        super::record(
            self.session,
            Act::GuardInstall,
            phase,
            &self.home,
            [details.clone(), problems.clone()].concat(),
        )?;
        let root = self.session.state.root();
        separate::give_state(root, &self.users)?;
        Ok((details, problems))
    }

    /// The lease, the snapshot and the dump, where a daemon is to be ended.
    async fn prepare(&self, steps: &[Step]) -> Result<Option<Prepared>, Failure> {
        if !steps.contains(&Step::EndDaemon) {
            return Ok(None);
        }
        let daemon = Pm2Home { pm2_home: Some(self.home.clone()) };
        let args = KillArgs { daemon, confirm: self.confirm.clone(), wait: std::time::Duration::ZERO };
        let words = "guard install pm2 --isolation separate-uid ...";
        let prepared = lifecycle::prepare(self.session, &args, words).await?;
        lifecycle::save_all(self.session, &self.home).await?;
        Ok(Some(prepared))
    }

    /// The apps that have to be there in the end, where no daemon ran: those of the dump.
    fn names(&self, prepared: Option<&Prepared>) -> Vec<String> {
        if prepared.is_some() {
            return Vec::new();
        }
        let entries = dump::read(&self.home).unwrap_or_default();
        entries.iter().map(|entry| entry.name().to_owned()).collect()
    }

    fn all(&self, found: &Found, steps: &[Step], prepared: Option<&Prepared>) -> Result<(), (Step, Failure)> {
        for step in steps {
            self.one(*step, found, prepared).map_err(|error| (*step, error))?;
        }
        Ok(())
    }

    fn one(&self, step: Step, found: &Found, prepared: Option<&Prepared>) -> Result<(), Failure> {
        let root = self.session.state.root();
        match step {
            // Done before, for it needs the daemon to answer.
            Step::Save => {}
            Step::EndFirewall => act::carry_out(plan::Step::EndFirewall, found, &self.program)?,
            Step::EndDaemon => {
                if let Some(prepared) = prepared {
                    daemon::end(prepared.before.daemon.process, &prepared.apps)?;
                }
            }
            Step::GiveAway => {
                separate::give_home(&self.home, &self.users)?;
                separate::give_state(root, &self.users)?;
            }
            Step::MakePlaces => separate::make_places(&found.places, &self.users)?,
            Step::StartDaemon => {
                let log = root.join("pm2-update.log");
                separate::take_state(root)?;
                let command = self.command();
                command.run(&["ping"], &log)?;
                command.run(&["resurrect"], &log)?;
                separate::give_state(root, &self.users)?;
            }
            Step::StartGuard => {
                separate::give_state(root, &self.users)?;
                let found = Found::at(&self.home)?;
                act::carry_out(plan::Step::StartAgain, &found, &self.guard())?;
            }
        }
        Ok(())
    }

    fn command(&self) -> Pm2Command {
        let daemon = &self.users.daemon;
        let private = self.home.join("private");
        Pm2Command {
            script: self.script.clone(),
            home: self.home.clone(),
            user_home: if daemon.home == Path::new("/") { self.home.clone() } else { daemon.home.clone() },
            user: (daemon.uid, daemon.gid),
            path: self.session.environment.text("PATH").unwrap_or_default(),
            private: Some((private.join("rpc.sock"), private.join("pub.sock"))),
        }
    }

    /// The guard: the policy and the state are those of this call, wherever they lie.
    fn guard(&self) -> Program {
        let guard = &self.users.guard;
        let above = |path: &Path| path.parent().and_then(Path::parent).map(Path::to_owned);
        let mut variables = vec![("HOME".to_owned(), guard.home.clone())];
        variables.extend(above(&self.session.policy_path).map(|path| ("XDG_CONFIG_HOME".to_owned(), path)));
        let state = self.session.state.root().parent().map(Path::to_owned);
        variables.extend(state.map(|path| ("XDG_STATE_HOME".to_owned(), path)));
        let args = separate::arguments(&self.home);
        Program { args, user: Some((guard.uid, guard.gid)), variables, ..self.program.clone() }
    }

    /// What is not as it was.
    async fn verify(&self, before: Option<&Snapshot>, wanted: &[String]) -> Result<Vec<String>, Failure> {
        let found = Found::at(&self.home)?;
        let left = separate::plan(&found, &self.users, separate::uid_of)?;
        let mut problems: Vec<String> =
            left.iter().map(|step| format!("not in force yet: {}", step.told())).collect();
        match before {
            Some(before) => problems.extend(lifecycle::verify(self.session, &self.home, before).await?),
            None => {
                let daemon = Pm2Home { pm2_home: Some(self.home.clone()) };
                let rows = super::super::list::daemon(self.session, &daemon)?.list().await?;
                let missing = wanted.iter().filter(|name| !rows.iter().any(|row| row.name == **name));
                problems.extend(missing.map(|name| format!("{name} of dump.pm2 is not there")));
            }
        }
        Ok(problems)
    }

    /// The units for the next start, where they go anywhere.
    fn units(&self, args: &InstallArgs) -> Result<Vec<PathBuf>, Failure> {
        let Some(supervisor) = parts::supervisor(&args.parts) else { return Ok(Vec::new()) };
        let found = Found::at(&self.home)?;
        supervisor.write(&parts::wanted(&found, &self.program, supervisor.folder()))
    }
}

fn show(
    work: &Work<'_>,
    output: Output,
    steps: &[String],
    problems: &[String],
    units: &[PathBuf],
) -> Result<(), Failure> {
    output.document(&json!({
        "result": if problems.is_empty() { "installed" } else { "failed" },
        "home": work.home,
        "isolation": "separate-uid",
        "steps": steps,
        "problems": problems,
        "units": units,
        "does_not_stop": plan::SEPARATE_UID_HOLES,
    }))?;
    let (word, as_before) = match (problems.is_empty(), steps.is_empty()) {
        (true, true) => (styled(GOOD, "guarded:"), ", as before"),
        (true, false) => (styled(GOOD, "guarded:"), ", every app is back"),
        (false, _) => (styled(BAD, "not verified:"), ""),
    };
    output.data(format_args!("{word} PM2 at {}{as_before}", work.home.display()))?;
    for problem in problems {
        output.data(format_args!("  {}", Shown(problem)))?;
    }
    output.data("  isolation: separate-uid; `palisade guard list` says what it does not stop")?;
    for line in work.who() {
        output.data(format_args!("  {line}"))?;
    }
    for file in units {
        output.data(format_args!("  wrote:     {}", file.display()))?;
    }
    Ok(())
}

impl From<separate::Barred> for Failure {
    fn from(barred: separate::Barred) -> Self {
        let code = match barred {
            separate::Barred::Daemons(_) => Code::TwoDaemons,
            _ => Code::GuardBarred,
        };
        Self::new(Exit::Failure, barred.to_string()).code(code).hint(barred.fix())
    }
}
