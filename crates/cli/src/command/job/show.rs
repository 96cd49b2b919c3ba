//! Jobs and their history as text.

use palisade_core::Timestamp;
use palisade_core::text::{Shown, escaped};
use palisade_jobs::{Event, EventKind, Job, Note};

use crate::output::{BAD, GOOD, STRONG, styled};
use crate::render::table;

/// An answer as words.
pub(super) trait Answered {
    fn words(self) -> String;
}

pub(super) fn answer(answer: impl Answered) -> String {
    answer.words()
}

fn age(moment: Timestamp, now: Timestamp) -> String {
    humantime::format_duration(std::time::Duration::from_secs(now.since(moment).as_secs())).to_string()
}

/// The jobs of a list.
pub(super) fn table(jobs: &[Job], now: Timestamp) -> Vec<String> {
    let row = |job: &Job| {
        vec![
            job.id.to_string(),
            job.queue.to_string(),
            state(job),
            format!("{}/{}", job.attempts, job.max_attempts),
            age(job.enqueued_at, now),
            job.progress.map(|progress| progress.to_string()).unwrap_or_default(),
            job.trouble.clone().or_else(|| job.reason.clone()).unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = jobs.iter().map(row).collect();
    table::columns(&["job", "queue", "state", "tries", "age", "progress", "because"], &rows)
}

fn state(job: &Job) -> String {
    if job.cancel_requested { format!("{}, to be cancelled", job.state) } else { job.state.to_string() }
}

/// One job on a line.
pub(super) fn line(job: &Job) -> String {
    let payload: String = job.payload.to_string().chars().take(60).collect();
    format!("{} {} {}", job.id, state(job), escaped(&payload))
}

/// How a job ended.
pub(super) fn ended(job: &Job) -> String {
    let reason = job.reason.as_ref().map(|reason| format!(": {}", Shown(reason))).unwrap_or_default();
    let style = if job.state == palisade_jobs::State::Succeeded { GOOD } else { BAD };
    format!("job {} {}{reason}", job.id, styled(style, job.state))
}

/// Everything about one job.
pub(super) fn job(job: &Job, now: Timestamp) -> Vec<String> {
    let mut facts = vec![
        ("job", styled(STRONG, job.id)),
        ("queue", job.queue.to_string()),
        ("state", state(job)),
        ("attempts", format!("{} of {}", job.attempts, job.max_attempts)),
        ("priority", job.priority.to_string()),
        ("enqueued", format!("{} ({} ago) by {}", job.enqueued_at, age(job.enqueued_at, now), who(&job.by))),
        ("not before", job.run_at.to_string()),
    ];
    let optional = [
        ("worker", job.worker.clone()),
        ("token", job.token.map(|token| token.to_string())),
        ("progress", job.progress.map(|progress| progress.to_string())),
        (
            "checkpoint",
            job.checkpoint
                .as_ref()
                .map(|last| format!("{}: {} bytes, {}", last.sequence, last.bytes, last.key)),
        ),
        ("trouble", job.trouble.clone()),
        ("because", job.reason.clone()),
    ];
    facts.extend(optional.into_iter().filter_map(|(name, value)| Some((name, Shown(&value?).to_string()))));
    facts.push(("payload", escaped(&job.payload.to_string()).into_owned()));
    facts.iter().map(|(name, value)| format!("{name:<11} {value}")).collect()
}

/// `app/environment version on host (machine ID), pid N`.
pub(crate) fn who(note: &Note) -> String {
    let app = note.app.as_ref().map_or("no app", |app| app.as_str());
    let environment = note.environment.as_ref().map_or("no environment", |name| name.as_str());
    let version = note.version.as_deref().unwrap_or("no version");
    format!(
        "{app}/{environment} {} on {} (machine {}), pid {}",
        Shown(version),
        Shown(&note.host),
        Shown(&note.machine_id),
        note.pid
    )
}

/// One event on a line.
pub(super) fn event(event: &Event) -> String {
    let token = event.token.map(|token| format!(" [token {token}]")).unwrap_or_default();
    let by = event.by.as_ref().map(|by| format!(" by {}", who(by))).unwrap_or_default();
    let reason = |reason: &Option<String>| {
        reason.as_ref().map(|reason| format!(": {}", Shown(reason))).unwrap_or_default()
    };
    let what = match &event.kind {
        EventKind::Enqueued => "enqueued".to_owned(),
        EventKind::Claimed { attempt, worker, .. } => {
            format!("attempt {attempt} claimed by worker {}", Shown(worker))
        }
        EventKind::Checkpoint { sequence } => format!("checkpoint {sequence}"),
        EventKind::Completed => "completed".to_owned(),
        EventKind::Failed { error } => format!("failed: {}", Shown(error)),
        EventKind::Drained => "drained: given back unfinished, the attempt does not count".to_owned(),
        EventKind::CancelRequested { reason: why } => format!("cancel asked for{}", reason(why)),
        EventKind::Cancelled { reason: why } => format!("cancelled{}", reason(why)),
        EventKind::Held { reason } => format!("held: {}", Shown(reason)),
        EventKind::Released => "released".to_owned(),
        EventKind::Resumed => "resumed".to_owned(),
        EventKind::Retried => "retried".to_owned(),
        // The reason says who, and ends in the machine id.
        EventKind::Reaped { evidence, reason } => {
            let token = event.token.map(|token| format!("token {token}, ")).unwrap_or_default();
            let reason = if reason.contains("reaped") { reason.clone() } else { format!("reaped: {reason}") };
            return format!("{} [{token}last beat {}] {}", event.at, evidence.last_beat, Shown(&reason));
        }
        EventKind::Refused { what } => format!("{} REFUSED: the claim is spent", Shown(what)),
    };
    format!("{} {what}{token}{by}", event.at)
}
