//! Requests that a guard of another user carries out: it has the journal, the leases and the way to the daemon.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_core::outcome::{Outcome, TargetOutcome};
use palisade_core::text::Shown;
use palisade_core::verification::Verification;
use palisade_core::{Actor, Code, Exit, Operation, Plan, Refusal, Scope, Selection};
use palisade_host::order::{self, Order, Reply};
use palisade_pm2::guarded::{Guarded, Isolation};
use palisade_pm2::locate::Location;
use serde::Deserialize;
use serde_json::Value;

use super::operate::selection;
use crate::args::Pm2Home;
use crate::args::pm2::{ApplyArgs, OperateArgs, PlanArgs, RestoreArgs};
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

/// Barred where a deployment's lease would belong to another user's guard, and not to who deploys.
pub(super) fn no_deployment(session: &Session) -> Result<(), Failure> {
    let owner = session.state.root().metadata().ok().map(|found| found.uid());
    let has_own = session.policy_path.exists() && owner.is_none_or(|uid| uid == session.uid());
    if has_own || control(session, &Pm2Home { pm2_home: None }).is_none() {
        return Ok(());
    }
    let why = "the leases of this host belong to its guard, which runs as another user, so no deployment of this one can \
               hold one";
    Err(Failure::new(Exit::Refused, why)
        .code(Code::NoDeployer)
        .hint(
            "call your script without it: each `palisade pm2 restart|reload|stop|delete` in it takes the lease, and an \
             unmodified `pm2` is judged by the guard",
        )
        .hint("for one lease around a whole script, run `palisade deploy` as the guard's user, with `sudo -u`"))
}

/// What every order has in common.
fn order(
    session: &Session,
    operation: Operation,
    scope: Scope,
    selection: Selection,
) -> Result<Order, Failure> {
    Ok(Order {
        format: order::FORMAT,
        operation,
        scope,
        selection,
        tolerates_absence: false,
        confirmed: None,
        dry_run: false,
        wait_ms: 0,
        claimed: session.actor()?.claimed,
        expected: None,
        snapshot: None,
    })
}

/// Hands an operation over and shows what became of it.
pub(super) fn operate(
    session: &Session,
    output: Output,
    operation: Operation,
    args: &OperateArgs,
    update_env: bool,
    control: &Path,
) -> Result<Exit, Failure> {
    let order = operation_of(session, operation, args, update_env)?;
    show(output, &place(output, &order, control)?)
}

fn operation_of(
    session: &Session,
    operation: Operation,
    args: &OperateArgs,
    update_env: bool,
) -> Result<Order, Failure> {
    barred_variables(update_env)?;
    Ok(Order {
        tolerates_absence: args.ignore_not_found,
        confirmed: args.severe.confirm.clone(),
        dry_run: args.of.dry_run,
        wait_ms: milliseconds(args.severe.wait),
        ..order(session, operation, session.scope(&args.of.scope)?, selection(args)?)?
    })
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// An environment has no place in a guard, neither in its memory nor in its files.
fn barred_variables(carries: bool) -> Result<(), Failure> {
    if !carries {
        return Ok(());
    }
    Err(Failure::usage("the guard runs as another user and carries no variables of this one's shell")
        .hint("use `pm2 restart NAME --update-env`, which the guard judges as well"))
}

/// Has a plan drawn, shows it, and writes it where that was asked for.
pub(super) fn plan(
    session: &Session,
    output: Output,
    args: &PlanArgs,
    control: &Path,
) -> Result<Exit, Failure> {
    let PlanArgs { operation, carrying, out } = args;
    let order = operation_of(session, (*operation).into(), &carrying.operate, carrying.update_env)?;
    let document = place(output, &Order { dry_run: true, ..order }, control)?;
    if let (Some("planned"), Some(path)) = (document["result"].as_str(), out) {
        let plan = Plan::deserialize(&document["plan"]).map_err(not_understood)?;
        super::operate::write_plan(output, &plan, path)?;
    }
    show(output, &document)
}

/// Has a plan carried out exactly as it was shown.
pub(super) fn apply(
    session: &Session,
    output: Output,
    args: &ApplyArgs,
    expected: Plan,
    control: &Path,
) -> Result<Exit, Failure> {
    barred_variables(expected.carries_variables)?;
    let of_plan = order(session, expected.operation, expected.scope.clone(), expected.selection.clone())?;
    let order = Order {
        confirmed: args.severe.confirm.clone(),
        wait_ms: milliseconds(args.severe.wait),
        expected: Some(Box::new(expected)),
        ..of_plan
    };
    show(output, &place(output, &order, control)?)
}

/// Has brought back what is gone; the guard takes it from root only.
pub(super) fn restore(
    session: &Session,
    output: Output,
    args: &RestoreArgs,
    control: &Path,
) -> Result<Exit, Failure> {
    let selection = if args.names.is_empty() { Selection::All } else { Selection::Names(args.names.clone()) };
    let order = Order {
        dry_run: args.dry_run,
        snapshot: args.snapshot.as_deref().map(super::restore::snapshot_id).transpose()?,
        ..order(session, Operation::Restore, Scope::of_restores(), selection)?
    };
    show(output, &place(output, &order, control)?)
}

/// Hands an order over, tells its steps, and gives the report.
fn place(output: Output, order: &Order, control: &Path) -> Result<Value, Failure> {
    output.talk(format_args!("handed over to the guard at {}", Shown(&control.to_string_lossy())));
    let tell = |step| super::operate::tell(output, &step);
    let reply = order::place(control, order, tell).map_err(|error| {
        Failure::new(Exit::VerificationFailed, error.to_string())
            .caused_by(&error)
            .code(Code::OutcomeUnknown)
            .hint("the guard may have begun: look with `pm2 list`, and the guard's user runs `palisade pm2 reconcile`")
    })?;
    match reply {
        Reply::Report(document) => Ok(document),
        Reply::Failed { exit, code, message, fix } => {
            let failure = Failure::new(exit_of(u64::from(exit)), message).hint(fix);
            Err(match code {
                Some(code) => failure.code(code),
                None => failure,
            })
        }
        // What an older guard says of an order that it does not know; it cannot say more.
        Reply::Refused(text) if text.contains("of one version") => {
            Err(Failure::new(Exit::Refused, text).hint(
                "the guard runs an earlier program, or a later one: `kill -HUP` to palisade-firewall has it run the one that is \
                 installed now, and no app notices",
            ))
        }
        Reply::Refused(text) => Err(Failure::new(Exit::Refused, text)),
        // Steps were told on the way.
        Reply::Progress(_) => {
            Err(Failure::new(Exit::VerificationFailed, "the guard did not say how it ended"))
        }
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
    output.data(lines(document).map_err(not_understood)?.join("\n"))?;
    Ok(document.get("exit").and_then(Value::as_u64).map_or(Exit::Failure, exit_of))
}

fn not_understood(error: serde_json::Error) -> Failure {
    Failure::new(Exit::VerificationFailed, format!("the guard's report is not understood: {error}"))
        .hint("palisade and palisade-firewall should be of one version; `--json` shows the report as it is")
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
        "stale" => {
            let differences = document.get("differences").unwrap_or(&Value::Null);
            super::operate::stale(&Vec::<String>::deserialize(differences)?)
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
        "{} {} by its guard: {count} targets in {} ms",
        styled(colour, word),
        render::plan::task(plan.operation, &plan.scope),
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
