//! A guess at the rules of a table, from its columns: a start for a person, never carried out by itself.

use serde::Serialize;

use crate::profile::Profile;
use crate::table::{Column, Table};

/// What a table looks like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// A known job library, if the columns are its own.
    pub library: Option<&'static str>,
    /// What `--profile` calls it.
    pub profile: Option<&'static str>,
    /// The column of states.
    pub status: Option<String>,
    /// States in which a job runs.
    pub running: Vec<String>,
    /// States of a job that is done.
    pub done: Vec<String>,
    /// States into which its own worker puts it.
    pub own: Vec<String>,
    /// The column of the last beat.
    pub heartbeat: Option<String>,
    /// What identifies a job.
    pub key: Vec<String>,
    /// Why a job ended.
    pub reason: Option<String>,
    /// What speaks against it.
    pub warnings: Vec<String>,
}

const STATUS: [&str; 4] = ["status", "state", "job_status", "job_state"];
const RUNNING: [&str; 7] =
    ["running", "processing", "executing", "active", "in_progress", "started", "working"];
const DONE: [&str; 6] = ["completed", "complete", "succeeded", "success", "done", "finished"];
const OWN: [&str; 7] = ["failed", "error", "errored", "queued", "pending", "retry", "retryable"];
const BEATS: [&str; 8] = [
    "heartbeat_at",
    "last_heartbeat_at",
    "last_heartbeat",
    "heartbeat",
    "beat_at",
    "last_seen_at",
    "last_seen",
    "locked_at",
];
const REASONS: [&str; 6] =
    ["error", "error_message", "reason", "failure_reason", "last_error", "cancel_reason"];

/// Looks at a table.
#[must_use]
pub fn inspect(table: &Table) -> Proposal {
    let key = table.columns.iter().filter(|column| column.key).map(|column| column.name.clone()).collect();
    let mut proposal = match Profile::of(table) {
        Some(profile) => of_library(profile, table),
        None => of_columns(table),
    };
    proposal.key = key;
    if proposal.reason.is_none() && proposal.profile.is_none() {
        proposal.reason = first(table, &REASONS).map(|column| column.name.clone());
    }
    warn(table, &mut proposal);
    proposal
}

fn of_library(profile: &Profile, table: &Table) -> Proposal {
    let owned = |list: &[&str]| list.iter().map(|&state| state.to_owned()).collect();
    Proposal {
        library: Some(profile.library),
        profile: Some(profile.name),
        status: Some(profile.status.to_owned()),
        running: owned(profile.running),
        done: owned(profile.done),
        own: owned(profile.own),
        heartbeat: Some(profile.beat(table).to_owned()),
        reason: profile.reason.map(str::to_owned),
        warnings: vec![format!("{}: {}", profile.library, profile.note)],
        ..Proposal::default()
    }
}

fn of_columns(table: &Table) -> Proposal {
    let status = first(table, &STATUS);
    // An enum says which states there are; of a text column only the usual words are known.
    let states = |known: &[&str]| -> Vec<String> {
        let labels = status.map(|column| column.labels.as_slice()).unwrap_or_default();
        let known = |label: &&String| known.iter().any(|word| label.eq_ignore_ascii_case(word));
        labels.iter().filter(known).cloned().collect()
    };
    let beat = first(table, &BEATS).filter(|column| column.kind.starts_with("timestamp"));
    Proposal {
        status: status.map(|column| column.name.clone()),
        running: states(&RUNNING),
        done: states(&DONE),
        own: states(&OWN),
        heartbeat: beat.map(|column| column.name.clone()),
        ..Proposal::default()
    }
}

fn first<'a>(table: &'a Table, names: &[&str]) -> Option<&'a Column> {
    names.iter().find_map(|name| table.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)))
}

fn warn(table: &Table, proposal: &mut Proposal) {
    let mut warn = |warning: &str| proposal.warnings.push(warning.to_owned());
    if proposal.status.is_none() {
        warn("no column of states was recognised: name it with --status");
    } else if proposal.running.is_empty() {
        warn("the states are free text: name those in which a job runs with --running");
    }
    if proposal.heartbeat.is_none() {
        warn("no column of beats was recognised: name it with --heartbeat");
    }
    if proposal.key.is_empty() {
        warn("no primary key: name what identifies a job with --key");
    }
    if proposal.status.as_ref().is_some_and(|status| table.partition_keys.contains(status)) {
        warn("the table is partitioned by its states, which cannot be guarded");
    }
    if table.subscribed {
        warn(
            "rows come by logical replication: the guard does not fire for those, nor for a session that turns triggers off",
        );
    }
}
