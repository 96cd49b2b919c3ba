//! `palisade ci epoch raise|list`: the minimum at the resource.

use std::path::Path;

use palisade_ci::{epoch, workflow};
use palisade_core::epoch::{Minimum, Subject};
use palisade_core::{Epoch, Exit, Receipt};
use palisade_host::{claims, clock, epochs};
use palisade_pipeline as pipeline;
use serde_json::json;

use super::checkout;
use crate::args::ci::RaiseArgs;
use crate::failure::Failure;
use crate::output::{GOOD, Output, styled};
use crate::render::table;
use crate::session::Session;

pub(crate) fn raise(session: &Session, output: Output, args: &RaiseArgs) -> Result<Exit, Failure> {
    let host = session.policy()?;
    let actor = session.actor()?;
    let top = checkout::top();
    let subject = subject(session, args, top.as_deref())?;
    let to = match args.to {
        Some(to) => to,
        None => carried(&subject, top.as_deref())?,
    };
    let raised = if args.dry_run {
        let mut ratchet = epochs::read(&session.state).map_err(pipeline::Error::from)?;
        let minimum = Minimum {
            subject: subject.clone(),
            epoch: to,
            raised_at: clock::now(),
            raised_by: String::new(),
        };
        let from = ratchet.raise(minimum).map_err(pipeline::Error::from)?;
        pipeline::epochs::Raised { from, receipt: None }
    } else {
        pipeline::epochs::raise(&session.state, host.reference(), actor, subject.clone(), to)?
    };
    let recorded = raised.receipt.as_ref().and_then(Receipt::sequence);
    output.document(&json!({
        "result": if recorded.is_some() { "raised" } else { "unchanged" },
        "dry_run": args.dry_run,
        "subject": subject,
        "from": raised.from,
        "to": to,
        "recorded": recorded,
    }))?;
    output.data(told(&subject, to, args.dry_run, raised.from, recorded))?;
    Ok(Exit::Done)
}

fn told(subject: &Subject, to: Epoch, dry_run: bool, from: Option<Epoch>, recorded: Option<u64>) -> String {
    let change = match from {
        Some(from) if from == to => format!("{subject}: {to}, as before"),
        Some(from) => format!("{subject}: from {from} to {to}; lower ones are refused"),
        None => format!("{subject}: {to}; lower ones, and jobs without one, are refused"),
    };
    match (dry_run, recorded) {
        (true, _) => format!("dry run: {change}; nothing was changed"),
        (false, Some(sequence)) => {
            format!("{} {change} (journal record {sequence})", styled(GOOD, "raised"))
        }
        (false, None) => change,
    }
}

/// Where the workflow's file is in this checkout, both its name and its path are kept: a job tells one or the other.
fn subject(session: &Session, args: &RaiseArgs, top: Option<&Path>) -> Result<Subject, Failure> {
    let repository = checkout::repository(session, args.repository.as_deref(), top)?;
    let Some(named) = &args.workflow else {
        return Ok(Subject { repository, workflow: None, file: None });
    };
    if named.trim().is_empty() {
        return Err(Failure::usage("the workflow's name is empty; an empty name never means every workflow")
            .hint("name it, or say --every-workflow"));
    }
    let file = top.and_then(|top| file_of(top, named));
    let name = file.as_deref().zip(top).and_then(|(file, top)| {
        let text = checkout::text(&top.join(file)).ok()?;
        Some(workflow::read(file, &text).ok()?.name()?.to_owned())
    });
    Ok(Subject { repository, workflow: Some(name.unwrap_or_else(|| named.clone())), file })
}

fn file_of(top: &Path, named: &str) -> Option<String> {
    let is_path = workflow::dialect_of(named).is_some() && top.join(named).is_file();
    if is_path { Some(named.to_owned()) } else { claims::workflow_file(top, named) }
}

/// The epoch that the workflow's file carries. Never "one more": a stale job that raised would lock out the current.
fn carried(subject: &Subject, top: Option<&Path>) -> Result<Epoch, Failure> {
    let unknown = |why: String| Failure::usage(why).hint("say which: --to EPOCH");
    let (Some(file), Some(top)) = (subject.file.as_deref(), top) else {
        return Err(unknown("no --to was given, and this folder has no file of that workflow".to_owned()));
    };
    let text = checkout::text(&top.join(file))?;
    let read = workflow::read(file, &text).map_err(|error| unknown(format!("{file}: {error}")))?;
    let literal =
        epoch::read(&read).ok_or_else(|| unknown(format!("no --to was given, and {file} has no epoch")))?;
    literal.epoch().map_err(|error| unknown(format!("{file}:{}: {error}", literal.line)))
}

pub(crate) fn list(session: &Session, output: Output) -> Result<Exit, Failure> {
    let ratchet = epochs::read(&session.state).map_err(pipeline::Error::from)?;
    output.document(&ratchet)?;
    if ratchet.minimums().is_empty() {
        output.talk("no workflow needs an epoch here; see `palisade ci epoch raise --help`");
        return Ok(Exit::Done);
    }
    let row = |minimum: &Minimum| {
        vec![
            minimum.subject.repository.clone(),
            minimum.subject.workflow.clone().unwrap_or_else(|| "(every workflow)".to_owned()),
            minimum.epoch.to_string(),
            minimum.raised_at.to_string(),
            minimum.raised_by.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = ratchet.minimums().iter().map(row).collect();
    for line in table::columns(&["repository", "workflow", "epoch", "raised", "by"], &rows) {
        output.data(line)?;
    }
    Ok(Exit::Done)
}
