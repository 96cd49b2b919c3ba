//! What a reaper judges, as the loop sees it.

use std::fmt::Display;
use std::hash::Hash;
use std::time::Duration;

use palisade_core::Intended;
use palisade_jobs::reaper::{Condemned, Remembered, Subject};
use palisade_lease::Held;

use crate::clerk::Taking;

/// The silences that terms of a docket leave to the next ones.
pub type Remembers<D> = Vec<Remembered<<D as Docket>::Key, <D as Docket>::Counter>>;

/// What one look saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look<K, C> {
    /// Which run of the store answered.
    pub run: u64,
    /// The store's clock in the statement that read who runs, in microseconds from anywhere.
    pub store_us: u64,
    /// The judge's own boot clock when that answer was there, in microseconds.
    pub judge_us: u64,
    /// From that question to its answer.
    pub took: Duration,
    /// Whether another history of the store answers than before, as after a restore: what was seen says nothing.
    pub anew: bool,
    /// Everybody who may be judged.
    pub subjects: Vec<Subject<K, C>>,
}

/// What became of one job that was to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// It was taken.
    Taken,
    /// It beat, ended, changed or is being worked on: nothing was written.
    Refuted,
    /// The lease is over: nothing was written.
    TermOver,
}

/// Jobs that are alive and make no progress.
#[derive(Debug)]
pub struct Stuck<W> {
    /// Those that were not told of yet.
    pub news: Vec<Taking>,
    /// Those that shall be taken for it.
    pub wanted: Vec<W>,
    /// More than one pass may take: so many are stuck, and none of them is taken. Told once.
    pub too_many: Option<(usize, usize)>,
}

impl<W> Default for Stuck<W> {
    fn default() -> Self {
        Self { news: Vec::new(), wanted: Vec::new(), too_many: None }
    }
}

/// Who may be judged, and how their jobs are taken. Each call may be dropped while it waits: the next one then finds a
/// docket that asks anew.
pub trait Docket: Send {
    /// Names one who is judged. A new start is a new one.
    type Key: Clone + Eq + Hash + Send + Sync;
    /// What changes with each sign of life.
    type Counter: Clone + Eq + Send + Sync;
    /// A job that shall be taken.
    type Wanted: Send + Sync;
    /// Why it could not look or write.
    type Error: Display + Send;

    /// So many who are condemned by one sweep go in one pass at most, with one intent and one outcome.
    const IN_A_PASS: usize;
    /// So many jobs go in one statement.
    const TOGETHER: usize;

    /// Whether what is judged is itself in observe, so that nothing of it is taken.
    fn is_observed(&self) -> bool {
        false
    }

    /// Begins a term: gives what terms before have left.
    fn begin(&mut self) -> impl Future<Output = Result<Remembers<Self>, Self::Error>> + Send;

    /// Looks who runs.
    fn look(&mut self) -> impl Future<Output = Result<Look<Self::Key, Self::Counter>, Self::Error>> + Send;

    /// Leaves silences to the next term, and nothing of `forget`.
    fn remember(
        &mut self,
        silences: &[Remembered<Self::Key, Self::Counter>],
        forget: &[Self::Key],
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// What follows from condemnations of the last look: jobs to take, and from how many of these, the first ones. Where
    /// their jobs are more than go together it may leave out some, which are asked for in another pass of the same sweep.
    fn wanted(
        &mut self,
        condemned: &[Condemned<Self::Key, Self::Counter>],
        under: &Held,
    ) -> impl Future<Output = Result<(Vec<Self::Wanted>, usize), Self::Error>> + Send;

    /// Which jobs are stuck after a sweep that charged so much time. A docket without a sign of progress has none.
    fn stuck(
        &mut self,
        charged: Duration,
        under: &Held,
    ) -> impl Future<Output = Result<Stuck<Self::Wanted>, Self::Error>> + Send {
        let _ = (charged, under);
        std::future::ready(Ok(Stuck::default()))
    }

    /// How clerks name these: those that have a reason in common together.
    fn takings(&self, wanted: &[&Self::Wanted]) -> Vec<Taking>;

    /// Takes these, each if it is as it was seen, and none if the lease is over. One transaction; one answer each, in
    /// their order.
    fn take(
        &mut self,
        wanted: &[Self::Wanted],
        under: &Held,
        intended: &Intended,
    ) -> impl Future<Output = Result<Vec<Answer>, Self::Error>> + Send;

    /// Whether the store objects to some job of a statement, and not to who asks: then each half is tried for itself.
    fn is_of_a_job(_: &Self::Error) -> bool {
        false
    }
}
