//! A judge with its surroundings, stepped by hand.

use std::time::Duration;

use crate::reaper::{Gate, Judge, Limits, Remembered, Ruling, Subject, Sweep};

/// A sweep every second, beats every two, a threshold of a minute.
pub(super) const SWEEP: Duration = Duration::from_secs(1);
pub(super) const BEAT: Duration = Duration::from_secs(2);
pub(super) const THRESHOLD: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(10);

pub(super) type Key = usize;

pub(super) struct Court {
    pub(super) judge: Judge<Key, u64>,
    pub(super) subjects: Vec<Subject<Key, u64>>,
    pub(super) store_run: u64,
    pub(super) store_us: u64,
    pub(super) judge_us: u64,
    pub(super) took: Duration,
    pub(super) canary: bool,
    /// How fast the store's clock runs, in percent.
    pub(super) store_rate: u64,
    pub(super) stored: Vec<Remembered<Key, u64>>,
    off: Option<Gate>,
}

pub(super) fn limits() -> Limits {
    Limits { sweep_every: SWEEP, reconnect_grace: GRACE, ..Limits::default() }
}

pub(super) fn subject(key: Key) -> Subject<Key, u64> {
    Subject { key, counter: 1, reap_after: THRESHOLD, fixed: false, beat_every: BEAT, proof: None }
}

impl Court {
    pub(super) fn of(population: usize, limits: Limits) -> Self {
        Self::without(None, population, limits)
    }

    pub(super) fn without(off: Option<Gate>, population: usize, limits: Limits) -> Self {
        Self {
            judge: Judge::new(limits, Vec::new()).without(off),
            subjects: (0..population).map(subject).collect(),
            store_run: 1,
            store_us: 10_000_000_000,
            judge_us: 5_000_000,
            took: Duration::from_millis(5),
            canary: true,
            store_rate: 100,
            stored: Vec::new(),
            off,
        }
    }

    pub(super) fn pass(&mut self, span: Duration) {
        let us = u64::try_from(span.as_micros()).unwrap();
        self.store_us += us * self.store_rate / 100;
        self.judge_us += us;
    }

    pub(super) fn sweep(&mut self) -> Ruling<Key, u64> {
        self.pass(SWEEP);
        let sweep = Sweep {
            store_run: self.store_run,
            store_us: self.store_us,
            judge_us: self.judge_us,
            took: self.took,
            canary: self.canary,
            subjects: self.subjects.clone(),
        };
        let ruling = self.judge.judge(&sweep);
        for row in &ruling.remember {
            self.stored.retain(|known| known.key != row.key);
            self.stored.push(row.clone());
        }
        self.stored.retain(|known| !ruling.forget.contains(&known.key));
        ruling
    }

    /// Sweeps for `span`, all but `silent` beating. Gives who was condemned first, and after how long.
    pub(super) fn run(&mut self, span: Duration, silent: &[Key]) -> Option<(Vec<Key>, Duration)> {
        let mut passed = Duration::ZERO;
        while passed < span {
            self.beat(silent);
            let ruling = self.sweep();
            passed += SWEEP;
            if !ruling.condemned.is_empty() {
                return Some((ruling.condemned.iter().map(|one| one.key).collect(), passed));
            }
        }
        None
    }

    pub(super) fn beat(&mut self, silent: &[Key]) {
        for subject in &mut self.subjects {
            if !silent.contains(&subject.key) {
                subject.counter += 1;
            }
        }
    }

    /// Another judge takes over, with what was stored.
    pub(super) fn new_term(&mut self) {
        let limits = self.judge.limits().clone();
        self.judge = Judge::new(limits, self.stored.clone()).without(self.off);
    }
}
