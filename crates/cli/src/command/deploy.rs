//! `palisade deploy`: a command under the lease of its app and environment.

use std::process::ExitStatus;

use palisade_core::text::Shown;
use palisade_core::{Exit, Finding, Receipt, Scope};
use palisade_pipeline::deployment::{Deployment, Start};
use serde_json::json;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::hand_over;
use crate::args::DeployArgs;
use crate::failure::Failure;
use crate::output::{BAD, Output, styled};
use crate::render;
use crate::session::Session;

/// Runs the command; the exit status is the command's own.
pub(crate) async fn deploy(session: &Session, output: Output, args: &DeployArgs) -> Result<u8, Failure> {
    let scope = session.scope(&args.scope)?;
    hand_over::no_deployment(session)?;
    let host = session.policy()?;
    let actor = session.actor()?;
    for line in render::actor::metadata(&actor, palisade_host::clock::now()) {
        output.talk(line);
    }
    let [program, arguments @ ..] = args.command.as_slice() else {
        return Err(Failure::usage("no command was given").hint("add it after --"));
    };
    let shown = program.to_string_lossy().into_owned();
    let mut on_wait = |holder: &palisade_host::lease::Holder| {
        output.talk(format_args!("waiting for the lease of {scope}: {}", holder));
    };
    let reference = host.reference();
    let start = Deployment::start(reference, &session.state, &scope, actor, &shown, args.wait, &mut on_wait)?;
    let deployment = match start {
        Start::Begun(deployment) => deployment,
        Start::Refused { findings, receipt } => return refused(output, &scope, &findings, &receipt),
    };
    let term = deployment.term().number;
    output.talk(format_args!("deploying {scope} under term {term}: {}", Shown(&shown)));
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("PALISADE_APP", scope.app.as_str())
        .env("PALISADE_ENVIRONMENT", scope.environment.as_str());
    let status = match run(command).await {
        Ok(status) => status,
        Err(error) => {
            deployment.end_without_start()?;
            return Err(Failure::new(Exit::Failure, format!("cannot run {}: {error}", Shown(&shown)))
                .hint("give the command's path, or check that it may be executed"));
        }
    };
    let code = status.code();
    deployment.end(code)?;
    output.document(&json!({ "result": "done", "scope": scope, "term": term, "exit": code }))?;
    Ok(exit_number(status))
}

/// Tells why the command was not run.
fn refused(output: Output, scope: &Scope, findings: &[Finding], receipt: &Receipt) -> Result<u8, Failure> {
    let exit = Exit::Refused.number();
    let recorded = receipt.sequence();
    output.document(&json!({
        "result": "refused", "exit": exit, "scope": scope, "findings": findings, "recorded": recorded,
    }))?;
    output.data(format_args!("{} deployment of {scope}", styled(BAD, "refused:")))?;
    for finding in findings {
        output.data(format_args!("  {} {}", finding.code, finding.message))?;
        output.data(format_args!("          fix: {}", finding.fix))?;
    }
    output.data("  touched:  nothing; the command was not run")?;
    if let Some(sequence) = recorded {
        output.data(format_args!("  recorded: journal record {sequence}"))?;
    }
    if let Some(finding) = findings.first() {
        output.data(format_args!("  more:     palisade explain {}", finding.code))?;
    }
    Ok(exit)
}

/// Runs the command and hands on the signals that ask us to end, so that the lease is held until it has.
async fn run(mut command: Command) -> std::io::Result<ExitStatus> {
    let mut terminate = signal(SignalKind::terminate())?;
    // The terminal sends it to the command too; we only must not die of it before the command has ended.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut child = command.spawn()?;
    loop {
        tokio::select! {
            status = child.wait() => return status,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {
                let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
                if let Some(pid) = pid {
                    // It may have ended in this instant; then the next turn of the loop sees it.
                    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap_or_default();
                }
            }
        }
    }
}

/// As shells do: the command's own status, or 128 and the signal that ended it.
fn exit_number(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    number.and_then(|number| u8::try_from(number).ok()).unwrap_or(1)
}
