//! The pipeline itself.

use std::time::Duration;

use palisade_core::ablation::{self, Check};
use palisade_core::bypass::{Bypass, Opened};
use palisade_core::outcome::{Outcome, TargetOutcome, TargetResult};
use palisade_core::policy::{Mode, PolicyRef};
use palisade_core::process::DaemonIdentity;
use palisade_core::record::{Event, Intent, OutcomeRecord};
use palisade_core::snapshot::SnapshotId;
use palisade_core::verdict::Authority;
use palisade_core::verification::Verification;
use palisade_core::{
    Armed, Decision, Exit, Operation, Permit, Plan, Policy, Progress, Receipt, Refusal, Request, Snapshot,
    Term, Timestamp, Verdict,
};
use palisade_host::bypass::Folders;
use palisade_host::state::StateDirectory;
use palisade_host::{Environment, clock, process};

use crate::deployment::Leased;
use crate::error::{Error, is_unwritable};
use crate::fault::{self, Step};
use crate::memory::Memory;
use crate::refusals::{self, Recorded};
use crate::resource::Resource;
use crate::writer::Writer;
use crate::{epochs, snapshots, system_log};

/// How many snapshots are kept.
const KEPT_SNAPSHOTS: usize = 200;

/// How long before the snapshot somebody else's act may have begun that is still under way. An act ends within seconds,
/// or its process is gone.
const UNDER_WAY: Duration = Duration::from_secs(600);

/// Under which circumstances an operation runs.
pub struct Context<'a> {
    /// The policy in force, as narrowed by a project.
    pub policy: &'a Policy,
    /// The host's policy behind it: what records name, and what may not go back.
    pub host_policy: &'a PolicyRef,
    /// Where journal, snapshots and leases are.
    pub state: &'a StateDirectory,
    /// How long to wait for the scope's lease.
    pub wait: Duration,
    /// Judge, and touch nothing: no lease, no record, no snapshot on disk.
    pub dry_run: bool,
    /// A plan that was shown before: only exactly this is carried out.
    pub expected: Option<&'a Plan>,
    /// Told of each step as it happens.
    pub progress: &'a mut dyn FnMut(Progress),
}

/// How an operation ended.
#[derive(Debug)]
pub enum Report {
    /// A dry run: the plan would be carried out.
    Planned(Plan),
    /// Nothing of what was asked for is there, and the request tolerates that.
    NothingToDo(Plan),
    /// Refused. Nothing was touched.
    Refused {
        /// The plan and the grounds.
        refusal: Refusal,
        /// Where the refusal is recorded; `None` in a dry run.
        recorded: Option<Recorded>,
    },
    /// The state is no longer the one that the expected plan shows. Nothing was touched.
    Stale {
        /// The plan as it would be now.
        fresh: Plan,
        /// What differs.
        differences: Vec<String>,
    },
    /// Carried out, wholly or in part.
    CarriedOut(Box<CarriedOut>),
}

/// What was carried out, and what followed.
#[derive(Debug)]
pub struct CarriedOut {
    /// The plan.
    pub plan: Plan,
    /// The state before, as kept on disk.
    pub before: Snapshot,
    /// The record of the intent.
    pub intent: Receipt,
    /// The record of the outcome; `None` if the journal could not take it any more.
    pub recorded: Option<Receipt>,
    /// The sum.
    pub outcome: Outcome,
    /// Each target.
    pub targets: Vec<TargetOutcome>,
    /// The comparison with the plan; `None` if the resource could not be looked at any more.
    pub verification: Option<Verification>,
    /// Milliseconds from the durable intent to the verification's end.
    pub took_ms: u64,
}

impl Report {
    /// The command's exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Planned(_) | Self::NothingToDo(_) => Exit::Done,
            Self::Refused { refusal, .. } => refusal.exit(),
            Self::Stale { .. } => Exit::PlanStale,
            Self::CarriedOut(done) => done.exit(),
        }
    }
}

impl CarriedOut {
    fn exit(&self) -> Exit {
        let verified = self.verification.as_ref().is_some_and(Verification::is_clean);
        let changed = |target: &TargetOutcome| matches!(target.result, TargetResult::Changed(_));
        match self.outcome {
            Outcome::Done if verified && self.recorded.is_none() && self.intent.sequence().is_some() => {
                Exit::Journal
            }
            Outcome::Done if verified => Exit::Done,
            Outcome::Failed if self.targets.iter().all(changed) => Exit::PlanStale,
            Outcome::Failed => Exit::Failure,
            Outcome::Done | Outcome::Partial | Outcome::Unknown => Exit::VerificationFailed,
        }
    }
}

/// Takes `request` through the whole pipeline.
///
/// # Errors
/// The resource, the lease, the journal or the state folder failed before the act. Nothing was touched.
pub async fn run<R: Resource>(
    resource: &mut R,
    mut request: Request,
    mut context: Context<'_>,
) -> Result<Report, Error> {
    let daemon = resource.identify().await?;
    (context.progress)(Progress::Identified(daemon.clone()));
    fault::reached(Step::Identified);

    let leased = Leased::for_run(&mut context, &mut request)?;
    fault::reached(Step::Leased);

    let taken_at = clock::now();
    let bypass = opening(&daemon);
    let remembering = async { remembered(&context, taken_at, bypass.is_some()) };
    // The resource is asked first, and the journal is read while it answers.
    let snapshot = resource.snapshot(SnapshotId::new(taken_at, request.id.as_str()), taken_at);
    let (before, memory) = tokio::join!(biased; snapshot, remembering);
    let (before, memory) = (before?, memory?);
    let seen = Progress::Snapshot { id: before.id.clone(), processes: before.processes.len() };
    (context.progress)(seen);
    fault::reached(Step::Snapshot);

    let plan = Plan::draw(&request, &before, context.policy);
    let differences = context.expected.map(|expected| expected.staleness(&plan)).unwrap_or_default();
    if !differences.is_empty() {
        return Ok(Report::Stale { fresh: plan, differences });
    }

    let ledger = memory.ledger(taken_at, context.policy.limits.window);
    let verdict = match &bypass {
        Some(bypass) => context.policy.judge_bypassed(&bypass.id, &request, plan, &ledger, taken_at),
        None => context.policy.judge(Mode::Enforce, &request, plan, &ledger, taken_at),
    };
    let stale = epochs::grounds(context.state, &request.actor, Some(daemon.process));
    let Verdict { findings, decision } = verdict.with(stale);
    let permit = match decision {
        Decision::Permit(permit) => permit,
        Decision::Refuse(refusal) if request.tolerates_absence && refusal.is_only_absence() => {
            return Ok(Report::NothingToDo(refusal.plan));
        }
        Decision::Refuse(refusal) => {
            let recorded =
                (!context.dry_run).then(|| refusals::record(&context, &request, &refusal, &memory));
            return Ok(Report::Refused { refusal, recorded });
        }
    };
    if let (Some(bypass), false) = (&bypass, findings.is_empty()) {
        (context.progress)(Progress::Bypassed { bypass: bypass.id.clone(), findings });
    }
    fault::reached(Step::Judged);
    let Some(leased) = leased else { return Ok(Report::Planned(permit.plan().clone())) };

    (context.progress)(Progress::Permitted(Box::new(permit.plan().clone())));
    carry_out(resource, &request, context, before, permit, &leased, &memory).await
}

/// The bypass that is in force for the guard of this daemon, as this user may see it.
fn opening(daemon: &DaemonIdentity) -> Option<Bypass> {
    let uid = rustix::process::geteuid().as_raw();
    Folders::of(&Environment::of_this_process(), uid).opening(&Opened::pm2_home(&daemon.home))
}

/// What the journal remembers, under a policy that did not go back. A bypass does without: it is for the night on
/// which the journal or the policy is what is broken.
fn remembered(context: &Context<'_>, now: Timestamp, bypassed: bool) -> Result<Memory, Error> {
    let read = Memory::read(&context.state.journal(), now, context.policy.limits.window)
        .map_err(Error::from)
        .and_then(|memory| check_revision(context.host_policy, &memory).map(|()| memory));
    match read {
        Err(_) if bypassed => Ok(Memory::default()),
        read => read,
    }
}

/// From the permit to the recorded outcome: keep the values, record the intent, act, verify, record.
async fn carry_out<R: Resource>(
    resource: &mut R,
    request: &Request,
    mut context: Context<'_>,
    mut before: Snapshot,
    permit: Permit,
    leased: &Leased,
    memory: &Memory,
) -> Result<Report, Error> {
    let term = &leased.term;
    let values = resource.values(&before);
    snapshots::keep(&context.state.snapshots(), &mut before, values)?;
    fault::reached(Step::Kept);

    leased.confirm()?;
    let intent = intent(&permit, &before, term);
    let (mut writer, receipt) = record_intent(request, &mut context, memory, intent)?;
    fault::reached(Step::Intended);

    let watch = clock::Stopwatch::start();
    let armed = permit.arm(receipt.clone(), term.clone());
    let targets = resource.execute(&armed).await;
    fault::reached(Step::Executed);

    let verification = verify(resource, &armed, request, &context, &targets, &before).await;
    fault::reached(Step::Verified);

    let took_ms = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
    let outcome = Outcome::of(&targets);
    let record =
        OutcomeRecord { outcome, targets: targets.clone(), verification: verification.clone(), took_ms };
    let recorded = writer.as_mut().and_then(|writer| writer.append(Event::Outcome(record)).ok());
    fault::reached(Step::Recorded);
    // A snapshot that could not be pruned costs space, never the operation.
    snapshots::prune(&context.state.snapshots(), KEPT_SNAPSHOTS).unwrap_or_default();

    Ok(Report::CarriedOut(Box::new(CarriedOut {
        plan: armed.plan().clone(),
        before,
        intent: receipt,
        recorded,
        outcome,
        targets,
        verification,
        took_ms,
    })))
}

/// A policy older than the last one recorded is a cached checkout at work.
pub(crate) fn check_revision(host_policy: &PolicyRef, memory: &Memory) -> Result<(), Error> {
    match memory.policy() {
        Some(recorded)
            if host_policy.revision < recorded.revision && !ablation::is_off(Check::RevisionRatchet) =>
        {
            Err(Error::PolicyRolledBack { recorded: recorded.clone(), found: host_policy.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

fn intent(permit: &Permit, before: &Snapshot, term: &Term) -> Intent {
    let plan = permit.plan();
    Intent {
        operation: plan.operation,
        scope: plan.scope.clone(),
        daemon: plan.daemon.clone(),
        term: term.clone(),
        executor: process::this().ok(),
        authority: permit.authority().clone(),
        snapshot: before.id.clone(),
        bundle: before.bundle.clone(),
        plan: plan.digest(),
        targets: plan.targets.clone(),
        spared: plan.spared.iter().map(|target| target.pin.name.clone()).collect(),
    }
}

/// Makes the intent durable. A restart or reload of one's own takes nothing down, so it passes with a record in
/// the system log when the journal cannot be written, and so does what a bypass permits; everything else is not
/// carried out then.
fn record_intent(
    request: &Request,
    context: &mut Context<'_>,
    memory: &Memory,
    intent: Intent,
) -> Result<(Option<Writer>, Receipt), Error> {
    if ablation::is_off(Check::DurableIntent) {
        return Ok((None, Receipt::for_system_log()));
    }
    let host_policy = context.host_policy.clone();
    let opened = Writer::open(context.state, request.id.clone(), request.actor.clone(), host_policy);
    let written = opened.and_then(|mut writer| {
        writer.note_policy(memory.policy())?;
        let receipt = writer.append(Event::Intent(intent.clone()))?;
        Ok((Some(writer), receipt))
    });
    match written {
        Err(Error::Journal(error)) if may_pass_unrecorded(&error, request.operation, &intent.authority) => {
            let line = format!(
                "degraded record: {} of {} by uid {}: {error}",
                request.operation, request.scope, request.actor.observed.uid
            );
            let logged = system_log::write(&line).is_ok();
            (context.progress)(Progress::Degraded { line, logged });
            Ok((None, Receipt::for_system_log()))
        }
        written => written,
    }
}

const fn may_pass_unrecorded(
    error: &palisade_journal::Error,
    operation: Operation,
    authority: &Authority,
) -> bool {
    matches!(authority, Authority::Bypassed(_))
        || is_unwritable(error) && matches!(operation, Operation::Restart | Operation::Reload)
}

/// Looks at the resource again. That it cannot be looked at is an answer too, hence no error.
async fn verify<R: Resource>(
    resource: &mut R,
    armed: &Armed,
    request: &Request,
    context: &Context<'_>,
    targets: &[TargetOutcome],
    before: &Snapshot,
) -> Option<Verification> {
    let since = before.taken_at;
    // Asked first, as for the snapshot: the journal is read while it answers.
    let after = resource.after(armed.plan(), clock::now());
    let others = async {
        tokio::task::yield_now().await;
        Memory::read(&context.state.journal(), since, UNDER_WAY)
            .map(|memory| memory.touched_by_others(&request.id, since))
            .unwrap_or_default()
    };
    let (after, others) = tokio::join!(biased; after, others);
    Some(Verification::of(armed.plan(), targets, before, &after.ok()?, &others))
}
