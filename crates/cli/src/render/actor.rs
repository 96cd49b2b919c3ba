//! Layer 1: who runs this, from which workflow, what is only claimed, and what could not be had.

use palisade_core::Actor;
use palisade_core::text::escaped;

use super::table;

/// The metadata of an operation, one fact a line: name, value, and whether it was observed or claimed.
pub(crate) fn metadata(actor: &Actor, at: palisade_core::Timestamp) -> Vec<String> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut add = |name: &str, value: String, kind: &str| {
        rows.push(vec![name.to_owned(), value, kind.to_owned()]);
    };
    add("time", at.to_string(), "observed");
    add("caller", caller(actor), "observed");
    add("parents", parents(actor), "observed");
    if let Some(cwd) = &actor.observed.cwd {
        add("folder", cwd.clone(), "observed");
    }
    for (name, value) in claims(actor) {
        add(name, value, "claimed");
    }
    if !actor.missing.is_empty() {
        add("not to be had", actor.missing.join(", "), "");
    }
    table::columns(&["fact", "value", "source"], &rows)
}

/// Who, in one line.
pub(crate) fn caller(actor: &Actor) -> String {
    let observed = &actor.observed;
    let user = observed.user.as_deref().unwrap_or("unknown user");
    format!(
        "{} (uid {}) on {}, pid {}",
        escaped(user),
        observed.uid,
        escaped(&observed.host),
        observed.process.pid
    )
}

/// Who in one short line, with the run where there is one.
pub(crate) fn brief(actor: &Actor) -> String {
    let user = actor.observed.user.clone().unwrap_or_else(|| format!("uid {}", actor.observed.uid));
    let claimed = &actor.claimed;
    let run = match (&claimed.workflow, &claimed.run_id) {
        (Some(workflow), Some(run)) => format!(", {workflow} run {run}"),
        (None, Some(run)) => format!(", run {run}"),
        (Some(_) | None, None) => String::new(),
    };
    let by = claimed.actor.as_ref().map(|actor| format!(" of {actor}")).unwrap_or_default();
    escaped(&format!("{user}{run}{by}")).into_owned()
}

fn parents(actor: &Actor) -> String {
    let named = actor.observed.ancestors.iter().map(|ancestor| match &ancestor.script {
        Some(script) => format!("{} {script} ({})", ancestor.command, ancestor.process.pid),
        None => format!("{} ({})", ancestor.command, ancestor.process.pid),
    });
    named.collect::<Vec<_>>().join(" < ")
}

fn claims(actor: &Actor) -> Vec<(&'static str, String)> {
    let claimed = &actor.claimed;
    let forge = claimed.forge.map(|forge| forge.to_string());
    let all = [
        ("forge", &forge),
        ("repository", &claimed.repository),
        ("workflow", &claimed.workflow),
        ("workflow file", &claimed.workflow_file),
        ("its sha256 in the checkout", &claimed.workflow_sha256),
        ("commit", &claimed.commit),
        ("branch", &claimed.branch),
        ("run", &claimed.run_id),
        ("attempt", &claimed.run_attempt),
        ("job", &claimed.job),
        ("actor", &claimed.actor),
        ("runner", &claimed.runner),
        ("event", &claimed.event),
        ("epoch", &claimed.epoch),
        ("ssh from", &claimed.ssh_client),
        ("sudo by", &claimed.sudo_user),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
}
