//! Contenders that take turns, in alternating order, until their rounds or the time of the whole run are over.

use std::time::Duration;

use palisade_host::clock::Stopwatch;

use crate::Outcome;
use crate::stats::Series;

/// After this much of a run no further round begins.
const WHOLE_RUN: Duration = Duration::from_secs(260);

/// How much is measured.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) quick: bool,
    /// The one row that is measured, where not all are.
    only: Option<String>,
    /// How large a row is, where that was said: connections of the audit, rows of the guard's large update, jobs.
    size: Option<u32>,
    begun: Stopwatch,
}

/// All rows about jobs.
pub(crate) const JOBS: &str = "jobs";

/// How long a daemon gets to clean up after a list of hundreds, which whoever comes next would pay for.
pub(crate) const SETTLE: Duration = Duration::from_millis(50);

/// A name, and what gives one figure.
pub(crate) type Contender<'a> = (&'a str, &'a mut dyn FnMut() -> Outcome<f64>);

impl Plan {
    pub(crate) fn new(quick: bool, only: Option<String>, size: Option<u32>) -> Self {
        Self { quick, only, size, begun: Stopwatch::start() }
    }

    /// The size that was asked for, or `usual`.
    pub(crate) fn size(&self, usual: u32) -> u32 {
        self.size.unwrap_or(usual)
    }

    /// Whether no further round begins after `rounds` of them: the time of the whole run is over.
    pub(crate) fn is_over(&self, rounds: usize) -> bool {
        rounds >= 3 && self.begun.elapsed() > WHOLE_RUN
    }

    /// The number of jobs: as asked for, else `usual`.
    pub(crate) fn jobs(&self, usual: usize) -> usize {
        self.size.map_or(usual, |size| size as usize)
    }

    /// Whether all rows about jobs are measured, and no others.
    pub(crate) fn is_of_jobs(&self) -> bool {
        self.only.as_deref() == Some(JOBS)
    }

    /// What does the same again.
    pub(crate) fn command(&self) -> String {
        let quick = if self.quick { " --quick" } else { "" };
        let row = self.only.as_ref().map(|row| format!(" {row}")).unwrap_or_default();
        let size = self.size.map(|size| format!(" --size {size}")).unwrap_or_default();
        format!("./run bench{quick}{row}{size}")
    }

    /// Whether every row is measured.
    pub(crate) const fn is_whole(&self) -> bool {
        self.only.is_none()
    }

    /// Whether the row called `row` is measured.
    pub(crate) fn has(&self, row: &str) -> bool {
        let is_of_jobs = || self.is_of_jobs() && crate::rows::jobs::ROWS.contains(&row);
        self.only.as_ref().is_none_or(|only| only == row) || is_of_jobs()
    }

    /// Seconds since the run began.
    pub(crate) fn seconds(&self) -> u64 {
        self.begun.elapsed().as_secs()
    }

    /// The number of rounds: `full`, or 3 in a quick run.
    pub(crate) const fn rounds(&self, full: usize) -> usize {
        if self.quick { 3 } else { full }
    }

    /// One series for each contender, after one round that does not count. Every second round goes backwards, so
    /// that nobody always comes after the same other.
    pub(crate) fn take_turns(
        &self,
        rounds: usize,
        unit: &'static str,
        contenders: &mut [Contender<'_>],
    ) -> Outcome<Vec<Series>> {
        let mut series: Vec<Series> = contenders.iter().map(|(name, _)| Series::new(*name, unit)).collect();
        for (_, measure) in contenders.iter_mut() {
            measure()?;
        }
        for round in 0..rounds {
            if self.is_over(round) {
                break;
            }
            let mut order: Vec<usize> = (0..contenders.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for place in order {
                let figure = (contenders[place].1)()?;
                series[place].values.push(figure);
            }
        }
        Ok(series)
    }
}

/// Milliseconds that `act` takes, and its result.
pub(crate) fn timed<T>(act: impl FnOnce() -> Outcome<T>) -> Outcome<(f64, T)> {
    let watch = Stopwatch::start();
    let result = act()?;
    Ok((watch.elapsed().as_secs_f64() * 1e3, result))
}
