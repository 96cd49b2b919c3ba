//! A reaper around the real judge: takes the lease, sweeps, reaps.

use std::time::Duration;

use palisade_lease::Held;

use super::message::{Answer, Ask, Seen};
use super::store::Incarnation;
use super::{BEAT_MS, Off, SWEEP_MS, THRESHOLD_MS, limits};
use crate::reaper::{Ground, Judge, Subject, Sweep};

/// What one ruling came to, for those who look for broken promises.
#[derive(Debug, Default)]
pub(super) struct Ruled {
    pub(super) silent: usize,
    pub(super) most: usize,
}

pub(super) struct Reaper {
    pub(super) holder: u64,
    pub(super) rate: u64,
    ttl_ms: u64,
    held: Option<Held>,
    /// Until when it may act, on its own clock.
    until_ms: u64,
    /// Questions without an answer yet: number and time.
    asked: Option<(u64, u64)>,
    renewing: (u64, u64),
    acquiring: (u64, u64),
    judge: Option<Judge<Incarnation, u64>>,
    /// When the last write of its own that was accepted had been sent.
    written_ms: u64,
    off: Option<Off>,
}

/// Questions, each with a number.
pub(super) type Asks = Vec<(u64, Ask)>;

impl Reaper {
    pub(super) fn new(holder: u64, rate: u64, ttl_ms: u64, off: Option<Off>) -> Self {
        Self {
            holder,
            rate,
            ttl_ms,
            held: None,
            until_ms: 0,
            asked: None,
            renewing: (0, 0),
            acquiring: (0, 0),
            judge: None,
            written_ms: 0,
            off,
        }
    }

    pub(super) fn ttl_ms(&self) -> u64 {
        self.ttl_ms
    }

    fn clock(&self, now_ms: u64) -> u64 {
        now_ms * self.rate / 100
    }

    fn lose(&mut self) {
        (self.held, self.judge, self.asked) = (None, None, None);
    }

    /// Gives the lease up, as at a deployment.
    pub(super) fn release(&mut self, next: &mut u64) -> Asks {
        let Some(held) = self.held.take() else { return Vec::new() };
        self.lose();
        *next += 1;
        vec![(*next, Ask::Release { held })]
    }

    pub(super) fn tick(&mut self, now_ms: u64, next: &mut u64) -> Asks {
        let now = self.clock(now_ms);
        if self.held.is_some() && now >= self.until_ms {
            self.lose();
        }
        let mut number = || {
            *next += 1;
            *next
        };
        let Some(held) = self.held.clone() else {
            self.acquiring = (number(), now);
            return vec![(self.acquiring.0, Ask::Acquire { holder: self.holder, ttl_ms: self.ttl_ms })];
        };
        let mut asks = Vec::new();
        if self.renewing.0 == 0 || now > self.renewing.1 + SWEEP_MS * 2 {
            self.renewing = (number(), now);
            asks.push((self.renewing.0, Ask::Renew { held, ttl_ms: self.ttl_ms }));
        }
        if self.asked.is_some_and(|(_, sent)| now > sent + SWEEP_MS * 2) {
            self.asked = None;
            if let Some(judge) = &mut self.judge {
                judge.could_not_see();
            }
        }
        if self.asked.is_none() {
            let id = number();
            self.asked = Some((id, now));
            asks.push((id, Ask::Sweep { first: self.judge.is_none() }));
        }
        asks
    }

    pub(super) fn hear(
        &mut self,
        id: u64,
        answer: Answer,
        now_ms: u64,
        next: &mut u64,
    ) -> (Asks, Option<Ruled>) {
        let now = self.clock(now_ms);
        match answer {
            Answer::Acquired(Some(held)) if self.acquiring.0 == id && self.held.is_none() => {
                self.held = Some(held);
                self.until_ms = self.acquiring.1 + self.ttl_ms;
                self.written_ms = self.acquiring.1;
            }
            Answer::Renewed(kept) if self.renewing.0 == id && self.held.is_some() => {
                if kept {
                    self.until_ms = self.renewing.1 + self.ttl_ms;
                    self.written_ms = self.renewing.1;
                    self.renewing.0 = 0;
                } else {
                    self.lose();
                }
            }
            Answer::Swept { store_run, now_us, workers, remembered } => {
                let Some((_, sent)) = self.asked.filter(|asked| asked.0 == id) else {
                    return (Vec::new(), None);
                };
                self.asked = None;
                if self.held.is_none() || now >= self.until_ms {
                    self.lose();
                    return (Vec::new(), None);
                }
                let off = self.off.and_then(Off::gate);
                self.judge.get_or_insert_with(|| Judge::new(limits(), remembered).without(off));
                let (mut asks, ruled) = self.rule((store_run, now_us), &workers, now, sent, next);
                // Where an answer takes longer than a sweep, the next question follows at once.
                if now >= sent + SWEEP_MS {
                    *next += 1;
                    self.asked = Some((*next, now));
                    asks.push((*next, Ask::Sweep { first: false }));
                }
                return (asks, ruled);
            }
            _ => {}
        }
        (Vec::new(), None)
    }

    fn rule(
        &mut self,
        store: (u64, u64),
        workers: &[Seen],
        now: u64,
        sent: u64,
        next: &mut u64,
    ) -> (Asks, Option<Ruled>) {
        let (Some(judge), Some(held)) = (&mut self.judge, &self.held) else { return (Vec::new(), None) };
        let sweep = Sweep {
            store_run: store.0,
            store_us: store.1,
            judge_us: now * 1000,
            took: Duration::from_millis(now - sent),
            canary: now <= self.written_ms + SWEEP_MS * 4,
            subjects: workers.iter().map(subject).collect(),
        };
        let ruling = judge.judge(&sweep);
        let mut ruled = Ruled { most: judge.limits().most(workers.len()), ..Ruled::default() };
        let mut asks = Vec::new();
        let mut ask = |ask| {
            *next += 1;
            asks.push((*next, ask));
        };
        for one in &ruling.condemned {
            let proven = matches!(one.ground, Ground::Proof { .. });
            ruled.silent += usize::from(!proven);
            ask(Ask::Reap { held: held.clone(), who: one.key, beat: one.counter, proven });
        }
        if !(ruling.remember.is_empty() && ruling.forget.is_empty()) {
            ask(Ask::Remember { held: held.clone(), rows: ruling.remember, forget: ruling.forget });
        }
        (asks, Some(ruled))
    }
}

fn subject(seen: &Seen) -> Subject<Incarnation, u64> {
    Subject {
        key: seen.who,
        counter: seen.beat,
        reap_after: Duration::from_millis(THRESHOLD_MS),
        fixed: false,
        beat_every: Duration::from_millis(BEAT_MS),
        proof: seen.proof,
    }
}
