//! `palisade ci epoch`: the literal in a workflow, and the minimum at the resource.

use palisade_core::epoch::Subject;
use palisade_core::{Epoch, Exit, Receipt};
use palisade_host::epochs;
use palisade_pipeline as pipeline;
use serde_json::json;

use crate::args::ci::RaiseArgs;
use crate::failure::Failure;
use crate::output::{GOOD, Output, styled};
use crate::render::table;
use crate::session::Session;

pub(crate) fn raise(session: &Session, output: Output, args: &RaiseArgs) -> Result<Exit, Failure> {
    let host = session.policy()?;
    let actor = session.actor()?;
    let subject = subject(args, actor.claimed.repository.as_deref())?;
    let mut ratchet = epochs::read(&session.state).map_err(pipeline::Error::from)?;
    let raised = if args.dry_run {
        let from = ratchet.minimum(&subject).map(|minimum| minimum.epoch);
        let raised_by = String::new();
        let raised_at = palisade_host::clock::now();
        let minimum =
            palisade_core::epoch::Minimum { subject: subject.clone(), epoch: args.to, raised_at, raised_by };
        ratchet.raise(minimum).map_err(pipeline::Error::from)?;
        pipeline::epochs::Raised { from, receipt: None }
    } else {
        pipeline::epochs::raise(&session.state, host.reference(), actor, subject.clone(), args.to)?
    };
    let recorded = raised.receipt.as_ref().and_then(Receipt::sequence);
    output.document(&json!({
        "result": if recorded.is_some() { "raised" } else { "unchanged" },
        "dry_run": args.dry_run,
        "subject": subject,
        "from": raised.from,
        "to": args.to,
        "recorded": recorded,
    }))?;
    output.data(told(&subject, args, raised.from, recorded))?;
    Ok(Exit::Done)
}

fn told(subject: &Subject, args: &RaiseArgs, from: Option<Epoch>, recorded: Option<u64>) -> String {
    let to = args.to;
    let change = match from {
        Some(from) if from == to => format!("{subject}: {to}, as before"),
        Some(from) => format!("{subject}: from {from} to {to}; lower ones are refused"),
        None => format!("{subject}: {to}; lower ones, and jobs without one, are refused"),
    };
    match (args.dry_run, recorded) {
        (true, _) => format!("dry run: {change}; nothing was changed"),
        (false, Some(sequence)) => {
            format!("{} {change} (journal record {sequence})", styled(GOOD, "raised"))
        }
        (false, None) => change,
    }
}

fn subject(args: &RaiseArgs, claimed: Option<&str>) -> Result<Subject, Failure> {
    let repository = args.repository.as_deref().or(claimed).unwrap_or_default().trim();
    let parts: Vec<&str> = repository.split('/').collect();
    if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
        return Err(Failure::usage(format!("{repository:?} is no repository: it is written OWNER/NAME"))
            .hint("add --repository OWNER/NAME, as the forge writes it, without its address"));
    }
    if args.workflow.as_ref().is_some_and(|workflow| workflow.trim().is_empty()) {
        return Err(Failure::usage("the workflow's name is empty; an empty name never means every workflow")
            .hint("name it, or say --every-workflow"));
    }
    Ok(Subject { repository: repository.to_owned(), workflow: args.workflow.clone(), file: None })
}

pub(crate) fn list(session: &Session, output: Output) -> Result<Exit, Failure> {
    let ratchet = epochs::read(&session.state).map_err(pipeline::Error::from)?;
    output.document(&ratchet)?;
    if ratchet.minimums().is_empty() {
        output.talk("no workflow needs an epoch here; see `palisade ci epoch raise --help`");
        return Ok(Exit::Done);
    }
    let row = |minimum: &palisade_core::epoch::Minimum| {
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
