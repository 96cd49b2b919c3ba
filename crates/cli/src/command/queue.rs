//! `palisade queue`: rules of queues.

use std::collections::BTreeMap;
use std::time::Duration;

use palisade_core::record::{JobsChanged, Phase};
use palisade_core::text::nearest;
use palisade_core::{Code, Exit, QueueName};
use palisade_jobs::queue::{OnSilence, OnStuck, Request};
use palisade_jobs::store::Count;
use palisade_jobs::{JobStore as _, Queue, State};
use palisade_store::Store;
use serde_json::json;

use crate::args::job::StoreArgs;
use crate::args::queue::{self, NamedArgs, QueueCommand, RuleArgs, SetArgs};
use crate::command::job::show::who;
use crate::command::store::{self, Ledger};
use crate::failure::Failure;
use crate::output::{GOOD, Output, styled};
use crate::render::table;
use crate::session::Session;

pub(crate) async fn queue(
    session: &Session,
    output: Output,
    command: &QueueCommand,
) -> Result<Exit, Failure> {
    match command {
        QueueCommand::List(args) => list(session, output, args).await,
        QueueCommand::Pause(args) => pause(session, output, args, true).await,
        QueueCommand::Resume(args) => pause(session, output, args, false).await,
        QueueCommand::Schedule(command) => super::schedule::schedule(session, output, command).await,
        QueueCommand::Set(args) => set(session, output, args).await,
        QueueCommand::History(args) => history(session, output, args).await,
    }
}

async fn list(session: &Session, output: Output, args: &StoreArgs) -> Result<Exit, Failure> {
    let store = store::open(session, output, args).await?;
    let (queues, counts) = (store.queues().await?, store.counts().await?);
    let documents: Vec<_> = queues.iter().map(|queue| document(queue, &counts)).collect();
    output.document(&json!({ "store": store.place(), "queues": documents }))?;
    let rows: Vec<_> = queues.iter().map(|queue| row(queue, &counts)).collect();
    let header = [
        "queue",
        "",
        "ready",
        "running",
        "later",
        "held",
        "dead",
        "at most",
        "beat",
        "reap after",
        "silence",
        "kept",
        "revision",
    ];
    for line in table::columns(&header, &rows) {
        output.data(line)?;
    }
    Ok(Exit::Done)
}

/// The rules of a queue, and how many of its jobs stand where.
fn document(queue: &Queue, counts: &[Count]) -> serde_json::Value {
    let of = counts.iter().filter(|count| count.queue == queue.name);
    let jobs: BTreeMap<&str, u64> = of.map(|count| (count.state.as_str(), count.jobs)).collect();
    let mut document = json!(queue);
    document["jobs"] = json!(jobs);
    document
}

fn row(queue: &Queue, counts: &[Count]) -> Vec<String> {
    let jobs = |states: &[State]| {
        let of = |count: &&Count| count.queue == queue.name && states.contains(&count.state);
        counts.iter().filter(of).map(|count| count.jobs).sum::<u64>().to_string()
    };
    vec![
        queue.name.to_string(),
        if queue.paused { "paused".to_owned() } else { String::new() },
        jobs(&[State::Ready]),
        jobs(&[State::Running]),
        jobs(&[State::Scheduled, State::Retrying, State::Handover]),
        jobs(&[State::Held]),
        jobs(&[State::Dead]),
        queue.concurrency.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string()),
        span(queue.terms.beat_every_ms),
        span(queue.terms.reap_after_ms),
        on_silence(queue.on_silence).to_owned(),
        span(queue.retention_ms),
        queue.revision.to_string(),
    ]
}

fn span(ms: u64) -> String {
    humantime::format_duration(Duration::from_millis(ms)).to_string()
}

const fn on_silence(rule: OnSilence) -> &'static str {
    match rule {
        OnSilence::Requeue => "requeue",
        OnSilence::Hold => "hold",
        OnSilence::Cancel => "cancel",
    }
}

/// Each change with what differs from the one before.
async fn history(session: &Session, output: Output, args: &NamedArgs) -> Result<Exit, Failure> {
    let store = store::open(session, output, &args.store).await?;
    let changes = store.queue_changes(&args.queue).await?;
    output.document(&json!({ "store": store.place(), "queue": args.queue, "changes": changes }))?;
    let mut before = Queue::new(args.queue.clone());
    for change in &changes {
        let mut said = differences(&before, &change.queue);
        if before.paused != change.queue.paused {
            said.push(if change.queue.paused { "paused" } else { "resumed" }.to_owned());
        }
        let by = change.by.as_ref().map(|by| format!(", by {}", who(by))).unwrap_or_default();
        output.data(format!("{} revision {}: {}{by}", change.at, change.queue.revision, said.join(", ")))?;
        before = change.queue.clone();
    }
    if changes.is_empty() {
        let unknown = unknown(&store.queues().await?, &args.queue);
        output.talk(unknown.unwrap_or_else(|| "nobody has set rules of this queue".to_owned()));
    }
    Ok(Exit::Done)
}

/// A threshold that somebody asks for: longer than the rule it counts, shorter it is ignored, and below three beats it
/// is refused.
pub(crate) async fn check_request(
    store: &Store,
    output: Output,
    queue: &QueueName,
    asked: Option<Duration>,
) -> Result<(), Failure> {
    let Some(asked) = asked else { return Ok(()) };
    say_request(output, &current(&store.queues().await?, queue), asked)
}

/// As [`check_request`], of a reaper, which serves every queue of the store.
pub(crate) async fn check_floor(
    store: &Store,
    output: Output,
    asked: Option<Duration>,
) -> Result<(), Failure> {
    let Some(asked) = asked else { return Ok(()) };
    store.queues().await?.iter().try_for_each(|rules| say_request(output, rules, asked))
}

fn say_request(output: Output, rules: &Queue, asked: Duration) -> Result<(), Failure> {
    match rules.request(asked) {
        Ok(Request::Longer) => {}
        Ok(Request::Ignored) => output.talk(format!(
            "a threshold of {} was asked for; the rule of queue {} is {}, and a client may only lengthen it",
            humantime::format_duration(asked),
            rules.name,
            span(rules.terms.reap_after_ms)
        )),
        Err(unsound) => {
            let hint = "unset PALISADE_REAP_AFTER, or ask for three beats at least";
            let said = format!("queue {}: {unsound}", rules.name);
            return Err(Failure::usage(said).code(Code::ThresholdShort).hint(hint));
        }
    }
    Ok(())
}

/// The queue as it is, or as it would be: rules can be set before the first job comes.
fn current(queues: &[Queue], name: &QueueName) -> Queue {
    let found = queues.iter().find(|queue| queue.name == *name);
    found.cloned().unwrap_or_else(|| Queue::new(name.clone()))
}

/// What to say of a queue that nobody put a job into: its name may be mistyped, and it may come to be.
fn unknown(queues: &[Queue], name: &QueueName) -> Option<String> {
    let known = || queues.iter().map(|queue| queue.name.as_str());
    if known().any(|known| known == name.as_str()) {
        return None;
    }
    let meant = nearest(name.as_str(), known());
    let meant = meant.map(|meant| format!(": did you mean {meant}?")).unwrap_or_default();
    Some(format!("look: queue {name} never had a job or a rule{meant}"))
}

/// Says so where somebody is about to serve or to look at a queue that has neither jobs nor rules nor a schedule. It may get them later.
pub(crate) async fn say_unknown(store: &Store, output: Output, queue: &QueueName) -> Result<(), Failure> {
    let Some(unknown) = unknown(&store.queues().await?, queue) else { return Ok(()) };
    if !store.schedules().await?.iter().any(|schedule| schedule.queue == *queue) {
        output.talk(unknown);
    }
    Ok(())
}

async fn pause(session: &Session, output: Output, args: &NamedArgs, paused: bool) -> Result<Exit, Failure> {
    let store = store::open(session, output, &args.store).await?;
    let queues = store.queues().await?;
    if let Some(unknown) = unknown(&queues, &args.queue) {
        output.talk(unknown);
    }
    let before = current(&queues, &args.queue);
    let word = if paused { "paused" } else { "resumed" };
    if before.paused == paused {
        output.document(&json!({ "result": "already", "queue": before }))?;
        output.data(format_args!("queue {} is {word} already", args.queue))?;
        return Ok(Exit::Done);
    }
    let after = Queue { paused, ..before };
    write(session, output, &store, &args.store, &after, vec![word.to_owned()]).await
}

async fn set(session: &Session, output: Output, args: &SetArgs) -> Result<Exit, Failure> {
    let rules = args.rules()?;
    let store = store::open(session, output, &args.named.store).await?;
    let queues = store.queues().await?;
    // Rules are set before the first job comes, so that only a name that is like another one may be mistyped.
    let alike = nearest(args.named.queue.as_str(), queues.iter().map(|queue| queue.name.as_str()));
    if let Some(unknown) = alike.and(unknown(&queues, &args.named.queue)) {
        output.talk(unknown);
    }
    let before = current(&queues, &args.named.queue);
    let after = changed(&before, &rules);
    let details = differences(&before, &after);
    if details.is_empty() {
        return Err(Failure::usage(format!("nothing of queue {} would change", args.named.queue))
            .hint("see `palisade queue set --help` for what can be set"));
    }
    after.check().map_err(palisade_jobs::Error::from)?;
    if args.dry_run {
        output.document(&json!({ "result": "planned", "queue": after, "changes": details }))?;
        for line in &details {
            output.data(format_args!("would set {line}"))?;
        }
        return Ok(Exit::Done);
    }
    write(session, output, &store, &args.named.store, &after, details).await
}

fn changed(before: &Queue, args: &RuleArgs) -> Queue {
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let mut queue = before.clone();
    let put = |place: &mut u64, span: Option<Duration>| *place = span.map_or(*place, ms);
    put(&mut queue.terms.reap_after_ms, args.reap_after);
    put(&mut queue.terms.beat_every_ms, args.beat_every);
    put(&mut queue.handover_delay_ms, args.handover_delay);
    put(&mut queue.backoff.first_ms, args.backoff);
    put(&mut queue.backoff.most_ms, args.backoff_most);
    put(&mut queue.retention_ms, args.retention);
    queue.terms.self_fence_ms = match (args.self_fence, args.reap_after) {
        (Some(span), _) => ms(span),
        // As in the rules that nobody set: 35 of 60 minutes.
        (None, Some(_)) => queue.terms.reap_after_ms / 60 * 35,
        (None, None) => queue.terms.self_fence_ms,
    };
    if let Some(limit) = args.concurrency {
        queue.concurrency = Some(limit).filter(|limit| *limit > 0);
    }
    if let Some(deadline) = args.progress_deadline {
        queue.progress_deadline_ms = Some(ms(deadline)).filter(|deadline| *deadline > 0);
    }
    if let Some(rule) = args.on_silence {
        queue.on_silence = match rule {
            queue::OnSilence::Requeue => OnSilence::Requeue,
            queue::OnSilence::Hold => OnSilence::Hold,
            queue::OnSilence::Cancel => OnSilence::Cancel,
        };
    }
    if let Some(rule) = args.on_stuck {
        queue.on_stuck = match rule {
            queue::OnStuck::Alert => OnStuck::Alert,
            queue::OnStuck::Hold => OnStuck::Hold,
            queue::OnStuck::Requeue => OnStuck::Requeue,
        };
    }
    queue
}

const fn on_stuck(rule: OnStuck) -> &'static str {
    match rule {
        OnStuck::Alert => "alert",
        OnStuck::Hold => "hold",
        OnStuck::Requeue => "requeue",
    }
}

fn differences(before: &Queue, after: &Queue) -> Vec<String> {
    let limit = |limit: Option<u32>| limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
    let deadline = |deadline: Option<u64>| deadline.map_or_else(|| "none".to_owned(), span);
    let both = |of: fn(&Queue) -> u64| (span(of(before)), span(of(after)));
    let pairs = [
        ("reap-after", both(|queue| queue.terms.reap_after_ms)),
        ("beat-every", both(|queue| queue.terms.beat_every_ms)),
        ("self-fence", both(|queue| queue.terms.self_fence_ms)),
        ("handover-delay", both(|queue| queue.handover_delay_ms)),
        ("backoff", both(|queue| queue.backoff.first_ms)),
        ("backoff-most", both(|queue| queue.backoff.most_ms)),
        ("retention", both(|queue| queue.retention_ms)),
        ("concurrency", (limit(before.concurrency), limit(after.concurrency))),
        ("progress-deadline", (deadline(before.progress_deadline_ms), deadline(after.progress_deadline_ms))),
        ("on-silence", (on_silence(before.on_silence).to_owned(), on_silence(after.on_silence).to_owned())),
        ("on-stuck", (on_stuck(before.on_stuck).to_owned(), on_stuck(after.on_stuck).to_owned())),
    ];
    let changed = pairs.iter().filter(|(_, (before, after))| before != after);
    changed.map(|(name, (before, after))| format!("{name} {before} -> {after}")).collect()
}

async fn write(
    session: &Session,
    output: Output,
    store: &Store,
    args: &StoreArgs,
    queue: &Queue,
    details: Vec<String>,
) -> Result<Exit, Failure> {
    let (actor, by) = store::note(session, args)?;
    let entry = JobsChanged {
        deed: "set".to_owned(),
        phase: Phase::Begun,
        store: store.place(),
        queue: Some(queue.name.clone()),
        jobs: 0,
        first: Vec::new(),
        details: details.clone(),
    };
    let only_pauses = queue.paused && details.iter().all(|said| said == "paused");
    let ledger = if only_pauses {
        Ledger::begin_anyway(session, output, actor, entry)?
    } else {
        Ledger::begin(session, actor, entry)?
    };
    let revision = match store.set_queue(queue, &by).await {
        Ok(revision) => revision,
        Err(error) => {
            ledger.end(Phase::Failed, vec![error.to_string()]);
            return Err(error.into());
        }
    };
    let recorded = ledger.end(Phase::Done, details.clone());
    let queue = Queue { revision, ..queue.clone() };
    output.document(&json!({ "result": "set", "queue": queue, "changes": details, "recorded": recorded }))?;
    output.data(format_args!("{} queue {} is at revision {revision}", styled(GOOD, "done:"), queue.name))?;
    for line in &details {
        output.data(format_args!("  {line}"))?;
    }
    output.data(format_args!("  recorded: {recorded}"))?;
    Ok(Exit::Done)
}
