//! `palisade guard remove`: the way back.

use std::path::PathBuf;

use palisade_core::Exit;
use palisade_core::record::{Act, Phase};
use palisade_host::files;
use palisade_install::act::{self, Program};
use palisade_install::plan::{self, Step};
use palisade_install::{Found, separate};
use palisade_pm2::Isolation;
use serde_json::json;

use super::parts::Supervisor;
use super::{install, parts};
use crate::args::Pm2Home;
use crate::args::guard::RemoveArgs;
use crate::failure::Failure;
use crate::output::{BAD, GOOD, Output, styled};
use crate::session::Session;

pub(super) async fn remove(session: &Session, output: Output, args: &RemoveArgs) -> Result<Exit, Failure> {
    let home = super::home(session, &args.daemon)?;
    let found = Found::at(&home)?;
    let program = parts::program(session, &args.parts)?;
    let steps = plan::remove(&found)?;
    if args.dry_run {
        return planned(output, &found, &steps);
    }
    let work = Work { found: &found, program: &program, supervisor: parts::supervisor(&args.parts) };
    if files::own_uid() == 0 && found.uid != 0 && !steps.is_empty() {
        // The sockets are the daemon's user's; the units are root's.
        let public: Vec<Step> = steps.into_iter().filter(|step| *step == Step::LinkPublic).collect();
        let removed = work.take_away(&public)?;
        let exit = install::as_owner(session, &Found::at(&home)?)?;
        removed.iter().for_each(|file| output.talk(format_args!("removed {}", file.display())));
        return Ok(exit);
    }
    let told: Vec<String> = steps.iter().map(|step| step.told().to_owned()).collect();
    let daemon = Pm2Home { pm2_home: Some(home.clone()) };
    let before = match found.daemons.is_empty() {
        true => Vec::new(),
        false => super::super::list::daemon(session, &daemon)?.list().await?,
    };
    if !steps.is_empty() {
        super::record(session, Act::GuardRemove, Phase::Begun, &home, told.clone())?;
    }
    let removed = work.take_away(&steps)?;
    work.give_back(session)?;
    let after = Found::at(&home)?;
    let now = match before.is_empty() {
        true => Vec::new(),
        false => super::super::list::daemon_at(session, &home, &after.places.rpc).list().await?,
    };
    let touched = install::restarted(&before, &now);
    let is_verified = touched.is_empty() && !after.is_guarded() && after.holder.is_none();
    let phase = if is_verified { Phase::Done } else { Phase::Failed };
    super::record(session, Act::GuardRemove, phase, &home, told.clone())?;
    output.document(&json!({
        "result": if is_verified { "removed" } else { "failed" },
        "home": home,
        "steps": told,
        "restarted": touched,
        "units": removed,
    }))?;
    tell(output, &after, told.is_empty(), is_verified, &removed)?;
    Ok(if is_verified { Exit::Done } else { Exit::VerificationFailed })
}

fn planned(output: Output, found: &Found, steps: &[Step]) -> Result<Exit, Failure> {
    let told: Vec<&str> = steps.iter().map(|step| step.told()).collect();
    output.document(&json!({ "result": "planned", "home": found.places.home, "steps": told }))?;
    for line in &told {
        output.data(format_args!("- {line}"))?;
    }
    output.data("dry run: nothing was touched")?;
    Ok(Exit::Done)
}

/// What is taken away, and with what.
struct Work<'a> {
    found: &'a Found,
    program: &'a Program,
    supervisor: Option<Supervisor>,
}

impl Work<'_> {
    /// Carries the steps out, and removes the units before the firewall is ended: a supervisor would start it again.
    fn take_away(&self, steps: &[Step]) -> Result<Vec<PathBuf>, Failure> {
        let end = steps.iter().position(|step| *step == Step::EndFirewall).unwrap_or(steps.len());
        let (before, after) = steps.split_at(end);
        for step in before {
            act::carry_out(*step, self.found, self.program)?;
        }
        let remove = |supervisor: &Supervisor| {
            supervisor.remove(&parts::wanted(self.found, self.program, supervisor.folder()))
        };
        let removed = self.supervisor.as_ref().map(remove).transpose()?;
        for step in after {
            act::carry_out(*step, self.found, self.program)?;
        }
        Ok(removed.unwrap_or_default())
    }

    /// After a guard with a user of its own: the home is the daemon's user's, the state root's.
    fn give_back(&self, session: &Session) -> Result<(), Failure> {
        let is_apart =
            self.found.guarded.as_ref().is_some_and(|said| said.isolation == Isolation::SeparateUid);
        let Some(daemon) = self.found.daemons.first().filter(|_| is_apart) else { return Ok(()) };
        let Some(owner) = separate::owner_of(daemon.pid) else { return Ok(()) };
        separate::give_back(&self.found.places.home, owner)?;
        separate::take_state(session.state.root())?;
        Ok(())
    }
}

/// What came of it, for a person.
fn tell(
    output: Output,
    after: &Found,
    was_away: bool,
    is_verified: bool,
    removed: &[PathBuf],
) -> Result<(), Failure> {
    let word = if is_verified { styled(GOOD, "not guarded:") } else { styled(BAD, "not verified:") };
    let how = if was_away {
        ", as before"
    } else if is_verified {
        "; the daemon serves its own sockets, no app was restarted"
    } else {
        "; look at `palisade guard list`"
    };
    output.data(format_args!("{word} PM2 at {}{how}", after.places.home.display()))?;
    for file in removed {
        output.data(format_args!("  removed: {}", file.display()))?;
    }
    if after.started_private {
        output.data("  PM2_DAEMON_RPC_PORT and PM2_DAEMON_PUB_PORT are for a guarded start: unset them for the next one")?;
    }
    Ok(())
}
