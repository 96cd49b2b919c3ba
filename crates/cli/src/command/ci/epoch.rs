//! `palisade ci epoch write|check`: the literal in the files of a checkout.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use palisade_ci::epoch::{self, Edited};
use palisade_ci::workflow;
use palisade_core::epoch::{Job, Minimum, Ratchet};
use palisade_core::text::Shown;
use palisade_core::{Epoch, Exit, Finding};
use palisade_host::{epochs, files};
use palisade_pipeline as pipeline;
use serde_json::json;

use super::checkout;
use crate::args::ci::{CheckArgs, WriteArgs};
use crate::failure::Failure;
use crate::output::{BAD, GOOD, Output, styled};
use crate::render::table;
use crate::session::Session;

pub(crate) fn write(output: Output, args: &WriteArgs) -> Result<Exit, Failure> {
    let mut edits = Vec::new();
    // Every file is read and judged before the first one is written.
    for path in &args.files {
        let path = path.canonicalize().map_err(|error| {
            Failure::new(Exit::Failure, format!("cannot open {}: {error}", path.display()))
                .hint("name a workflow file, such as .gitea/workflows/deploy.yml")
        })?;
        let text = checkout::text(&path)?;
        let edited = epoch::write(&path.to_string_lossy(), &text, args.to).map_err(|error| {
            Failure::new(Exit::Failure, format!("{}: {error}", path.display())).hint(unwritten(&error))
        })?;
        edits.push((path, text, edited));
    }
    let mut document = Vec::new();
    for (path, before, edited) in &edits {
        let is_changed = edited.text != *before;
        if is_changed && !args.dry_run {
            replace(path, &edited.text)?;
        }
        output.data(told(path, edited, is_changed, args.dry_run))?;
        document.push(json!({
            "file": path, "line": edited.line, "from": edited.from, "to": edited.to, "changed": is_changed,
        }));
    }
    output.document(&json!({ "result": "written", "dry_run": args.dry_run, "files": document }))?;
    if !args.dry_run {
        output.talk(
            "merge this, and then on the host: palisade ci epoch raise --repository OWNER/NAME --workflow W",
        );
    }
    Ok(Exit::Done)
}

/// How to go on where no epoch could be put in.
const fn unwritten(error: &epoch::Error) -> &'static str {
    match error {
        epoch::Error::Workflow(_) => "nothing was written; mend the file first",
        epoch::Error::WouldFall { .. } => {
            "nothing was written; without --to the epoch that is there is raised by one"
        }
        epoch::Error::NoNext | epoch::Error::Place { .. } | epoch::Error::NotVerified => {
            "nothing was written; put `PALISADE_EPOCH: \"7\"` below the top-level `env:` by hand if need be"
        }
    }
}

/// Writes the file with the mode that it had.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let mode = path.metadata().map(|metadata| metadata.permissions().mode() & 0o777).unwrap_or(0o644);
    Ok(files::write_atomic(path, text.as_bytes(), mode)?)
}

fn told(path: &Path, edited: &Edited, is_changed: bool, dry_run: bool) -> String {
    let place = format!("{}:{}", path.display(), edited.line);
    match (is_changed, edited.from, dry_run) {
        (false, _, _) => format!("{place}: epoch {}, as before", edited.to),
        (true, Some(from), false) => format!("{place}: epoch {from} is now {}", edited.to),
        (true, None, false) => format!("{place}: first epoch {}", edited.to),
        (true, Some(from), true) => format!("{place}: epoch {from} would become {}", edited.to),
        (true, None, true) => format!("{place}: would get epoch {}", edited.to),
    }
}

/// One workflow beside its minimum.
struct Compared {
    file: String,
    workflow: String,
    literal: Option<String>,
    required: Option<Epoch>,
    objection: Option<Finding>,
    /// Why the file could not be read as a workflow: nothing is known of it then.
    unreadable: Option<String>,
}

pub(crate) fn check(session: &Session, output: Output, args: &CheckArgs) -> Result<Exit, Failure> {
    let top = checkout::top();
    let paths = paths(&args.files, top.as_deref())?;
    let repository = checkout::repository(session, args.repository.as_deref(), top.as_deref())?;
    let ratchet = epochs::read(&session.state).map_err(pipeline::Error::from)?;
    let compared: Vec<Compared> = paths
        .iter()
        .map(|path| compare(path, top.as_deref(), &repository, &ratchet))
        .collect::<Result<_, Failure>>()?;
    let is_refused = compared.iter().any(|one| one.objection.is_some());
    let is_unreadable = compared.iter().any(|one| one.unreadable.is_some());
    let exit = match (is_refused, is_unreadable) {
        (true, _) => Exit::Refused,
        (false, true) => Exit::Failure,
        (false, false) => Exit::Done,
    };
    let rows: Vec<_> = compared.iter().map(document).collect();
    output.document(&json!({ "exit": exit.number(), "repository": repository, "workflows": rows }))?;
    let rows: Vec<Vec<String>> = compared.iter().map(row).collect();
    for line in table::columns(&["file", "workflow", "epoch", "required", "verdict"], &rows) {
        output.data(line)?;
    }
    for finding in compared.iter().filter_map(|one| one.objection.as_ref()) {
        output.data(format_args!("{} {} {}", styled(BAD, "refused:"), finding.code, finding.message))?;
        output.data(format_args!("  fix: {}", finding.fix))?;
    }
    for one in &compared {
        let Some(why) = &one.unreadable else { continue };
        output.data(format_args!("{} {}: {}", styled(BAD, "unreadable:"), Shown(&one.file), Shown(why)))?;
        output.data("  fix: mend the file, or move it out of the folder of workflows")?;
    }
    if exit == Exit::Done {
        output.talk(format_args!("{} every workflow may run on this host", styled(GOOD, "ok:")));
    }
    Ok(exit)
}

/// The files that were named, or all workflows of the checkout. None at all is an error, never "all is well".
fn paths(given: &[PathBuf], top: Option<&Path>) -> Result<Vec<PathBuf>, Failure> {
    let paths = match (given, top) {
        ([], Some(top)) => checkout::workflows(top),
        ([], None) => Vec::new(),
        (given, _) => given.to_vec(),
    };
    if paths.is_empty() {
        return Err(Failure::usage("there is no workflow here")
            .hint("go into a checkout, or name files such as .gitea/workflows/deploy.yml"));
    }
    Ok(paths)
}

fn compare(
    path: &Path,
    top: Option<&Path>,
    repository: &str,
    ratchet: &Ratchet,
) -> Result<Compared, Failure> {
    let file = checkout::shown(top, path);
    let text = checkout::text(path)?;
    let read = match workflow::read(&path.to_string_lossy(), &text) {
        Ok(read) => read,
        Err(error) => {
            let (workflow, why) = (file.clone(), Some(error.to_string()));
            return Ok(Compared {
                file,
                workflow,
                literal: None,
                required: None,
                objection: None,
                unreadable: why,
            });
        }
    };
    let literal = epoch::read(&read).map(|literal| literal.text);
    let workflow = read.name().unwrap_or(&file).to_owned();
    let job = Job {
        forge: None,
        repository: Some(repository.to_owned()),
        workflow: Some(workflow.clone()),
        file: Some(file.clone()),
        epoch: literal.clone(),
        run: None,
    };
    let required = ratchet.required(&job).map(|minimum: &Minimum| minimum.epoch);
    let objection = ratchet.objection(&job);
    Ok(Compared { file, workflow, literal, required, objection, unreadable: None })
}

fn document(one: &Compared) -> serde_json::Value {
    json!({
        "file": one.file,
        "workflow": one.workflow,
        "epoch": one.literal,
        "required": one.required,
        "finding": one.objection,
        "unreadable": one.unreadable,
    })
}

fn row(one: &Compared) -> Vec<String> {
    let verdict = match (&one.objection, one.required) {
        (Some(finding), _) => finding.code.to_string(),
        (None, _) if one.unreadable.is_some() => "unreadable".to_owned(),
        (None, Some(_)) => "ok".to_owned(),
        (None, None) => "no minimum".to_owned(),
    };
    let epoch = one.literal.as_deref().map_or_else(|| "-".to_owned(), |text| Shown(text).to_string());
    let required = one.required.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
    vec![one.file.clone(), one.workflow.clone(), epoch, required, verdict]
}
