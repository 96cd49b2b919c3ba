//! `palisade ci admit`: whether a job may begin, and the announcement of its processes.

use std::path::PathBuf;

use palisade_ci::admit::{self, Admission, Facts, Head, Minimums};
use palisade_core::actor::ProcessRef;
use palisade_core::record::{Event, JobJudged};
use palisade_core::{Actor, Exit, Finding, Scope};
use palisade_host::environment::Environment;
use palisade_host::registration::{self, Announcement, Registration, Run};
use palisade_host::{claims, clock, epochs, files, process, random};
use palisade_pipeline::Writer;
use palisade_pm2::guarded::Guarded;
use palisade_pm2::locate::Location;
use serde_json::json;

use super::remote;
use crate::args::ci::AdmitArgs;
use crate::failure::Failure;
use crate::output::{BAD, GOOD, Output, STRONG, styled};
use crate::session::Session;

pub(crate) async fn admit(session: &Session, output: Output, args: &AdmitArgs) -> Result<Exit, Failure> {
    let actor = session.actor()?;
    let claimed = &actor.claimed;
    let version = claims::runner_version(&session.environment);
    let read = epochs::read(&session.state);
    let facts = Facts {
        claimed,
        runner_version: version.as_deref(),
        minimums: minimums(&read),
        head: head(session, args, &actor).await,
        copies: copies(&session.environment),
        is_hook: args.hook,
    };
    let admission = admit::judge(&facts).ok_or_else(no_job)?;
    let mut admission = if args.strict { admission.strict() } else { admission };
    let is_admitted = admission.refusals.is_empty();
    let registered = match is_admitted {
        true => register(session, args, &actor, &mut admission.notes)?,
        false => None,
    };
    let recorded = record(session, &actor, &admission);
    let exit = if is_admitted { Exit::Done } else { Exit::Refused };
    output.document(&json!({
        "result": if is_admitted { "admitted" } else { "refused" },
        "exit": exit.number(),
        "refusals": admission.refusals,
        "warnings": admission.warnings,
        "not_checked": admission.notes,
        "registered": registered.as_ref().map(|(process, scope)| json!({ "pid": process.pid, "scope": scope })),
        "recorded": recorded.as_ref().ok(),
    }))?;
    show(output, &actor, &admission, registered.as_ref(), &recorded)?;
    Ok(exit)
}

fn no_job() -> Failure {
    Failure::usage(
        "this is no CI job: none of FORGEJO_ACTIONS, GITEA_ACTIONS, GITHUB_ACTIONS and GITLAB_CI is set",
    )
    .hint("call it from a runner's job-started hook or from a step; docs/ci.md has both")
}

fn minimums(read: &Result<palisade_core::epoch::Ratchet, epochs::Error>) -> Minimums<'_> {
    match read {
        Ok(ratchet) => Minimums::Known(ratchet),
        Err(epochs::Error::File(files::Error::Io { source, .. }))
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            Minimums::Elsewhere
        }
        Err(error) => Minimums::Unreadable(format!("{error}; {}", error.fix())),
    }
}

async fn head(session: &Session, args: &AdmitArgs, actor: &Actor) -> Head {
    if args.offline {
        return Head::Unknown("--offline was given".to_owned());
    }
    let claimed = &actor.claimed;
    let address = args.remote.clone();
    let address = address.or_else(|| remote::address(&session.environment, claimed.repository.as_deref()));
    match (address, &claimed.branch) {
        (Some(address), Some(branch)) => remote::head(&session.environment, &address, branch).await,
        (None, _) => Head::Unknown("no remote is named; give one with --remote".to_owned()),
        (_, None) => Head::Unknown("the job names no branch".to_owned()),
    }
}

/// Copies that Gitea's runner keeps in `~/.cache/act`, of what is named by a branch or tag.
fn copies(environment: &Environment) -> Vec<String> {
    let Some(home) = environment.absolute_path("HOME") else { return Vec::new() };
    let entries = home.join(".cache/act").read_dir().into_iter().flatten();
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_commit = |name: &str| name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let moves = |name: &String| name.rsplit_once('@').is_some_and(|(_, reference)| !is_commit(reference));
    let mut names: Vec<String> = names.filter(moves).take(1000).collect();
    names.sort();
    names
}

/// Announces the job's processes to the firewall, where an app was named.
fn register(
    session: &Session,
    args: &AdmitArgs,
    actor: &Actor,
    notes: &mut Vec<String>,
) -> Result<Option<(ProcessRef, Scope)>, Failure> {
    let is_named = args.scope.app.is_some() || session.environment.text("PALISADE_APP").is_some();
    if !is_named {
        notes.push("registration: no --app and --environment, so whose the job's processes are is told by other evidence".to_owned());
        return Ok(None);
    }
    let scope = session.scope(&args.scope)?;
    let Some(process) = worker(actor) else {
        notes.push("registration: the runner's process cannot be told".to_owned());
        return Ok(None);
    };
    let part = |value: &Option<String>| value.clone().unwrap_or_default();
    let claimed = &actor.claimed;
    let run = claimed.run_id.clone().map(|run_id| Run {
        repository: part(&claimed.repository),
        run_id,
        job: part(&claimed.job),
        attempt: part(&claimed.run_attempt),
    });
    let announced = match control(session, args) {
        Some(socket) => registration::announce(&socket, &announcement(&scope, process, run)),
        None => {
            let program = PROGRAM.to_owned();
            let (uid, since) = (session.uid(), clock::now());
            let scope = scope.clone();
            let registration = Registration { process, scope, uid, run, program, since, is_shared: false };
            registration::register(&session.state.registrations(), &registration)
        }
    };
    match announced {
        Ok(()) => Ok(Some((process, scope))),
        Err(error) => {
            notes.push(format!("registration: pid {} was not registered: {error}", process.pid));
            Ok(None)
        }
    }
}

/// Who registers, in records.
const PROGRAM: &str = "palisade ci admit";

fn announcement(scope: &Scope, process: ProcessRef, run: Option<Run>) -> Announcement {
    let program = PROGRAM.to_owned();
    Announcement { format: registration::FORMAT, scope: scope.clone(), pid: Some(process.pid), run, program }
}

/// Where the daemon's firewall takes requests to itself: another user's state folder cannot be written.
fn control(session: &Session, args: &AdmitArgs) -> Option<PathBuf> {
    let by_firewall = || {
        let location = Location::find(None, &session.environment).ok()?;
        Guarded::read(&location.home)?.control
    };
    args.control.clone().or_else(by_firewall)
}

/// The runner's process: the nearest parent that is not the shell of the hook or step itself.
fn worker(actor: &Actor) -> Option<ProcessRef> {
    let shells = ["sh", "bash", "dash", "zsh", "ash"];
    let parents = actor.observed.ancestors.iter();
    let mut workers = parents.filter(|parent| !shells.contains(&parent.command.as_str()));
    workers.next().map(|worker| worker.process).filter(|worker| process::is_alive(*worker))
}

/// Writes the decision down. A journal that cannot take it keeps no job from running: nothing was touched yet.
fn record(session: &Session, actor: &Actor, admission: &Admission) -> Result<Option<u64>, String> {
    let write = || -> Result<Option<u64>, Failure> {
        let host = session.policy()?;
        let op = random::operation_id()?;
        let mut writer = Writer::open(&session.state, op, actor.clone(), host.reference().clone())?;
        let findings: Vec<Finding> = admission.refusals.iter().chain(&admission.warnings).cloned().collect();
        let judged = JobJudged { admitted: admission.refusals.is_empty(), findings };
        Ok(writer.append(Event::JobJudged(judged))?.sequence())
    };
    write().map_err(|failure| failure.message)
}

fn show(
    output: Output,
    actor: &Actor,
    admission: &Admission,
    registered: Option<&(ProcessRef, Scope)>,
    recorded: &Result<Option<u64>, String>,
) -> Result<(), Failure> {
    let job = palisade_core::epoch::Job::of(&actor.claimed).map(|job| job.to_string()).unwrap_or_default();
    let word = match admission.refusals.is_empty() {
        true => styled(GOOD, "admitted:"),
        false => styled(BAD, "refused:"),
    };
    output.data(format_args!("{word} {job}"))?;
    for (findings, kind) in [(&admission.refusals, ""), (&admission.warnings, "warning: ")] {
        for finding in findings {
            output.data(format_args!("  {}{} {}", styled(STRONG, kind), finding.code, finding.message))?;
            output.data(format_args!("          fix: {}", finding.fix))?;
        }
    }
    if let Some((process, scope)) = registered {
        output.data(format_args!("  registered: processes below pid {} belong to {scope}", process.pid))?;
    }
    for note in &admission.notes {
        output.talk(format_args!("  not checked: {note}"));
    }
    match recorded {
        Ok(Some(sequence)) => output.talk(format_args!("  recorded: journal record {sequence}")),
        Ok(None) => {}
        Err(why) => output.talk(format_args!("  not recorded: {why}")),
    }
    if let Some(finding) = admission.refusals.first() {
        output.data(format_args!("  more:     palisade explain {}", finding.code))?;
    }
    Ok(())
}
