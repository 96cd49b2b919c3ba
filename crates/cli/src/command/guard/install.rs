//! `palisade guard install`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use palisade_config::Which;
use palisade_core::record::{Act, Phase};
use palisade_core::{Code, Exit};
use palisade_host::{files, state};
use palisade_install::Found;
use palisade_install::act::{self, Program};
use palisade_install::plan::{self, Step};
use palisade_pm2::overview::Overview;
use serde_json::json;

use super::{mode, parts};
use crate::args::guard::InstallArgs;
use crate::args::{InitArgs, Pm2Home};
use crate::failure::Failure;
use crate::output::{BAD, GOOD, Output, styled};
use crate::session::Session;

pub(super) async fn install(session: &Session, output: Output, args: &InstallArgs) -> Result<Exit, Failure> {
    let home = super::home(session, &args.daemon)?;
    let found = Found::at(&home)?;
    let program = parts::program(session, &args.parts)?;
    if files::own_uid() == 0 && found.uid != 0 {
        return for_owner(session, output, args, &found, &program);
    }
    let steps = plan::install(&found)?;
    let has_policy = session.policy_path.exists();
    if args.dry_run {
        return planned(session, output, args, &found, &program, &steps, has_policy);
    }
    let daemon = Pm2Home { pm2_home: Some(home.clone()) };
    if !has_policy {
        let init = InitArgs { daemon: daemon.clone(), dry_run: false };
        super::super::policy::init(session, output.silent(), &init).await?;
        output.talk(format_args!("wrote a first policy, {}: look it over", session.policy_path.display()));
    }
    if let Some(word) = args.mode {
        mode::set(session, output, &home, &Which::Everything, word.into())?;
    }
    let before = super::super::list::daemon(session, &daemon)?.list().await?;
    let done = carry_out(session, &found, &program, &steps)?;
    let after = Found::at(&home)?;
    let now = super::super::list::daemon_at(session, &home, &after.places.private_rpc).list().await?;
    let touched = restarted(&before, &now);
    let is_verified = after.is_guarded() && touched.is_empty();
    let phase = if is_verified { Phase::Done } else { Phase::Failed };
    super::record(session, Act::GuardInstall, phase, &home, done.clone())?;
    let units = units(session, args, &after, &program)?;
    show(session, output, &after, &steps, &touched, &units)?;
    Ok(if is_verified { Exit::Done } else { Exit::VerificationFailed })
}

/// Carries the steps out, one after another, and says what was done.
fn carry_out(
    session: &Session,
    found: &Found,
    program: &Program,
    steps: &[Step],
) -> Result<Vec<String>, Failure> {
    let told: Vec<String> = steps.iter().map(|step| step.told().to_owned()).collect();
    if !steps.is_empty() {
        super::record(session, Act::GuardInstall, Phase::Begun, &found.places.home, told.clone())?;
    }
    for step in steps {
        if let Err(error) = act::carry_out(*step, found, program) {
            let why = format!("{}: {error}", step.told());
            super::record(session, Act::GuardInstall, Phase::Failed, &found.places.home, vec![why])?;
            return Err(error.into());
        }
    }
    Ok(told)
}

/// Names of processes that are not the ones that they were.
pub(super) fn restarted(before: &[Overview], now: &[Overview]) -> Vec<String> {
    let same = |old: &&Overview| {
        now.iter().any(|new| {
            (new.pm_id, &new.unique_id, new.pid) == (old.pm_id, &old.unique_id, old.pid)
                && new.started_unix_ms == old.started_unix_ms
        })
    };
    before.iter().filter(|old| !same(old)).map(|old| old.name.clone()).collect()
}

/// The units for the next start, or the line that stands for them.
enum AtBoot {
    Written(Vec<std::path::PathBuf>),
    Line(String),
}

fn units(session: &Session, args: &InstallArgs, found: &Found, program: &Program) -> Result<AtBoot, Failure> {
    match parts::supervisor(&args.parts) {
        Some(supervisor) => {
            let wanted = parts::wanted(found, program, supervisor.folder());
            Ok(AtBoot::Written(supervisor.write(&wanted)?))
        }
        None if parts::is_systemd_in_charge() => Ok(AtBoot::Line(format!(
            "as root, for the systemd units: palisade guard install pm2 --pm2-home {}",
            found.places.home.display()
        ))),
        None => Ok(AtBoot::Line(parts::boot_line(session, program, &found.places))),
    }
}

fn show(
    session: &Session,
    output: Output,
    found: &Found,
    steps: &[Step],
    touched: &[String],
    at_boot: &AtBoot,
) -> Result<(), Failure> {
    let (files, line) = match at_boot {
        AtBoot::Written(files) => (files.clone(), None),
        AtBoot::Line(line) => (Vec::new(), Some(line)),
    };
    output.document(&json!({
        "result": if touched.is_empty() && found.is_guarded() { "installed" } else { "failed" },
        "home": found.places.home,
        "steps": steps.iter().map(|step| step.told()).collect::<Vec<_>>(),
        "isolation": "same-uid",
        "restarted": touched,
        "private": found.started_private,
        "units": files,
        "at_boot": line,
        "does_not_stop": plan::SAME_UID_HOLES,
    }))?;
    let home = found.places.home.display();
    if steps.is_empty() {
        output.data(format_args!("{} PM2 at {home}, as before", styled(GOOD, "guarded:")))?;
    } else {
        output.data(format_args!("{} PM2 at {home}", styled(GOOD, "guarded:")))?;
    }
    for name in touched {
        output
            .data(format_args!("{} {name} is not the process that it was", styled(BAD, "not verified:")))?;
    }
    if touched.is_empty() {
        output.data("  apps:      none was restarted")?;
    }
    output.data("  isolation: same-uid, a seat belt: `palisade guard list` says what it does not stop")?;
    output.data(format_args!("  mode:      {}", mode::summary(session)))?;
    if !found.started_private {
        output.data(
            "  until the daemon's next start this is a bridge over links; `pm2 kill` in observe ends it",
        )?;
    }
    for file in &files {
        output.data(format_args!("  wrote:     {}", file.display()))?;
    }
    if let Some(line) = line {
        output.data(format_args!("  at boot:   {line}"))?;
    }
    output.talk("next: palisade guard list, and after some deployments palisade guard report pm2");
    Ok(())
}

fn planned(
    session: &Session,
    output: Output,
    args: &InstallArgs,
    found: &Found,
    program: &Program,
    steps: &[Step],
    has_policy: bool,
) -> Result<Exit, Failure> {
    let mut told: Vec<String> = Vec::new();
    if !has_policy {
        told.push(format!("write a first policy to {}", session.policy_path.display()));
    }
    if let Some(word) = args.mode {
        told.push(format!("set the mode of every app to {word:?}").to_lowercase());
    }
    told.extend(steps.iter().map(|step| step.told().to_owned()));
    let units = parts::supervisor(&args.parts).map(|supervisor| {
        let wanted = parts::wanted(found, program, supervisor.folder());
        wanted.units().map(|units| {
            units.into_iter().map(|unit| supervisor.folder().join(unit.name)).collect::<Vec<_>>()
        })
    });
    let units = units.transpose().map_err(|error| Failure::usage(error.to_string()))?.unwrap_or_default();
    told.extend(units.iter().map(|path| format!("write {}", path.display())));
    output.document(&json!({ "result": "planned", "home": found.places.home, "steps": told }))?;
    for line in &told {
        output.data(format_args!("- {line}"))?;
    }
    if told.is_empty() {
        output.data("nothing to do: the guard stands")?;
    }
    output.data("dry run: nothing was touched")?;
    Ok(Exit::Done)
}

/// Root installs for the daemon's own user: that part runs as that user, so that nothing of it belongs to root; the
/// units are root's.
fn for_owner(
    session: &Session,
    output: Output,
    args: &InstallArgs,
    found: &Found,
    program: &Program,
) -> Result<Exit, Failure> {
    let status = as_owner(session, found)?;
    if status != Exit::Done || args.dry_run {
        return Ok(status);
    }
    let after = Found::at(&found.places.home)?;
    if let AtBoot::Written(files) = units(session, args, &after, program)? {
        files.iter().for_each(|file| output.talk(format_args!("wrote {}", file.display())));
    }
    Ok(Exit::Done)
}

/// The words of this command that are the owner's too: units are root's.
fn of_owner(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let (mut kept, mut is_value) = (Vec::new(), false);
    for word in words {
        let text = word.to_string_lossy();
        let is_units = std::mem::replace(&mut is_value, text == "--unit-folder");
        if !is_units && !is_value && !text.starts_with("--unit-folder=") {
            kept.push(word);
        }
    }
    kept
}

/// Runs this very command as the home's owner.
pub(super) fn as_owner(session: &Session, found: &Found) -> Result<Exit, Failure> {
    let passwd = Path::new("/etc/passwd");
    let lacking = |what: &str| {
        Failure::new(Exit::Failure, format!("user {}, who owns the home, has no {what}", found.uid))
            .code(Code::GuardBarred)
            .hint("run it as that user")
    };
    let home = state::home_of(passwd, found.uid).ok_or_else(|| lacking("home folder"))?;
    let user = state::user_name(passwd, found.uid).ok_or_else(|| lacking("name"))?;
    let own = std::env::current_exe()?;
    let mut command = Command::new(own);
    command.args(of_owner(std::env::args_os().skip(1))).env_clear().env("HOME", home).env("USER", user);
    command
        .env("PM2_HOME", &found.places.home)
        .env("PATH", session.environment.text("PATH").unwrap_or_default());
    let status = command.uid(found.uid).gid(found.gid).current_dir("/").status()?;
    let exit = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(Exit::ALL.into_iter().find(|known| Some(known.number()) == exit).unwrap_or(Exit::Failure))
}
