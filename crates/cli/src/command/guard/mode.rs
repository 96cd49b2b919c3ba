//! `palisade guard mode`: edits the policy in place, shows what changed, records it.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use palisade_config::{ModeError, ModeOutcome, Which, set_mode};
use palisade_core::policy::Mode;
use palisade_core::record::{Act, Phase};
use palisade_core::{Code, Exit, Policy, Scope};
use palisade_host::files;
use serde_json::json;

use crate::args::guard::ModeArgs;
use crate::failure::Failure;
use crate::output::{GOOD, Output, styled};
use crate::session::Session;

/// The largest policy that is read.
const MAX_POLICY_BYTES: u64 = 1 << 20;

pub(super) fn mode(session: &Session, output: Output, args: &ModeArgs) -> Result<Exit, Failure> {
    let which = match &args.app {
        None => Which::Everything,
        Some(app) => Which::App { app: app.clone(), environment: args.environment.clone() },
    };
    let outcome = if args.dry_run {
        edited(session, &which, args.mode.into())?
    } else {
        let home = super::home(session, &args.daemon).unwrap_or_default();
        set(session, output, &home, &which, args.mode.into())?
    };
    output.document(&json!({
        "result": if outcome.difference.is_empty() { "unchanged" } else { "changed" },
        "dry_run": args.dry_run,
        "path": session.policy_path,
        "revision": outcome.revision,
        "difference": outcome.difference,
    }))?;
    for line in &outcome.difference {
        output.data(line)?;
    }
    match (outcome.difference.is_empty(), args.dry_run) {
        (true, _) => output.data("nothing to change: it is so already")?,
        (false, true) => output.data("dry run: nothing was written")?,
        (false, false) => {
            output.data(format_args!(
                "{} {}, revision {}",
                styled(GOOD, "updated"),
                session.policy_path.display(),
                outcome.revision
            ))?;
        }
    }
    Ok(Exit::Done)
}

/// Sets the mode in the policy file and records it. A running guard reads the file anew by itself.
pub(super) fn set(
    session: &Session,
    output: Output,
    home: &Path,
    which: &Which,
    mode: Mode,
) -> Result<ModeOutcome, Failure> {
    let outcome = edited(session, which, mode)?;
    if outcome.difference.is_empty() {
        return Ok(outcome);
    }
    let path = session.policy_path.as_path();
    let owner = path.metadata()?;
    files::write_atomic(path, outcome.text.as_bytes(), owner.mode() & 0o777)?;
    if owner.uid() != files::own_uid() {
        chown(path, Some(owner.uid()), Some(owner.gid()))?;
    }
    let announced = super::record(session, Act::GuardMode, Phase::Done, home, outcome.difference.clone())?;
    output.talk(format_args!("recorded: {}", announced.place()));
    Ok(outcome)
}

fn edited(session: &Session, which: &Which, mode: Mode) -> Result<ModeOutcome, Failure> {
    // Loading looks at owner and mode of the file too; nobody edits a policy that binds nobody.
    palisade_config::load(&session.policy_path)?;
    let bytes = files::read_bounded(&session.policy_path, MAX_POLICY_BYTES)?;
    let text = String::from_utf8_lossy(&bytes);
    set_mode(&text, &session.policy_path, which, mode).map_err(|error| match error {
        ModeError::Invalid(problems) => problems.into(),
        error @ ModeError::NoSuchApp { .. } => Failure::new(Exit::Usage, error.to_string())
            .code(Code::UnknownScope)
            .hint("see `palisade config show` for the apps"),
        error @ ModeError::Unwritable => {
            Failure::new(Exit::Failure, error.to_string()).code(Code::PolicyInvalid)
        }
    })
}

/// The mode of each app: its own, else its environment's.
pub(super) fn modes(policy: &Policy) -> BTreeMap<Scope, Mode> {
    let environment = |scope: &Scope| policy.environments.get(&scope.environment).map(|found| found.mode);
    let apps = policy.apps.iter();
    apps.map(|app| (app.scope.clone(), app.mode.or_else(|| environment(&app.scope)).unwrap_or_default()))
        .collect()
}

/// In which modes the apps are, in a few words.
pub(super) fn summary(session: &Session) -> String {
    let Ok(host) = session.host_policy() else { return "unknown: there is no valid policy".to_owned() };
    let modes = modes(host.policy());
    let enforced: Vec<String> = modes
        .iter()
        .filter(|(_, mode)| **mode == Mode::Enforce)
        .map(|(scope, _)| scope.to_string())
        .collect();
    match (enforced.len(), modes.len()) {
        (0, _) => "observe: nothing is refused, what would be is recorded".to_owned(),
        (some, all) if some == all => "enforce, for every app".to_owned(),
        _ => format!("enforce for {}; observe for the rest", enforced.join(", ")),
    }
}
