//! What a worker tells, counted, as a small file in the text format of Prometheus.

use std::path::PathBuf;

use palisade_host::{clock, files};
use palisade_worker::Report;
use palisade_worker::report::How;

/// Counts since the worker started, and what is so now.
#[derive(Debug)]
pub(super) struct Metrics {
    path: PathBuf,
    queue: String,
    name: String,
    claimed: u64,
    lost: u64,
    ended: [u64; ENDS.len()],
    checkpoints: u64,
    checkpoint_troubles: u64,
    beats_missed: u64,
    beat_lag_ms: u64,
    suspected: u64,
    store_troubles: u64,
    /// A file that cannot be written is told once.
    pub(super) problem: Option<String>,
}

const ENDS: [(How, &str); 5] = [
    (How::Completed, "completed"),
    (How::Failed, "failed"),
    (How::Cancelled, "cancelled"),
    (How::Drained, "drained"),
    (How::Held, "held"),
];

impl Metrics {
    pub(super) const fn new(path: PathBuf, queue: String, name: String) -> Self {
        Self {
            path,
            queue,
            name,
            claimed: 0,
            lost: 0,
            ended: [0; ENDS.len()],
            checkpoints: 0,
            checkpoint_troubles: 0,
            beats_missed: 0,
            beat_lag_ms: 0,
            suspected: 0,
            store_troubles: 0,
            problem: None,
        }
    }

    pub(super) fn note(&mut self, report: &Report) {
        match report {
            Report::Claimed { .. } => self.claimed += 1,
            Report::Lost { .. } => self.lost += 1,
            Report::Ended { how, .. } => {
                for (count, (kind, _)) in self.ended.iter_mut().zip(ENDS) {
                    *count += u64::from(kind == *how);
                }
            }
            Report::Checkpoint { .. } => self.checkpoints += 1,
            Report::Trouble { .. } | Report::CheckpointsAway { .. } => self.checkpoint_troubles += 1,
            Report::BeatMissed { for_ms, .. } => {
                self.beats_missed += 1;
                self.beat_lag_ms = *for_ms;
            }
            Report::BeatsAgain { .. } => self.beat_lag_ms = 0,
            Report::Suspected => self.suspected += 1,
            Report::StoreTrouble { .. } => self.store_troubles += 1,
            Report::Started { .. }
            | Report::Resumed { .. }
            | Report::Recovered { .. }
            | Report::Stopping { .. }
            | Report::GaveBack { .. }
            | Report::Draining
            | Report::DispatchClosed { .. }
            | Report::DispatchOpen
            | Report::Gone => {}
        }
    }

    /// Replaces the file. What goes wrong stands in `problem`; jobs go on.
    pub(super) fn write(&mut self) {
        let written = files::write_atomic(&self.path, self.text().as_bytes(), 0o644);
        self.problem = written.err().map(|error| error.to_string());
    }

    fn text(&self) -> String {
        let labels = format!("queue=\"{}\",worker=\"{}\"", label(&self.queue), label(&self.name));
        let mut lines = Vec::new();
        for (name, kind, help, values) in self.series() {
            lines.push(format!("# HELP palisade_worker_{name} {help}"));
            lines.push(format!("# TYPE palisade_worker_{name} {kind}"));
            let line = |(more, value)| format!("palisade_worker_{name}{{{labels}{more}}} {value}");
            lines.extend(values.into_iter().map(line));
        }
        lines.push(String::new());
        lines.join("\n")
    }

    /// What is counted and what stands now.
    fn series(&self) -> Vec<Series> {
        let one = |value: u64| vec![(String::new(), value.to_string())];
        let count = |name, help, value| (name, "counter", help, one(value));
        let gauge = |name, help, values| (name, "gauge", help, values);
        let running = self.claimed.saturating_sub(self.ended.iter().sum::<u64>() + self.lost);
        let end = |(count, (_, how)): (&u64, _)| (format!(",how=\"{how}\""), count.to_string());
        let ends = self.ended.iter().zip(ENDS).map(end).collect();
        let lag = format!("{}.{:03}", self.beat_lag_ms / 1_000, self.beat_lag_ms % 1_000);
        let lag = vec![(String::new(), lag)];
        let now = one(clock::now().unix_ms() / 1_000);
        let (troubles, bad) = (self.store_troubles, self.checkpoint_troubles);
        vec![
            count("attempts_claimed_total", "Attempts that began.", self.claimed),
            ("attempts_ended_total", "counter", "Attempts whose end the store has.", ends),
            count("attempts_lost_total", "Attempts whose claim was spent.", self.lost),
            gauge("attempts_running", "Attempts under way.", one(running)),
            count("beats_missed_total", "Beats that were not acknowledged.", self.beats_missed),
            gauge("beat_lag_seconds", "For how long no beat is acknowledged; 0 when all is well.", lag),
            count("suspected_total", "How often the reaper suspected this worker.", self.suspected),
            count("store_troubles_total", "Calls that the store did not answer as it should.", troubles),
            count("checkpoints_stored_total", "Checkpoints that are stored.", self.checkpoints),
            count(
                "checkpoint_troubles_total",
                "Checkpoints that were not stored or not good, and a start at which none could be stored.",
                bad,
            ),
            gauge(
                "written_seconds",
                "When this file was written: an old one is of a worker that is gone.",
                now,
            ),
        ]
    }
}

/// A name, what it is, what it says, and its values with what is added to their labels.
type Series = (&'static str, &'static str, &'static str, Vec<(String, String)>);

/// A label's value: quotes, backslashes and line ends would break its line.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use palisade_jobs::{JobId, Token};

    use super::*;

    #[test]
    fn what_a_worker_tells_is_counted() {
        let mut metrics =
            Metrics::new(PathBuf::from("/nowhere/at/all"), "mail".to_owned(), "a\"b".to_owned());
        let (job, token) = (JobId(1), Token(2));
        let ended = |how| Report::Ended { job, token, how, said: None };
        for report in [
            Report::Claimed { job, token, attempt: 1 },
            Report::Claimed { job, token, attempt: 1 },
            Report::Claimed { job, token, attempt: 1 },
            ended(How::Completed),
            Report::Lost { job, token, problem: String::new() },
            Report::BeatMissed { missed: 2, for_ms: 12_034, problem: String::new() },
        ] {
            metrics.note(&report);
        }
        let text = metrics.text();
        for line in [
            "palisade_worker_attempts_claimed_total{queue=\"mail\",worker=\"a\\\"b\"} 3",
            "palisade_worker_attempts_ended_total{queue=\"mail\",worker=\"a\\\"b\",how=\"completed\"} 1",
            "palisade_worker_attempts_running{queue=\"mail\",worker=\"a\\\"b\"} 1",
            "palisade_worker_beat_lag_seconds{queue=\"mail\",worker=\"a\\\"b\"} 12.034",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        metrics.note(&Report::BeatsAgain { missed: 2 });
        assert!(metrics.text().contains("beat_lag_seconds{queue=\"mail\",worker=\"a\\\"b\"} 0.000"));
        metrics.write();
        assert!(metrics.problem.is_some());
    }
}
