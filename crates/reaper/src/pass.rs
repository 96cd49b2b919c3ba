//! One pass: what was condemned is recorded, taken, and recorded again.

use std::fmt::Display;
use std::time::Duration;

use palisade_core::Intended;
use palisade_core::record::Phase;
use palisade_jobs::reaper::Condemned;
use palisade_lease::LeaseStore;
use tokio::time::timeout;

use crate::clerk::{Clerk, News, Taking, details};
use crate::docket::{Answer, Docket};
use crate::sitting::{Chair, PATIENCE, Term};

/// How long one statement that takes jobs may last.
const TAKING: Duration = Duration::from_secs(30);

/// What became of the parts of a pass.
struct Results<'a, W> {
    /// The store has answered for these.
    answered: Vec<(&'a W, Answer)>,
    /// These were refused, or nobody knows.
    failed: Vec<(&'a [W], String)>,
}

/// How one taking ended.
struct Outcome {
    taking: Taking,
    /// Nothing where its jobs were taken.
    fell: Option<Fall>,
}

enum Fall {
    Refuted,
    Failed(String),
}

impl<L, K> Chair<'_, L, K>
where
    L: LeaseStore,
    L::Error: Display,
    K: Clerk,
{
    /// Tells of those who are condemned and were not told of at that beat.
    pub(crate) async fn tell_dry<D: Docket>(
        &self,
        docket: &mut D,
        term: &mut Term<D>,
        condemned: &[Condemned<D::Key, D::Counter>],
    ) {
        let told = std::mem::take(&mut term.told);
        let is_new = |one: &&Condemned<D::Key, D::Counter>| told.get(&one.key) != Some(&one.counter);
        let new: Vec<_> = condemned.iter().filter(is_new).cloned().collect();
        term.told = condemned.iter().map(|one| (one.key.clone(), one.counter.clone())).collect();
        let mut left = new.as_slice();
        while !left.is_empty() {
            let Some((wanted, of)) = self.wanted(docket, term, left).await else { return };
            left = &left[of..];
            let all: Vec<_> = wanted.iter().collect();
            docket.takings(&all).into_iter().for_each(|taking| self.clerk.tell(&News::WouldReap(taking)));
        }
    }

    /// What one pass takes, and from how many of these, the first ones: one at least.
    async fn wanted<D: Docket>(
        &self,
        docket: &mut D,
        term: &Term<D>,
        condemned: &[Condemned<D::Key, D::Counter>],
    ) -> Option<(Vec<D::Wanted>, usize)> {
        let most = condemned.len().min(D::IN_A_PASS);
        match timeout(PATIENCE, docket.wanted(&condemned[..most], &term.lease)).await {
            Ok(Ok((wanted, of))) => return Some((wanted, of.clamp(1, most))),
            Ok(Err(error)) => self.fault(&error),
            Err(_) => self.fault(&"no answer in time to what the silent ones hold"),
        }
        None
    }

    /// Takes what follows from these condemnations, each pass with one intent and one outcome.
    pub(crate) async fn passes<D: Docket>(
        &self,
        docket: &mut D,
        term: &mut Term<D>,
        condemned: &[Condemned<D::Key, D::Counter>],
    ) {
        let mut left = condemned;
        while !(left.is_empty() || term.over) {
            // What cannot be asked for now is condemned again by the next sweep.
            let Some((wanted, of)) = self.wanted(docket, term, left).await else { return };
            left = &left[of..];
            if !wanted.is_empty() {
                self.carry_out(docket, term, &wanted).await;
            }
        }
    }

    /// Tells of jobs that are stuck, and takes those whose rule says so. While the brake holds, none is taken.
    pub(crate) async fn stuck<D: Docket>(&self, docket: &mut D, term: &mut Term<D>, charged: Duration) {
        let found = match timeout(PATIENCE, docket.stuck(charged, &term.lease)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return self.fault(&error),
            Err(_) => return self.fault(&"no answer in time to how jobs get on"),
        };
        found.news.into_iter().for_each(|taking| self.clerk.tell(&News::Stuck(taking)));
        if let Some((stuck, most)) = found.too_many {
            self.clerk.tell(&News::TooManyStuck { stuck, most });
        }
        let only_looks = self.settings.dry || docket.is_observed();
        if !(only_looks || term.braked.is_some() || found.wanted.is_empty()) {
            self.carry_out(docket, term, &found.wanted).await;
        }
    }

    /// One intent, the jobs, one outcome.
    async fn carry_out<D: Docket>(&self, docket: &mut D, term: &mut Term<D>, wanted: &[D::Wanted]) {
        let all: Vec<_> = wanted.iter().collect();
        let takings = docket.takings(&all);
        let number = term.lease.term.number();
        let said = takings.iter().map(|taking| (taking, taking.reason.as_str()));
        // What cannot be written down is not done.
        let Some(record) = self.clerk.begin(details(number, said)) else { return };
        let mut results = Results { answered: Vec::new(), failed: Vec::new() };
        for batch in wanted.chunks(D::TOGETHER) {
            self.take(docket, term, batch, record.as_ref(), &mut results).await;
        }
        term.over = results.answered.iter().any(|(_, answer)| *answer == Answer::TermOver);
        let outcomes = results.outcomes(docket);
        outcomes.iter().for_each(|outcome| self.clerk.tell(&outcome.news()));
        let phase =
            if outcomes.iter().all(|outcome| outcome.fell.is_none()) { Phase::Done } else { Phase::Failed };
        let said = outcomes.iter().map(|outcome| (&outcome.taking, outcome.said()));
        self.clerk.end(record, phase, details(number, said));
    }

    /// Where the store objects to some job, the others still go: each half is tried for itself.
    async fn take<'a, D: Docket>(
        &self,
        docket: &mut D,
        term: &Term<D>,
        batch: &'a [D::Wanted],
        intended: &Intended,
        results: &mut Results<'a, D::Wanted>,
    ) {
        let mut left = vec![batch];
        while let Some(part) = left.pop() {
            match timeout(TAKING, docket.take(part, &term.lease, intended)).await {
                Ok(Ok(answers)) => results.answered.extend(part.iter().zip(answers)),
                Ok(Err(error)) if part.len() > 1 && D::is_of_a_job(&error) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    left.extend([second, first]);
                }
                Ok(Err(error)) => results.failed.push((part, error.to_string())),
                Err(_) => {
                    let said = "no answer in time; the next sweep shows what became of it";
                    results.failed.push((part, said.to_owned()));
                }
            }
        }
    }
}

impl<W> Results<'_, W> {
    fn outcomes<D: Docket<Wanted = W>>(&self, docket: &D) -> Vec<Outcome> {
        let of = |wanted: Answer| -> Vec<Taking> {
            let these = self.answered.iter().filter(|(_, answer)| *answer == wanted);
            docket.takings(&these.map(|(wanted, _)| *wanted).collect::<Vec<_>>())
        };
        let over = || Fall::Failed("the term is over".to_owned());
        let outcome = |taking, fell| Outcome { taking, fell };
        let taken = of(Answer::Taken).into_iter().map(|taking| outcome(taking, None));
        let refuted = of(Answer::Refuted).into_iter().map(|taking| outcome(taking, Some(Fall::Refuted)));
        let late = of(Answer::TermOver).into_iter().map(|taking| outcome(taking, Some(over())));
        let failed = self.failed.iter().flat_map(|(part, problem)| {
            let takings = docket.takings(&part.iter().collect::<Vec<_>>()).into_iter();
            takings.map(|taking| outcome(taking, Some(Fall::Failed(problem.clone()))))
        });
        taken.chain(refuted).chain(late).chain(failed).collect()
    }
}

impl Outcome {
    fn news(&self) -> News {
        let taking = self.taking.clone();
        match &self.fell {
            None => News::Reaped(taking),
            Some(Fall::Refuted) => News::Refuted(taking),
            Some(Fall::Failed(problem)) => News::NotReaped { taking, problem: problem.clone() },
        }
    }

    /// For the record.
    fn said(&self) -> &str {
        match &self.fell {
            None => &self.taking.reason,
            Some(Fall::Refuted) => "not taken: it beat, ended or is being worked on",
            Some(Fall::Failed(problem)) => problem,
        }
    }
}
