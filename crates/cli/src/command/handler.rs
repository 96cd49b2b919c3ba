//! What a handler says to its worker, and what handlers printed.

use std::path::{Path, PathBuf};

use palisade_core::text::escaped_lines;
use palisade_core::{Code, Exit};
use palisade_host::files;
use palisade_jobs::JobId;
use palisade_worker::program::keeper::LOG_MOST;
use palisade_worker::program::talk::{self, Answer, Request};
use serde_json::json;

use crate::args::worker::HandlerCommand;
use crate::command::worker::LOGS;
use crate::failure::Failure;
use crate::output::Output;
use crate::session::Session;

pub(crate) fn handler(session: &Session, output: Output, command: &HandlerCommand) -> Result<Exit, Failure> {
    let request = match command {
        HandlerCommand::Output { job, attempt } => return logs(session, output, *job, *attempt),
        HandlerCommand::Progress { value } => Request::Progress { value: *value },
        HandlerCommand::Checkpoint { file } => Request::Checkpoint { file: absolute(file)? },
        HandlerCommand::Stopping => Request::State,
        HandlerCommand::Done => Request::Done,
    };
    let answer = ask(session, &request)?;
    output.document(&answer)?;
    if let Some(stop) = answer.stop {
        match command {
            HandlerCommand::Stopping => output.data(stop.as_str())?,
            _ => output.talk(format!("this attempt has to stop: {}", stop.as_str())),
        }
    }
    if answer.later {
        output.talk("the checkpoint is kept and tried again: it is not stored yet");
    }
    Ok(Exit::Done)
}

fn ask(session: &Session, request: &Request) -> Result<Answer, Failure> {
    let Some(socket) = session.environment.absolute_path("PALISADE_SOCKET") else {
        return Err(Failure::usage("PALISADE_SOCKET is not set: this is said by a handler to its worker")
            .hint("run it in a program that `palisade worker -- PROGRAM` started"));
    };
    let spent = |failure: Failure| {
        failure.code(Code::ClaimSpent).hint("end this program: somebody else may have the job by now")
    };
    let answer = talk::ask(&socket, request)
        .map_err(|error| spent(Failure::new(Exit::Refused, error.to_string()).caused_by(&error)))?;
    match &answer.error {
        None => Ok(answer),
        Some(error) if answer.stop.is_some_and(|stop| !stop.may_write()) => {
            Err(spent(Failure::new(Exit::Refused, error.clone())))
        }
        Some(error) => Err(Failure::new(Exit::Failure, error.clone())),
    }
}

/// The worker has another working folder.
fn absolute(file: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(file).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))
}

/// Logs lie where the attempt ran.
fn logs(session: &Session, output: Output, job: JobId, attempt: Option<u16>) -> Result<Exit, Failure> {
    let folder = session.state.root().join(LOGS).join(job.to_string());
    let mut found: Vec<(u16, i64, PathBuf)> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let (number, token) = name.to_str()?.strip_suffix(".log")?.split_once('-')?;
            Some((number.parse().ok()?, token.parse().ok()?, entry.path()))
        })
        .filter(|(number, ..)| attempt.is_none_or(|attempt| attempt == *number))
        .collect();
    found.sort_by_key(|(_, token, _)| *token);
    if found.is_empty() {
        let which = attempt.map(|attempt| format!("attempt {attempt} of ")).unwrap_or_default();
        return Err(Failure::new(Exit::Failure, format!("there is no log of {which}job {job} on this host"))
            .hint("logs lie on the host on which the attempt ran, in its state folder"));
    }
    let mut documents = Vec::new();
    for (attempt, token, path) in found {
        let text = files::read_bounded(&path, LOG_MOST + 4096)?;
        let text = String::from_utf8_lossy(&text);
        output.data(format!("== attempt {attempt}, token {token}"))?;
        output.data(escaped_lines(text.trim_end_matches('\n')))?;
        documents.push(json!({ "attempt": attempt, "token": token, "path": path, "text": text }));
    }
    output.document(&json!({ "job": job, "logs": documents }))?;
    Ok(Exit::Done)
}
