//! One pass of a reaper: what was condemned in one sweep is recorded, given back, and recorded again.

use std::collections::HashMap;

use palisade_core::Intended;
use palisade_core::record::{Act, Phase};
use palisade_core::text::Shown;
use palisade_dbguard::Error;
use palisade_dbguard::reap::{self, Fence, Look, Reaped, Running, Wanted};
use palisade_host::clock;
use palisade_jobs::reaper::{Condemned, Reaper, Reason};
use palisade_postgres::Session;
use serde_json::json;
use tokio::time::timeout;

use super::{Bench, PATIENCE, Term};
use crate::output::{BAD, GOOD, styled};

/// So many jobs are given back in one transaction.
const BATCH: usize = 500;
/// A record names so many jobs, and how many there were.
const NAMED: usize = 20;

/// A condemned job, and what will be written beside it.
struct Doomed<'a> {
    seen: &'a Running,
    reason: Reason,
}

impl Bench<'_> {
    /// Gives back what a sweep condemned, in one pass with one intent and one outcome.
    pub(super) async fn reap(
        &self,
        session: &Session,
        term: &Term,
        look: &Look,
        condemned: &[Condemned<String, String>],
    ) {
        if condemned.is_empty() {
            return;
        }
        let number = term.lease.term.number();
        let seen: HashMap<_, _> =
            look.running.iter().map(|running| (running.key.as_str(), running)).collect();
        let doomed = |condemned: &Condemned<String, String>| {
            let reaper = Reaper { by: self.by.clone(), term: number, policy: look.policy };
            let seen = *seen.get(condemned.key.as_str())?;
            Some(Doomed { seen, reason: Reason { ground: condemned.ground, reaper } })
        };
        let doomed: Vec<_> = condemned.iter().filter_map(doomed).collect();
        let Some(to) = self.args.requeue_to.as_deref().filter(|_| !self.dry) else {
            for job in &doomed {
                self.tell(job, "would be reaped", &job.reason.to_string());
            }
            return;
        };
        let place = format!("{} of {}", self.table.shown(), self.target);
        let reasons = doomed.iter().map(|job| job.reason.to_string());
        let begun = match self.host.begin(Act::Reap, &place, details(number, &doomed, reasons)) {
            Ok(begun) => begun,
            Err(failure) => {
                self.say("journal", &format!("{}; without its record nothing is reaped", failure.message));
                return;
            }
        };
        let mut results = Vec::new();
        for batch in doomed.chunks(BATCH) {
            results.extend(self.give_back(session, term, to, batch, begun.intended()).await);
        }
        let reaped = results.iter().filter(|(result, _)| *result == "reaped").count();
        for (job, (result, said)) in doomed.iter().zip(&results) {
            self.tell(job, result, said);
        }
        let phase = if reaped == doomed.len() { Phase::Done } else { Phase::Failed };
        let said = results.iter().map(|(result, said)| format!("{result}: {said}"));
        begun.end(phase, details(number, &doomed, said));
    }

    /// What became of each. Where the guard refuses some, the others still go: each half is tried for itself.
    async fn give_back(
        &self,
        session: &Session,
        term: &Term,
        to: &str,
        batch: &[Doomed<'_>],
        intended: &Intended,
    ) -> Vec<(&'static str, String)> {
        let mut results = Vec::new();
        let mut left = vec![batch];
        while let Some(part) = left.pop() {
            let at_s = clock::now().unix_ms() / 1000;
            let fence = Fence {
                lease: term.lease.name.as_str(),
                term: term.lease.term.number(),
                holder: term.lease.holder.as_str(),
                identity: self.key.as_ref().map(|key| (key, at_s)),
                intended,
            };
            let wanted: Vec<_> =
                part.iter().map(|job| Wanted { seen: job.seen, reason: job.reason.to_string() }).collect();
            let reaped = reap::reap(session, &self.guard, &self.table, &self.columns, fence, to, &wanted);
            match timeout(PATIENCE, reaped).await {
                Ok(Ok(reaped)) => {
                    results.extend(part.iter().zip(reaped).map(|(job, reaped)| said(job, reaped)))
                }
                Ok(Err(error)) if part.len() > 1 && is_of_a_row(&error) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    left.extend([second, first]);
                }
                Ok(Err(error)) => results.extend(part.iter().map(|_| ("not reaped", error.to_string()))),
                Err(_) => {
                    let said = "no answer in time; the next look shows it";
                    results.extend(part.iter().map(|_| ("unknown", said.to_owned())));
                }
            }
        }
        results
    }

    fn tell(&self, job: &Doomed<'_>, result: &str, line: &str) {
        let document = json!({
            "result": result, "table": self.table.shown(), "job": job.seen.key, "reason": job.reason, "line": line,
        });
        let style = if result == "reaped" { GOOD } else { BAD };
        let told = self.output.document(&document).and_then(|()| {
            self.output.data(format!(
                "{} job {}: {}",
                styled(style, result),
                Shown(&job.seen.key),
                Shown(line)
            ))
        });
        // Nobody reads it any more: a reaper goes on all the same, for the database has the reason.
        drop(told);
    }
}

/// What a record says of a pass: its term, how many jobs, and what is said of the first ones.
fn details(term: u64, doomed: &[Doomed<'_>], said: impl Iterator<Item = String>) -> Vec<String> {
    let head = [format!("term {term}"), format!("{} jobs", doomed.len())];
    let jobs = doomed.iter().zip(said).map(|(job, said)| format!("job {}: {said}", Shown(&job.seen.key)));
    head.into_iter().chain(jobs.take(NAMED)).collect()
}

fn said(job: &Doomed<'_>, reaped: Reaped) -> (&'static str, String) {
    match reaped {
        Reaped::Taken => ("reaped", job.reason.to_string()),
        Reaped::Refuted => ("refuted", "it beat, ended or is being worked on".to_owned()),
        Reaped::TermOver => ("not reaped", "the term is over".to_owned()),
    }
}

/// Whether the database objects to some row, by a rule or by its types, and not to who asks.
fn is_of_a_row(error: &Error) -> bool {
    let Error::Database(error) = error else { return false };
    error.sqlstate().is_some_and(|state| {
        let of_who = matches!(state, "PL321" | "PL322" | "PL324");
        ["PL3", "22", "23"].iter().any(|class| state.starts_with(class)) && !of_who
    })
}
