//! What `palisade doctor` says of epochs and runners.

use std::os::unix::fs::MetadataExt as _;

use palisade_host::{epochs, process};

use crate::session::Session;

/// A finding and its fix.
pub(crate) type Finding = (String, String);

/// The variable that names GitHub's hook; Gitea's runner reads it too.
const HOOK: &str = "ACTIONS_RUNNER_HOOK_JOB_STARTED";

/// What keeps jobs from changing anything here.
pub(crate) fn problem(session: &Session) -> Option<Finding> {
    if of_another_user(session).is_some() {
        return None;
    }
    let error = epochs::read(&session.state).err()?;
    Some((format!("jobs change nothing here: {error} (PAL-703)"), error.fix()))
}

/// That the epochs are those of a guard with a user of its own: whether it can use them is not seen from here.
pub(crate) fn note(session: &Session) -> Option<Finding> {
    let uid = of_another_user(session)?;
    epochs::read(&session.state).err()?;
    Some((
        format!("the epochs of workflows are kept by uid {uid}, and are not looked at as this user"),
        format!("look as that user: sudo -u '#{uid}' palisade doctor"),
    ))
}

/// Whose the state folder is, where it is not this user's.
fn of_another_user(session: &Session) -> Option<u32> {
    let uid = session.state.root().metadata().ok()?.uid();
    (uid != session.uid()).then_some(uid)
}

/// Runners of this machine whose jobs begin unasked. GitHub's tells by its variables; those of others may name the hook
/// in a file, which is said.
pub(crate) fn runners() -> Vec<Finding> {
    let found = |prefix: &str| process::find_all(prefix, |_title| true).unwrap_or_default();
    let fix = "name packaging/ci/hooks/job-started.sh as its job-started hook; docs/ci.md says where";
    let listeners = found("Runner.Listener").into_iter().filter_map(|runner| {
        let environment = process::environment(runner.process.pid);
        // Variables of another user's process cannot be read: then nothing is said.
        let is_readable = environment.iter().next().is_some();
        let what = format!("the GitHub runner with pid {} has no {HOOK}", runner.process.pid);
        (is_readable && environment.text(HOOK).is_none()).then(|| (what, fix.to_owned()))
    });
    let others = ["act_runner", "gitea-runner", "forgejo-runner"].into_iter().flat_map(|name| {
        found(name).into_iter().map(move |runner| {
            let what = format!(
                "{name} with pid {}: its hook is named in its configuration, if at all",
                runner.process.pid
            );
            (what, fix.to_owned())
        })
    });
    listeners.chain(others).collect()
}
