//! `palisade ci context`: what is known of the job that runs this, and what is not and why.

use std::path::Path;

use palisade_ci::{epoch, workflow};
use palisade_core::Exit;
use palisade_core::actor::{Claimed, Forge};
use palisade_host::claims;
use serde_json::json;

use super::checkout;
use crate::failure::Failure;
use crate::output::Output;
use crate::render::table;
use crate::session::Session;

pub(crate) fn context(session: &Session, output: Output) -> Result<Exit, Failure> {
    let actor = session.actor()?;
    let claimed = &actor.claimed;
    let version = claims::runner_version(&session.environment);
    let in_checkout = claimed.workflow_file.as_deref().and_then(checkout_epoch);
    let differs = in_checkout.is_some() && claimed.forge.is_some() && in_checkout != claimed.epoch;
    let missing: Vec<(String, &str)> = missing(claimed, &actor.missing);
    output.document(&json!({
        "claimed": claimed,
        "runner_version": version,
        "checkout_epoch": in_checkout,
        "differs_from_checkout": differs,
        "missing": missing.iter().map(|(name, why)| json!({ "name": name, "why": why })).collect::<Vec<_>>(),
    }))?;
    if claimed.forge.is_none() {
        output.talk("no CI job: none of FORGEJO_ACTIONS, GITEA_ACTIONS, GITHUB_ACTIONS and GITLAB_CI is set");
    }
    for line in table::columns(&["fact", "value"], &rows(claimed, version.as_deref())) {
        output.data(line)?;
    }
    for (name, why) in &missing {
        output.data(format_args!("missing  {name}: {why}"))?;
    }
    if differs {
        let file = claimed.workflow_file.as_deref().unwrap_or_default();
        let words =
            |epoch: Option<&str>| epoch.map_or_else(|| "no epoch".to_owned(), |text| format!("epoch {text}"));
        output.talk(format_args!(
            "what runs carries {}, and {file} in the checkout {}: what runs is another version",
            words(claimed.epoch.as_deref()),
            words(in_checkout.as_deref())
        ));
    }
    Ok(Exit::Done)
}

/// The literal that the workflow's file in the checkout carries.
fn checkout_epoch(file: &str) -> Option<String> {
    let top = checkout::top()?;
    let text = checkout::text(&top.join(Path::new(file))).ok()?;
    epoch::read(&workflow::read(file, &text).ok()?).map(|literal| literal.text)
}

fn rows(claimed: &Claimed, version: Option<&str>) -> Vec<Vec<String>> {
    let facts = [
        ("forge", claimed.forge.map(|forge| forge.to_string())),
        ("repository", claimed.repository.clone()),
        ("workflow", claimed.workflow.clone()),
        ("file", claimed.workflow_file.clone()),
        ("its sha256 in the checkout", claimed.workflow_sha256.clone()),
        ("epoch", claimed.epoch.clone()),
        ("commit", claimed.commit.clone()),
        ("branch", claimed.branch.clone()),
        ("event", claimed.event.clone()),
        ("run", claimed.run_id.clone()),
        ("attempt", claimed.run_attempt.clone()),
        ("job", claimed.job.clone()),
        ("actor", claimed.actor.clone()),
        ("runner", claimed.runner.clone()),
        ("runner version", version.map(str::to_owned)),
        ("ssh from", claimed.ssh_client.clone()),
    ];
    facts.into_iter().filter_map(|(name, value)| Some(vec![name.to_owned(), value?])).collect()
}

/// What this job does not tell, by its name, with the reason.
fn missing(claimed: &Claimed, names: &[String]) -> Vec<(String, &'static str)> {
    let mut missing: Vec<(String, &'static str)> =
        names.iter().map(|name| (name.clone(), reason(claimed.forge, name))).collect();
    if claimed.forge.is_some() && claimed.epoch.is_none() {
        let why = "the workflow has no PALISADE_EPOCH in its own variables, or a script dropped it";
        missing.push(("epoch".to_owned(), why));
    }
    missing
}

fn reason(forge: Option<Forge>, name: &str) -> &'static str {
    match name {
        "GITHUB_WORKFLOW_REF" => {
            "only GitHub sets it; elsewhere the file is looked for by the workflow's name in the checkout"
        }
        "GITHUB_TRIGGERING_ACTOR" => {
            "only GitHub sets it; the one who started the first attempt stands for it"
        }
        "RUNNER_NAME" => "Gitea's runner sets it from 2.3.0 on, Forgejo's does not",
        "GITHUB_RUN_ATTEMPT" => "this runner does not set it, so an attempt cannot be told from the first",
        "run_attempt" => "GitLab gives a job that is tried again another id and no number",
        "workflow_file" => "there is no checkout yet, or no file or several in it are of that name",
        "workflow_sha256" => "the workflow's file cannot be read in the checkout",
        "commit" | "branch" => {
            "no variable tells it, and there is no checkout around, or its HEAD is detached"
        }
        "machine_id" => "this machine has no /etc/machine-id, as many containers",
        "user" => "this user id has no entry in /etc/passwd",
        "cwd" | "cgroup" | "session_leader" => "/proc does not tell",
        _ if forge.is_some() => "this runner does not set it",
        _ => "it could not be had",
    }
}
