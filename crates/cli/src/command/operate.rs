//! `palisade pm2 delete|stop|restart|reload|plan|apply`: a request, the pipeline, its report.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use palisade_config::HostPolicy;
use palisade_core::process::ENVIRONMENT_NAMING_VARIABLES;
use palisade_core::{Actor, Exit, Finding, Operation, Plan, Progress, Request, Selection, canonical, plan};
use palisade_host::{clock, files, random};
use palisade_pipeline::document::place;
use palisade_pipeline::{Context, Report, run};
use palisade_pm2::Pm2;

use super::hand_over;
use crate::args::pm2::{ApplyArgs, OperateArgs, PlanArgs};
use crate::failure::Failure;
use crate::output::{GOOD, Output, styled};
use crate::render;
use crate::session::Session;

/// The largest plan file that is read.
const MAX_PLAN_BYTES: u64 = 16 << 20;

/// The conditions of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conditions<'a> {
    pub(crate) wait: Duration,
    pub(crate) dry_run: bool,
    pub(crate) expected: Option<&'a Plan>,
}

pub(crate) async fn operate(
    session: &Session,
    output: Output,
    operation: Operation,
    args: &OperateArgs,
    update_env: bool,
) -> Result<Exit, Failure> {
    if let Some(control) = hand_over::control(session, &args.of.daemon) {
        return hand_over::operate(session, output, operation, args, update_env, &control);
    }
    let mut pm2 = carrying(session, super::list::daemon(session, &args.of.daemon)?, update_env);
    // Policy and caller are looked at while the daemon introduces itself: first of all, it has to be asked.
    let looked_at = async {
        tokio::task::yield_now().await;
        Ok::<_, Failure>((session.policy()?, request(session, operation, args, update_env)?))
    };
    let ((), looked_at) = tokio::join!(biased; pm2.reach_ahead(), looked_at);
    let (host, request) = looked_at?;
    let conditions = Conditions { wait: args.severe.wait, dry_run: args.of.dry_run, expected: None };
    finish(session, output, &host, &mut pm2, request, conditions).await
}

pub(crate) async fn plan(session: &Session, output: Output, args: &PlanArgs) -> Result<Exit, Failure> {
    if let Some(control) = hand_over::control(session, &args.carrying.operate.of.daemon) {
        return hand_over::plan(session, output, args, &control);
    }
    let host = session.policy()?;
    let operate = &args.carrying.operate;
    let request = request(session, args.operation.into(), operate, args.carrying.update_env)?;
    let actor = request.actor.clone();
    let mut pm2 = super::list::daemon(session, &operate.of.daemon)?;
    let conditions = Conditions { wait: Duration::ZERO, dry_run: true, expected: None };
    let report = drive(session, output, &host, &mut pm2, request, conditions).await?;
    if let (Report::Planned(plan), Some(path)) = (&report, &args.out) {
        write_plan(output, plan, path)?;
    }
    show(output, &actor, &report)
}

pub(super) fn write_plan(output: Output, plan: &Plan, path: &Path) -> Result<(), Failure> {
    files::write_atomic(path, canonical::json(plan).as_bytes(), 0o600)?;
    output.talk(format_args!("wrote {}; carry it out with: palisade pm2 apply {0}", path.display()));
    Ok(())
}

pub(crate) async fn apply(session: &Session, output: Output, args: &ApplyArgs) -> Result<Exit, Failure> {
    let expected = read_plan(&args.plan)?;
    if let Some(control) = hand_over::control(session, &args.daemon) {
        return hand_over::apply(session, output, args, expected, &control);
    }
    let host = session.policy()?;
    let request = Request {
        id: random::operation_id()?,
        operation: expected.operation,
        scope: expected.scope.clone(),
        selection: expected.selection.clone(),
        carries: expected.carries_variables.then(|| naming_variables(session)),
        source: None,
        tolerates_absence: false,
        confirmed: args.severe.confirm.clone(),
        actor: session.actor()?,
    };
    let daemon = super::list::daemon(session, &args.daemon)?;
    let mut pm2 = carrying(session, daemon, expected.carries_variables);
    let conditions = Conditions { wait: args.severe.wait, dry_run: false, expected: Some(&expected) };
    finish(session, output, &host, &mut pm2, request, conditions).await
}

fn read_plan(path: &Path) -> Result<Plan, Failure> {
    // Opened for its error alone, which then says what to do.
    std::fs::File::open(path).map_err(|error| Failure::unreadable(path, &error))?;
    let bytes = files::read_bounded(path, MAX_PLAN_BYTES)?;
    let unusable = |why: String| {
        Failure::usage(format!("{} is not a plan of this version: {why}", path.display()))
            .hint("write one with `palisade pm2 plan OPERATION --out FILE`")
    };
    let read: Plan = serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
    if read.format != plan::FORMAT {
        return Err(unusable(format!("its format is {}, not {}", read.format, plan::FORMAT)));
    }
    Ok(read)
}

fn request(
    session: &Session,
    operation: Operation,
    args: &OperateArgs,
    update_env: bool,
) -> Result<Request, Failure> {
    Ok(Request {
        id: random::operation_id()?,
        operation,
        scope: session.scope(&args.of.scope)?,
        selection: selection(args)?,
        carries: update_env.then(|| naming_variables(session)),
        source: None,
        tolerates_absence: args.ignore_not_found,
        confirmed: args.severe.confirm.clone(),
        actor: session.actor()?,
    })
}

/// Names, or everything of the scope. `all` is the one word that means the whole daemon.
pub(super) fn selection(args: &OperateArgs) -> Result<Selection, Failure> {
    let names: Vec<String> = args.names.iter().chain(&args.more_names).cloned().collect();
    if names.iter().any(String::is_empty) {
        return Err(Failure::usage("a process name is empty; an empty selection never means all")
            .hint("is a variable of the calling script unset? Quote the names that you mean"));
    }
    match names.as_slice() {
        [] => Ok(Selection::Scope),
        [word] if word == "all" => Ok(Selection::All),
        names if names.iter().any(|name| name == "all") => {
            Err(Failure::usage("`all` stands for every process of the daemon; it cannot be mixed with names"))
        }
        _ => Ok(Selection::Names(names)),
    }
}

/// Those of the caller's variables that name an environment.
fn naming_variables(session: &Session) -> BTreeMap<String, String> {
    let named = ENVIRONMENT_NAMING_VARIABLES.iter();
    named.filter_map(|name| Some(((*name).to_owned(), session.environment.text(name)?))).collect()
}

/// Hands the caller's variables to the adapter, where they were asked for.
fn carrying(session: &Session, pm2: Pm2, update_env: bool) -> Pm2 {
    if !update_env {
        return pm2;
    }
    let text = |value: &std::ffi::OsStr| value.to_str().map(str::to_owned);
    let all = session.environment.iter();
    pm2.carry(all.filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect())
}

/// Runs the pipeline and shows its report.
pub(crate) async fn finish(
    session: &Session,
    output: Output,
    host: &HostPolicy,
    pm2: &mut Pm2,
    request: Request,
    conditions: Conditions<'_>,
) -> Result<Exit, Failure> {
    let actor = request.actor.clone();
    let report = drive(session, output, host, pm2, request, conditions).await?;
    if let Some(notice) = report.notice(&actor) {
        super::notify::tell(session, output, &host.policy().notify, notice);
    }
    show(output, &actor, &report)
}

/// Runs the pipeline, telling its steps as they happen.
async fn drive(
    session: &Session,
    output: Output,
    host: &HostPolicy,
    pm2: &mut Pm2,
    request: Request,
    conditions: Conditions<'_>,
) -> Result<Report, Failure> {
    output.talk(render::actor::metadata(&request.actor, clock::now()).join("\n"));
    let mut progress = |step: Progress| tell(output, &step);
    let context = Context {
        policy: host.policy(),
        host_policy: host.reference(),
        state: &session.state,
        wait: conditions.wait,
        dry_run: conditions.dry_run,
        expected: conditions.expected,
        progress: &mut progress,
    };
    Ok(run(pm2, request, context).await?)
}

/// Tells one step.
pub(super) fn tell(output: Output, step: &Progress) {
    match step {
        Progress::Identified(daemon) => {
            output.talk(format_args!(
                "daemon PM2 {} pid {} at {}",
                daemon.version, daemon.process.pid, daemon.home
            ));
        }
        Progress::Waiting { holder } => output.talk(format_args!("waiting for the lease: {holder}")),
        Progress::Snapshot { id, processes } => {
            output.talk(format_args!("snapshot {}: {processes} processes", id.as_str()));
        }
        Progress::Bypassed { bypass, findings } => {
            for Finding { code, message, .. } in findings {
                output.talk(format_args!("passed by bypass {bypass} in spite of {code}: {message}"));
            }
        }
        Progress::Permitted(plan) => {
            output.talk(render::plan::plan(plan).join("\n"));
            output.progress("carrying out, then verifying");
        }
        Progress::Degraded { line, logged } => {
            let place = if *logged { "in the system log" } else { "on this terminal only" };
            output.talk(format_args!("the journal cannot be written; {place}: {line}"));
        }
    }
}

/// The report as text on standard output, or as one document.
fn show(output: Output, actor: &Actor, report: &Report) -> Result<Exit, Failure> {
    output.document(&report.document(actor))?;
    output.data(lines(actor, report).join("\n"))?;
    Ok(report.exit())
}

fn lines(actor: &Actor, report: &Report) -> Vec<String> {
    match report {
        Report::Planned(plan) => {
            let mut lines = render::plan::plan(plan);
            lines.push("dry run: nothing was touched".to_owned());
            lines
        }
        Report::NothingToDo(plan) => {
            vec![format!(
                "{} nothing of {} is there to {}",
                styled(GOOD, "done:"),
                plan.scope,
                plan.operation
            )]
        }
        Report::Refused { refusal, recorded } => {
            render::plan::refusal(refusal, &render::actor::brief(actor), &place(recorded.as_ref()))
        }
        Report::Stale { differences, .. } => stale(differences),
        Report::CarriedOut(done) => render::outcome::carried_out(done),
    }
}

/// That the state is another one than a plan shows, and in what.
pub(super) fn stale(differences: &[String]) -> Vec<String> {
    let mut lines = vec!["stale [PAL-112]: the state is not the one that the plan shows".to_owned()];
    lines.extend(differences.iter().map(|difference| format!("  {difference}")));
    lines.push("  touched:  nothing".to_owned());
    lines.push("  fix:      make a new plan with `palisade pm2 plan`, and look at it".to_owned());
    lines
}
