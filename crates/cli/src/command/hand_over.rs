//! Requests that a guard of another user carries out: it has the journal, the leases and the way to the daemon.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use palisade_core::outcome::{Outcome, TargetOutcome};
use palisade_core::text::Shown;
use palisade_core::verification::Verification;
use palisade_core::{Actor, Code, Exit, Operation, Plan, Refusal};
use palisade_host::order::{self, Order, Reply};
use palisade_pm2::guarded::{Guarded, Isolation};
use palisade_pm2::locate::Location;
use serde::Deserialize;
use serde_json::Value;

use super::operate::selection;
use crate::args::{OperateArgs, Pm2Home};
use crate::failure::Failure;
use crate::output::{BAD, GOOD, Output, styled};
use crate::render;
use crate::session::Session;

/// Where the guard of that daemon takes requests, if it runs as another user than this one.
pub(super) fn control(session: &Session, daemon: &Pm2Home) -> Option<PathBuf> {
    let location = Location::find(daemon.pm2_home.as_deref(), &session.environment).ok()?;
    let guarded = Guarded::read(&location.home)?;
    let control = guarded.control.filter(|_| guarded.isolation == Isolation::SeparateUid)?;
    (control.metadata().ok()?.uid() != session.uid()).then_some(control)
}

/// Hands the request over and shows what became of it.
pub(super) fn hand_over(
    session: &Session,
    output: Output,
    operation: Operation,
    args: &OperateArgs,
    update_env: bool,
    control: &Path,
) -> Result<Exit, Failure> {
    if update_env {
        return Err(Failure::usage(
            "the guard runs as another user and carries no variables of this one's shell",
        )
        .hint("use `pm2 restart NAME --update-env`, which the guard judges as well"));
    }
    let actor = session.actor()?;
    let order = Order {
        format: order::FORMAT,
        operation,
        scope: session.scope(&args.scope)?,
        selection: selection(args)?,
        tolerates_absence: args.ignore_not_found,
        confirmed: args.confirm.clone(),
        dry_run: args.dry_run,
        wait_ms: u64::try_from(args.wait.as_millis()).unwrap_or(u64::MAX),
        claimed: actor.claimed,
    };
    output.talk(format_args!("handed over to the guard at {}", Shown(&control.to_string_lossy())));
    let reply = order::place(control, &order).map_err(|error| {
        Failure::new(Exit::VerificationFailed, error.to_string())
            .caused_by(&error)
            .code(Code::OutcomeUnknown)
            .hint("the guard may have begun: look with `pm2 list`, and the guard's user runs `palisade pm2 reconcile`")
    })?;
    match reply {
        Reply::Report(document) => show(output, &document),
        Reply::Failed { exit, code, message, fix } => {
            let failure = Failure::new(exit_of(u64::from(exit)), message).hint(fix);
            Err(match code {
                Some(code) => failure.code(code),
                None => failure,
            })
        }
        Reply::Refused(text) => Err(Failure::new(Exit::Refused, text)),
    }
}

fn exit_of(number: u64) -> Exit {
    let known = Exit::ALL.into_iter().find(|exit| u64::from(exit.number()) == number);
    known.unwrap_or(Exit::Failure)
}

/// What was carried out, as the report says it.
#[derive(Deserialize)]
struct CarriedOut {
    result: Outcome,
    plan: Plan,
    targets: Vec<TargetOutcome>,
    verification: Option<Verification>,
    snapshot: String,
    outcome: Option<u64>,
    took_ms: u64,
}

fn show(output: Output, document: &Value) -> Result<Exit, Failure> {
    output.document(document)?;
    let lines = lines(document).map_err(|error| {
        Failure::new(Exit::VerificationFailed, format!("the guard's report is not understood: {error}")).hint(
            "palisade and palisade-firewall should be of one version; `--json` shows the report as it is",
        )
    })?;
    output.data(lines.join("\n"))?;
    Ok(document.get("exit").and_then(Value::as_u64).map_or(Exit::Failure, exit_of))
}

fn lines(document: &Value) -> Result<Vec<String>, serde_json::Error> {
    let plan = || Plan::deserialize(document.get("plan").unwrap_or(&Value::Null));
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
    Ok(match text("result") {
        "planned" => {
            let mut lines = render::plan::plan(&plan()?);
            lines.push("dry run: nothing was touched".to_owned());
            lines
        }
        "nothing-to-do" => {
            let plan = plan()?;
            vec![format!(
                "{} nothing of {} is there to {}",
                styled(GOOD, "done:"),
                plan.scope,
                plan.operation
            )]
        }
        "refused" => {
            let actor = Actor::deserialize(document.get("actor").unwrap_or(&Value::Null))?;
            let refusal = Refusal::deserialize(document)?;
            render::plan::refusal(&refusal, &render::actor::brief(&actor), text("recorded"))
        }
        _ => carried_out(&CarriedOut::deserialize(document)?),
    })
}

fn carried_out(done: &CarriedOut) -> Vec<String> {
    let colour = if done.result == Outcome::Done { GOOD } else { BAD };
    let word = match done.result {
        Outcome::Done => "done:",
        Outcome::Partial => "partial:",
        Outcome::Failed => "failed:",
        Outcome::Unknown => "unknown:",
    };
    let (plan, count) = (&done.plan, done.plan.targets.len());
    let mut lines = vec![format!(
        "{} {} of {} by its guard: {count} targets in {} ms",
        styled(colour, word),
        plan.operation,
        plan.scope,
        done.took_ms
    )];
    lines.extend(done.targets.iter().map(|target| render::outcome::target_line(plan.operation, target)));
    lines.extend(render::outcome::verification(done.verification.as_ref(), plan.spared.len()));
    lines.push(format!("  snapshot: {} (the guard's)", Shown(&done.snapshot)));
    lines.push(match done.outcome {
        Some(sequence) => format!("  recorded: journal record {sequence}"),
        None => format!("  recorded: {}", styled(BAD, "the outcome is NOT in the journal")),
    });
    lines
}
