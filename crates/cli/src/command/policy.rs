//! `palisade init` and `palisade config`.

use std::path::Path;

use palisade_config::Addition;
use palisade_core::text::Shown;
use palisade_core::{Exit, Snapshot};
use palisade_host::files;
use serde_json::json;

use crate::args::{ConfigCommand, InitArgs};
use crate::failure::Failure;
use crate::output::{GOOD, Output, styled};
use crate::render::table;
use crate::session::Session;

/// The largest policy that is read.
const MAX_POLICY_BYTES: u64 = 1 << 20;

pub(crate) async fn init(session: &Session, output: Output, args: &InitArgs) -> Result<Exit, Failure> {
    let (_, snapshot) = super::list::look(session, &args.daemon).await?;
    let path = session.policy_path.as_path();
    let existing = match files::read_bounded(path, MAX_POLICY_BYTES) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error.into()),
    };
    match existing {
        Some(text) => merge(output, path, &text, &snapshot, args.dry_run),
        None => draft(session, output, path, &snapshot, args.dry_run),
    }
}

fn draft(
    session: &Session,
    output: Output,
    path: &Path,
    snapshot: &Snapshot,
    dry_run: bool,
) -> Result<Exit, Failure> {
    let actor = session.actor()?;
    let text = palisade_config::draft(snapshot, &actor.observed.host);
    if !dry_run {
        write(path, &text)?;
        output.talk(format_args!("{} {}", styled(GOOD, "wrote"), path.display()));
        output.talk("look it over: the grouping into apps is a guess from the names");
        output.talk("then: palisade config check");
    }
    output.document(&json!({ "result": "written", "dry_run": dry_run, "path": path, "text": text }))?;
    if dry_run {
        output.data(text.trim_end())?;
    }
    Ok(Exit::Done)
}

fn merge(
    output: Output,
    path: &Path,
    text: &str,
    snapshot: &Snapshot,
    dry_run: bool,
) -> Result<Exit, Failure> {
    let merged = palisade_config::merge(text, path, snapshot)?;
    let lines: Vec<String> = merged.added.iter().map(addition).collect();
    if !merged.is_changed() {
        output.talk(format_args!("{}: every process is claimed, nothing to add", path.display()));
    } else if !dry_run {
        write(path, &merged.text)?;
        output.talk(format_args!("{} {}", styled(GOOD, "updated"), path.display()));
    }
    for left in &merged.left_out {
        output.talk(format_args!("left out {}: {}", Shown(&left.process), left.reason));
    }
    output.document(&json!({ "result": "merged", "dry_run": dry_run, "path": path, "added": lines }))?;
    for line in &lines {
        output.data(format_args!("+ {line}"))?;
    }
    Ok(Exit::Done)
}

/// One line of what was added.
fn addition(added: &Addition) -> String {
    let how = if added.new_entry { "a new entry" } else { "an existing entry" };
    format!("{} to {} ({how})", Shown(&added.process), added.scope)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| {
            Failure::new(Exit::Failure, format!("cannot make {}: {error}", folder.display()))
        })?;
    }
    Ok(files::write_atomic(path, text.as_bytes(), 0o644)?)
}

pub(crate) fn config(session: &Session, output: Output, command: &ConfigCommand) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Check { file: Some(file) } if !file.exists() => {
            Err(Failure::new(Exit::Failure, format!("there is no file {}", Shown(&file.to_string_lossy())))
                .hint(format!(
                    "name a policy; without a file the one in force is checked: {}",
                    session.policy_path.display()
                )))
        }
        ConfigCommand::Check { file: Some(file) } => {
            let host = palisade_config::load(file)?;
            checked(output, file, host.policy())
        }
        ConfigCommand::Check { file: None } => {
            let host = session.policy()?;
            checked(output, &session.policy_path, host.policy())
        }
        ConfigCommand::Show { origin } => show(session, output, *origin),
        ConfigCommand::Schema => {
            Output::json_line(&palisade_config::schema())?;
            Ok(Exit::Done)
        }
    }
}

fn checked(output: Output, path: &Path, policy: &palisade_core::Policy) -> Result<Exit, Failure> {
    let reference = policy.reference();
    output.document(&json!({ "result": "valid", "path": path, "policy": reference }))?;
    output.data(format_args!(
        "{} {}: revision {}, {} apps, {} environments",
        styled(GOOD, "valid:"),
        path.display(),
        policy.revision,
        policy.apps.len(),
        policy.environments.len()
    ))?;
    Ok(Exit::Done)
}

fn show(session: &Session, output: Output, origin: bool) -> Result<Exit, Failure> {
    let host = session.policy()?;
    let values = host.origins();
    let rows: Vec<Vec<String>> = values
        .iter()
        .map(|row| {
            let mut cells = vec![row.key.clone(), row.value.clone()];
            if origin {
                cells.push(row.origin.to_string());
            }
            cells
        })
        .collect();
    let document: Vec<_> = values
        .iter()
        .map(|row| json!({ "key": row.key.clone(), "value": row.value, "origin": row.origin.to_string() }))
        .collect();
    output.document(&document)?;
    let header: &[&str] = if origin { &["key", "value", "origin"] } else { &["key", "value"] };
    for line in table::columns(header, &rows) {
        output.data(line)?;
    }
    Ok(Exit::Done)
}
