//! `palisade guard remove`: the way back.

use std::path::PathBuf;

use palisade_core::Exit;
use palisade_core::record::{Act, Phase};
use palisade_host::files;
use palisade_install::plan::{self, Step};
use palisade_install::{Found, act};
use serde_json::json;

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
    let told: Vec<String> = steps.iter().map(|step| step.told().to_owned()).collect();
    if args.dry_run {
        output.document(&json!({ "result": "planned", "home": home, "steps": told }))?;
        for line in &told {
            output.data(format_args!("- {line}"))?;
        }
        output.data("dry run: nothing was touched")?;
        return Ok(Exit::Done);
    }
    let supervisor = parts::supervisor(&args.parts);
    let mut removed = Vec::new();
    if files::own_uid() == 0 && found.uid != 0 {
        // The sockets are the daemon's user's; the units are root's.
        if let Some(supervisor) = &supervisor {
            act::carry_out(Step::LinkPublic, &found, &program).or_else(|error| {
                match steps.contains(&Step::LinkPublic) {
                    true => Err(error),
                    false => Ok(()),
                }
            })?;
            removed = supervisor.remove(&parts::wanted(&found, &program, supervisor.folder()))?;
        }
        let exit = install::as_owner(session, &Found::at(&home)?)?;
        removed.iter().for_each(|file| output.talk(format_args!("removed {}", file.display())));
        return Ok(exit);
    }
    let daemon = Pm2Home { pm2_home: Some(home.clone()) };
    let before = match found.daemons.is_empty() {
        true => Vec::new(),
        false => super::super::list::daemon(session, &daemon)?.list().await?,
    };
    if !steps.is_empty() {
        super::record(session, Act::GuardRemove, Phase::Begun, &home, told.clone())?;
    }
    for step in &steps {
        if *step == Step::EndFirewall
            && let Some(supervisor) = &supervisor
        {
            removed = supervisor.remove(&parts::wanted(&found, &program, supervisor.folder()))?;
        }
        act::carry_out(*step, &found, &program)?;
    }
    if let (Some(supervisor), true) = (&supervisor, removed.is_empty()) {
        removed = supervisor.remove(&parts::wanted(&found, &program, supervisor.folder()))?;
    }
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
