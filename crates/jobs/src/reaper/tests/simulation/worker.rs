//! A worker: claims, beats, works, stops by itself.

use std::collections::BTreeMap;

use super::judge::Asks;
use super::message::{Answer, Ask, Claimed};
use super::store::Incarnation;
use super::{BEAT_MS, Off, SELF_FENCE_MS};

/// How many beats lie between two checkpoints.
const BEATS_PER_CHECKPOINT: u64 = 2;

#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) job: usize,
    pub(super) token: u64,
    sequence: u64,
    /// On its own clock.
    since_ms: u64,
    left: u64,
}

/// One run of one worker.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    pub(super) who: Incarnation,
    /// How fast its own clock runs, in percent.
    pub(super) rate: u64,
    pub(super) attempt: Option<Attempt>,
    beat: u64,
    /// When each beat without an answer was sent, on its own clock.
    sent: BTreeMap<u64, u64>,
    /// When the last beat that was answered had been sent.
    alive_ms: u64,
    /// The last claim that was asked for, and when.
    asked: (u64, u64),
    /// Its handler keeps working and its beats do not come.
    pub(super) stuck: bool,
    pub(super) registered: bool,
}

impl Worker {
    pub(super) fn new(who: Incarnation, rate: u64) -> Self {
        Self {
            who,
            rate,
            attempt: None,
            beat: 0,
            sent: BTreeMap::new(),
            alive_ms: 0,
            asked: (0, 0),
            stuck: false,
            registered: false,
        }
    }

    fn clock(&self, now_ms: u64) -> u64 {
        now_ms * self.rate / 100
    }

    /// One beat's time has passed: what it asks of the store, each with a number of its own, and the effect that
    /// it has on the world.
    pub(super) fn tick(
        &mut self,
        now_ms: u64,
        off: Option<Off>,
        next: &mut u64,
    ) -> (Asks, Option<(usize, u64)>) {
        let now = self.clock(now_ms);
        let mut asks = Vec::new();
        let mut ask = |ask| {
            *next += 1;
            asks.push((*next, ask));
            *next
        };
        if !self.registered {
            ask(Ask::Register(self.who));
        }
        if !self.stuck {
            self.beat += 1;
            self.sent.insert(self.beat, now);
            ask(Ask::Beat { who: self.who, beat: self.beat });
        }
        let fenced = now >= self.alive_ms + SELF_FENCE_MS;
        if fenced && off != Some(Off::SelfFence) {
            self.attempt = None;
        }
        let Some(attempt) = &mut self.attempt else {
            if self.registered && !fenced {
                self.asked = (ask(Ask::Claim(self.who)), now);
            }
            return (asks, None);
        };
        let (job, token) = (attempt.job, attempt.token);
        attempt.left = attempt.left.saturating_sub(1);
        if attempt.left == 0 {
            ask(Ask::Complete { job, token });
        } else if attempt.left.is_multiple_of(BEATS_PER_CHECKPOINT) {
            attempt.sequence += 1;
            ask(Ask::Checkpoint { job, token, sequence: attempt.sequence });
        }
        (asks, Some((job, token)))
    }

    pub(super) fn hear(&mut self, id: u64, answer: &Answer, work: &[u64], now_ms: u64, off: Option<Off>) {
        let now = self.clock(now_ms);
        let drops = off != Some(Off::Drop);
        match answer {
            Answer::Noted => {
                self.registered = true;
                self.alive_ms = self.alive_ms.max(now.saturating_sub(BEAT_MS));
            }
            Answer::Beaten { beat, holds } => {
                let Some(sent) = self.sent.remove(beat) else { return };
                self.alive_ms = self.alive_ms.max(sent);
                self.sent.retain(|_, other| *other > sent);
                let spent = |attempt: &Attempt| {
                    *holds != Some((attempt.job, attempt.token)) && sent > attempt.since_ms
                };
                if drops && self.attempt.as_ref().is_some_and(spent) {
                    self.attempt = None;
                }
            }
            Answer::Claimed(Some(claimed)) => {
                // An answer that took too long may be of a claim that is spent by now.
                let fresh = self.asked.0 == id && now < self.asked.1 + SELF_FENCE_MS / 2;
                if self.attempt.is_none() && fresh {
                    self.attempt = Some(begin(claimed, work, now));
                }
            }
            Answer::Written { token, accepted: false } => {
                if drops && self.attempt.as_ref().is_some_and(|attempt| attempt.token == *token) {
                    self.attempt = None;
                }
            }
            Answer::Completed { token, accepted } => {
                if (*accepted || drops)
                    && self.attempt.as_ref().is_some_and(|attempt| attempt.token == *token)
                {
                    self.attempt = None;
                }
            }
            Answer::Written { .. }
            | Answer::Claimed(None)
            | Answer::Acquired(_)
            | Answer::Renewed(_)
            | Answer::Swept { .. } => {}
        }
    }
}

fn begin(claimed: &Claimed, work: &[u64], now: u64) -> Attempt {
    let done = claimed.checkpoint * BEATS_PER_CHECKPOINT;
    Attempt {
        job: claimed.job,
        token: claimed.token,
        sequence: claimed.checkpoint,
        since_ms: now,
        left: work[claimed.job].saturating_sub(done).max(1),
    }
}
