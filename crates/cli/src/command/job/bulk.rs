//! Deeds by hand, on one job or many: plan, count, sample, spared, confirmation, record, act, record.

use std::collections::BTreeMap;

use palisade_core::policy::Limits;
use palisade_core::record::{JobsChanged, Phase};
use palisade_core::{Code, Exit};
use palisade_host::clock;
use palisade_host::turn::Turn;
use palisade_jobs::bulk::{Budget, Selected};
use palisade_jobs::rules::Step;
use palisade_jobs::store::{Deed, Filter, Intervened};
use palisade_jobs::{Job, JobId, JobStore as _, Note, State};
use palisade_pipeline::memory::Memory;
use palisade_store::Store;
use serde_json::{Value, json};

use super::show;
use crate::args::job::BulkArgs;
use crate::command::store::{self, Ledger};
use crate::failure::Failure;
use crate::output::{GOOD, Output, STRONG, styled};
use crate::session::Session;

/// So many are shown of what would change.
const SAMPLE: usize = 5;

/// Jobs of one transaction.
const AT_ONCE: usize = 500;

/// What would be done.
struct Plan {
    targets: Vec<Job>,
    /// Selected, and nothing to do for them: how many, by state.
    spared: BTreeMap<State, usize>,
    missing: Vec<JobId>,
}

pub(crate) async fn bulk(
    session: &Session,
    output: Output,
    deed: Deed,
    args: &BulkArgs,
) -> Result<Exit, Failure> {
    if args.jobs.is_empty() && args.queue.is_none() {
        return Err(Failure::usage("no job is named; an empty selection never means all")
            .code(Code::EmptySelection)
            .hint("name jobs by their numbers, or --queue QUEUE and --state STATE"));
    }
    let store = store::open(session, output, &args.store).await?;
    let plan = plan(&store, &deed, args).await?;
    // Until this deed stands in the journal nobody else reads there what was done before: two at once would both fit.
    let turn = (!args.dry_run).then(|| Turn::take(session.state.root())).transpose()?;
    let budget = budget(session, &deed)?;
    tell(output, &deed, args, &plan, budget);
    let selected = Selected {
        named: !args.jobs.is_empty(),
        queue: args.queue.as_ref(),
        count: plan.targets.len(),
        most: usize::try_from(args.most).unwrap_or(usize::MAX),
        confirmed: args.confirm.as_deref(),
        budget,
        total: args.total,
    };
    if args.dry_run {
        output.document(&document("planned", &deed, &plan, &BTreeMap::new(), None))?;
        output.data("dry run: nothing was changed")?;
        return Ok(Exit::Done);
    }
    if selected.named && plan.targets.is_empty() {
        return Err(unfit(&deed, &plan));
    }
    selected.judge()?;
    let (ledger, by) = begin(session, &store, (&deed, args), &plan)?;
    drop(turn);
    carry_out(output, &store, (&ledger, &by), &deed, &plan).await
}

async fn plan(store: &Store, deed: &Deed, args: &BulkArgs) -> Result<Plan, Failure> {
    let mut plan = Plan { targets: Vec::new(), spared: BTreeMap::new(), missing: Vec::new() };
    let mut found = Vec::new();
    for id in &args.jobs {
        match store.job(*id).await? {
            Some(job) => found.push(job),
            None => plan.missing.push(*id),
        }
    }
    if args.jobs.is_empty() {
        // One more than may change, so that "too many" is told from "just enough".
        let mut filter = Filter {
            queue: args.queue.clone(),
            states: if args.states.is_empty() { fit(deed) } else { args.states.clone() },
            after: None,
            most: 1_000,
        };
        loop {
            let page = store.jobs(&filter).await?;
            filter.after = page.last().map(|job| job.id);
            let is_last = page.len() < 1_000;
            found.extend(page);
            if is_last || found.len() > usize::try_from(args.most).unwrap_or(usize::MAX) {
                break;
            }
        }
    }
    for job in found {
        match deed.step(job.state, job.cancel_requested) {
            Step::Leave(_) => *plan.spared.entry(job.state).or_default() += 1,
            Step::Go(_) | Step::Ask(_) => plan.targets.push(job),
        }
    }
    Ok(plan)
}

/// What the caller's deeds may come to, and have come to, by the journal; `None` where this deed undoes another.
fn budget(session: &Session, deed: &Deed) -> Result<Option<Budget>, Failure> {
    if !deed_entry(deed, String::new()).is_charged() {
        return Ok(None);
    }
    let limits = session.policy_unless_absent()?.map(|policy| policy.limits).unwrap_or_default();
    let (now, tree) = (clock::now(), session.actor()?.tree);
    let memory = Memory::read(&session.state.journal(), now, limits.window)
        .map_err(|error| Failure::from(palisade_pipeline::Error::from(error)).hint("nothing was changed"))?;
    let ledger = memory.ledger(now, limits.window);
    Ok(Some(Budget {
        before: ledger.jobs_changed_by(&tree, now.before(limits.window)),
        most: limits.job_budget.unwrap_or(Limits::JOBS).into(),
        is_set: limits.job_budget.is_some(),
        window: limits.window,
    }))
}

/// States from which the deed leads somewhere.
fn fit(deed: &Deed) -> Vec<State> {
    State::ALL.into_iter().filter(|state| !matches!(deed.step(*state, false), Step::Leave(_))).collect()
}

fn word(deed: &Deed) -> &'static str {
    match deed {
        Deed::Cancel { .. } => "cancel",
        Deed::Hold { .. } => "hold",
        Deed::Release => "release",
        Deed::Resume => "resume",
        Deed::Retry => "retry",
    }
}

fn unfit(deed: &Deed, plan: &Plan) -> Failure {
    if let Some(id) = plan.missing.first().filter(|_| plan.spared.is_empty()) {
        return Failure::new(Exit::Failure, format!("there is no job {id}; nothing was changed"))
            .code(Code::JobMissing)
            .hint("look with `palisade job list`");
    }
    let states: Vec<&str> = plan.spared.keys().map(|state| state.as_str()).collect();
    let fits: Vec<&str> = fit(deed).iter().map(|state| state.as_str()).collect();
    let message = format!(
        "nothing to {}: what was named is {}, and {0} takes what is {}",
        word(deed),
        states.join(" or "),
        fits.join(", ")
    );
    let mut failure = Failure::new(Exit::Refused, message).code(Code::JobUnfit);
    for state in plan.spared.keys() {
        failure = failure.hint(instead(*state));
    }
    failure
}

/// What may be done by hand with jobs of a state.
const fn instead(state: State) -> &'static str {
    match state {
        State::Dead => "what is dead: `palisade job retry` lets it run again",
        State::Cancelled => "what is cancelled: `palisade job resume` lets it go on from its last checkpoint",
        State::Held => "what is held: `palisade job release` gives it back, `palisade job cancel` ends it",
        State::Running => "what runs: `palisade job cancel` asks it to end",
        State::Scheduled | State::Ready | State::Retrying | State::Handover => {
            "what waits: `palisade job hold` keeps it back, `palisade job cancel` ends it"
        }
        State::Succeeded => "what succeeded is over: enqueue a job anew",
    }
}

fn tell(output: Output, deed: &Deed, args: &BulkArgs, plan: &Plan, budget: Option<Budget>) {
    let of = args.queue.as_ref().map(|queue| format!(" of queue {queue}")).unwrap_or_default();
    let count = plan.targets.len();
    let jobs = if count == 1 { "job" } else { "jobs" };
    output.talk(format_args!("plan: {} {} {jobs}{of}", word(deed), styled(STRONG, count)));
    for job in plan.targets.iter().take(SAMPLE) {
        output.talk(format_args!("  {}", show::line(job)));
    }
    if plan.targets.len() > SAMPLE {
        output.talk(format_args!("  and {} more", plan.targets.len() - SAMPLE));
    }
    for (state, count) in &plan.spared {
        output.talk(format_args!("  spared: {count} {state}"));
    }
    for id in &plan.missing {
        output.talk(format_args!("  missing: {id}"));
    }
    if let Some(Budget { before, most, window, .. }) = budget.filter(|budget| budget.before > 0) {
        let window = humantime::format_duration(window);
        output.talk(format_args!(
            "  budget:  {before} of {most} jobs were changed by this caller within {window}"
        ));
    }
}

/// What the journal says of it before its jobs are known.
fn deed_entry(deed: &Deed, store: String) -> JobsChanged {
    JobsChanged {
        deed: word(deed).to_owned(),
        phase: Phase::Begun,
        store,
        queue: None,
        jobs: 0,
        first: Vec::new(),
        details: deed.reason().map(str::to_owned).into_iter().collect(),
    }
}

/// Writes down what is about to be done, and by whom.
fn begin<'a>(
    session: &'a Session,
    store: &Store,
    (deed, args): (&Deed, &BulkArgs),
    plan: &Plan,
) -> Result<(Ledger<'a>, Note), Failure> {
    let (actor, by) = store::note(session, &args.store)?;
    let entry = JobsChanged {
        queue: args.queue.clone(),
        jobs: u64::try_from(plan.targets.len()).unwrap_or(u64::MAX),
        first: plan.targets.iter().take(20).map(|job| job.id.0).collect(),
        ..deed_entry(deed, store.place())
    };
    Ok((Ledger::begin(session, actor, entry)?, by))
}

async fn carry_out(
    output: Output,
    store: &Store,
    (ledger, by): (&Ledger<'_>, &Note),
    deed: &Deed,
    plan: &Plan,
) -> Result<Exit, Failure> {
    let ids: Vec<JobId> = plan.targets.iter().map(|job| job.id).collect();
    let mut answers: BTreeMap<String, Vec<JobId>> = BTreeMap::new();
    for slice in ids.chunks(AT_ONCE) {
        let done = match store.intervene(ledger.intended(), deed, slice, by).await {
            Ok(done) => done,
            Err(error) => {
                ledger.end(Phase::Failed, vec![summary(&answers), error.to_string()]);
                return Err(Failure::from(error).hint(format!("before that: {}", summary(&answers))));
            }
        };
        for (id, answer) in slice.iter().zip(done) {
            answers.entry(show::answer(answer)).or_default().push(*id);
        }
    }
    let recorded = ledger.end(Phase::Done, vec![summary(&answers)]);
    output.document(&document("done", deed, plan, &answers, Some(&recorded)))?;
    output.data(format_args!("{} {}: {}", styled(GOOD, "done:"), word(deed), summary(&answers)))?;
    output.data(format_args!("  recorded: {recorded}"))?;
    if let Some(undo) = undo(deed) {
        output.data(format_args!("  undo:     palisade job {undo} {}", named(&ids)))?;
    }
    let refused = answers.keys().any(|answer| !answer.starts_with("now ") && !answer.starts_with("already "));
    Ok(if refused { Exit::Refused } else { Exit::Done })
}

/// Jobs as a command line names them: a few by their numbers.
fn named(ids: &[JobId]) -> String {
    match ids {
        few if few.len() <= SAMPLE => few.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        _ => "JOB ...".to_owned(),
    }
}

fn undo(deed: &Deed) -> Option<&'static str> {
    match deed {
        Deed::Cancel { .. } => Some("resume"),
        Deed::Hold { .. } => Some("release"),
        Deed::Release | Deed::Retry => Some("hold"),
        Deed::Resume => Some("cancel"),
    }
}

fn summary(answers: &BTreeMap<String, Vec<JobId>>) -> String {
    if answers.is_empty() {
        return "nothing".to_owned();
    }
    answers.iter().map(|(answer, ids)| format!("{} {answer}", ids.len())).collect::<Vec<_>>().join(", ")
}

fn document(
    result: &str,
    deed: &Deed,
    plan: &Plan,
    answers: &BTreeMap<String, Vec<JobId>>,
    recorded: Option<&str>,
) -> Value {
    let sample: Vec<_> = plan.targets.iter().take(SAMPLE).collect();
    let ids: Vec<_> = plan.targets.iter().map(|job| job.id).collect();
    let spared: BTreeMap<&str, usize> =
        plan.spared.iter().map(|(state, count)| (state.as_str(), *count)).collect();
    json!({
        "result": result,
        "deed": word(deed),
        "count": ids.len(),
        "targets": ids,
        "sample": sample,
        "spared": spared,
        "missing": plan.missing,
        "answers": answers,
        "recorded": recorded,
    })
}

/// What one answer means, for the table of answers.
impl super::show::Answered for Intervened {
    fn words(self) -> String {
        match self {
            Self::Done(State::Running) => "now running on, and its handler is told".to_owned(),
            Self::Done(state) => format!("now {state}"),
            Self::Already(state) => format!("already {state}"),
            Self::Unfit(state) => format!("{state} by now, and left alone"),
            Self::KeyTaken(id) => format!("kept back by job {id}, which bears its unique key"),
            Self::Missing => "not there any more".to_owned(),
        }
    }
}
