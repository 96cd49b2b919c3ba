//! A store as the real ones are meant to be: each request is one step, fenced and compared again at the write.

use std::collections::BTreeMap;
use std::time::Duration;

use palisade_lease::rule::{self, Lease, Moment};
use palisade_lease::{Held, Holder, Name, Ttl};

use super::Off;
use super::message::{Answer, Ask, Claimed, Seen};
use crate::reaper::{Proof, Remembered};

/// What can be reaped: one run of one worker.
pub(super) type Incarnation = u64;

#[derive(Debug, Clone)]
pub(super) struct WorkerRow {
    pub(super) beat: u64,
    pub(super) proof: Option<Proof>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    Ready,
    Running(Incarnation),
    /// A person keeps it from running.
    Held,
    Done,
}

#[derive(Debug, Clone)]
pub(super) struct JobRow {
    pub(super) stand: Stand,
    pub(super) token: u64,
    pub(super) checkpoint: u64,
    pub(super) completions: u32,
}

/// What the store did, for those who look for broken promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// A beat was accepted.
    Beat(Incarnation),
    /// A job was reaped.
    Reaped { of: Incarnation, under: u64, now: u64, proven: bool },
    /// A write with a spent token was accepted.
    SpentAccepted,
    /// A checkpoint went back.
    WentBack,
    /// A job was done twice.
    DoneTwice,
}

pub(super) struct Store {
    pub(super) lease: Option<Lease>,
    pub(super) workers: BTreeMap<Incarnation, WorkerRow>,
    pub(super) jobs: Vec<JobRow>,
    pub(super) writable: bool,
    /// Counts its starts.
    pub(super) run: u64,
    pub(super) deeds: Vec<Deed>,
    remembered: BTreeMap<Incarnation, Remembered<Incarnation, u64>>,
    tokens: u64,
    off: Option<Off>,
}

impl Store {
    pub(super) fn new(jobs: usize, off: Option<Off>) -> Self {
        let job = JobRow { stand: Stand::Ready, token: 0, checkpoint: 0, completions: 0 };
        Self {
            lease: None,
            workers: BTreeMap::new(),
            jobs: vec![job; jobs],
            writable: true,
            run: 0,
            deeds: Vec::new(),
            remembered: BTreeMap::new(),
            tokens: 0,
            off,
        }
    }

    fn is_on(&self, protection: Off) -> bool {
        self.off != Some(protection)
    }

    /// Does what is asked, at `now_us` of the store's clock. `None` is an error that the asker is told.
    pub(super) fn step(&mut self, ask: &Ask, now_us: u64) -> Option<Answer> {
        let reads = matches!(ask, Ask::Sweep { .. });
        if !self.writable && !reads {
            return None;
        }
        let moment = Moment::from_ms(now_us / 1000);
        Some(match ask {
            Ask::Register(who) => {
                self.workers.insert(*who, WorkerRow { beat: 0, proof: None });
                Answer::Noted
            }
            Ask::Beat { who, beat, .. } => self.beat(*who, *beat),
            Ask::Goodbye(who) => self.goodbye(*who),
            Ask::Claim(who) => Answer::Claimed(self.claim(*who)),
            Ask::Checkpoint { job, token, sequence } => self.checkpoint(*job, *token, *sequence),
            Ask::Complete { job, token } => self.complete(*job, *token),
            Ask::Acquire { holder, ttl_ms } => self.acquire(*holder, *ttl_ms, moment),
            Ask::Renew { held, ttl_ms } => {
                let renewed = rule::renew(self.lease.as_ref(), held, ttl(*ttl_ms), moment);
                let kept = renewed.is_some();
                self.lease = renewed.or_else(|| self.lease.take());
                Answer::Renewed(kept)
            }
            Ask::Release { held } => {
                let released = rule::release(self.lease.as_ref(), held, moment);
                self.lease = released.or_else(|| self.lease.take());
                Answer::Noted
            }
            Ask::Sweep { first } => self.sweep(*first, now_us),
            Ask::Reap { held, who, beat, proven } => self.reap(held, *who, *beat, *proven, moment),
            Ask::Remember { held, rows, forget } => self.remember(held, rows, forget, moment),
        })
    }

    fn beat(&mut self, who: Incarnation, beat: u64) -> Answer {
        if let Some(row) = self.workers.get_mut(&who).filter(|row| beat > row.beat && row.proof.is_none()) {
            row.beat = beat;
            self.deeds.push(Deed::Beat(who));
        }
        let job = self.jobs.iter().position(|job| job.stand == Stand::Running(who));
        Answer::Beaten { beat, holds: job.map(|job| (job, self.jobs[job].token)) }
    }

    fn goodbye(&mut self, who: Incarnation) -> Answer {
        for job in &mut self.jobs {
            if job.stand == Stand::Running(who) {
                job.stand = Stand::Ready;
            }
        }
        if let Some(row) = self.workers.get_mut(&who) {
            row.proof = Some(Proof::Goodbye);
        }
        Answer::Noted
    }

    /// Whoever asks again gets what it holds already: its first answer may have been lost.
    fn claim(&mut self, who: Incarnation) -> Option<Claimed> {
        if self.workers.get(&who).is_none_or(|row| row.proof.is_some()) {
            return None;
        }
        let held = self.jobs.iter().position(|job| job.stand == Stand::Running(who));
        let ready = || self.jobs.iter().position(|job| job.stand == Stand::Ready);
        let at = held.or_else(ready)?;
        if held.is_none() {
            self.tokens += 1;
            self.jobs[at].token = self.tokens;
            self.jobs[at].stand = Stand::Running(who);
        }
        Some(Claimed { job: at, token: self.jobs[at].token, checkpoint: self.jobs[at].checkpoint })
    }

    /// Whether a write with this token is accepted.
    fn admits(&mut self, job: usize, token: u64) -> bool {
        let row = &self.jobs[job];
        let good = row.token == token && matches!(row.stand, Stand::Running(_));
        if !good && !self.is_on(Off::Token) {
            self.deeds.push(Deed::SpentAccepted);
            return true;
        }
        good
    }

    fn checkpoint(&mut self, job: usize, token: u64, sequence: u64) -> Answer {
        if !self.admits(job, token) {
            return Answer::Written { token, accepted: false };
        }
        let on = self.is_on(Off::Checkpoint);
        let row = &mut self.jobs[job];
        if sequence > row.checkpoint || !on {
            if sequence < row.checkpoint {
                self.deeds.push(Deed::WentBack);
            }
            row.checkpoint = sequence;
        }
        Answer::Written { token, accepted: true }
    }

    fn complete(&mut self, job: usize, token: u64) -> Answer {
        // The first answer may have been lost: its own completion is said again.
        if self.jobs[job].stand == Stand::Done && self.jobs[job].token == token {
            return Answer::Completed { token, accepted: true };
        }
        let accepted = self.admits(job, token);
        if accepted {
            let row = &mut self.jobs[job];
            row.stand = Stand::Done;
            row.completions += 1;
            if row.completions > 1 {
                self.deeds.push(Deed::DoneTwice);
            }
        }
        Answer::Completed { token, accepted }
    }

    fn acquire(&mut self, holder: u64, ttl_ms: u64, now: Moment) -> Answer {
        let name = Name::new("reaper").unwrap();
        let holder = Holder::new(&holder.to_string()).unwrap();
        match rule::acquire(self.lease.as_ref(), &name, &holder, ttl(ttl_ms), now) {
            None => Answer::Acquired(None),
            Some(lease) => {
                let held = Held { name, term: lease.term, holder };
                self.lease = Some(lease);
                Answer::Acquired(Some(held))
            }
        }
    }

    fn sweep(&mut self, first: bool, now_us: u64) -> Answer {
        let running = |who: &Incarnation| self.jobs.iter().any(|job| job.stand == Stand::Running(*who));
        let busy = self.workers.iter().filter(|(who, _)| running(who));
        let workers = busy.map(|(who, row)| Seen { who: *who, beat: row.beat, proof: row.proof });
        let remembered = if first { self.remembered.values().cloned().collect() } else { Vec::new() };
        Answer::Swept { store_run: self.run, now_us, workers: workers.collect(), remembered }
    }

    fn reap(&mut self, held: &Held, who: Incarnation, beat: u64, proven: bool, moment: Moment) -> Answer {
        if self.is_on(Off::Fence) && !rule::fences(self.lease.as_ref(), held, moment) {
            return Answer::Noted;
        }
        let unchanged = self.workers.get(&who).is_some_and(|row| row.beat == beat);
        if self.is_on(Off::Recheck) && !unchanged {
            return Answer::Noted;
        }
        let now = self.lease.as_ref().map_or(0, |lease| lease.term.number());
        for job in &mut self.jobs {
            if job.stand == Stand::Running(who) {
                // The token ends with the claim; the next claim has a higher one.
                job.stand = Stand::Ready;
                self.deeds.push(Deed::Reaped { of: who, under: held.term.number(), now, proven });
            }
        }
        Answer::Noted
    }

    /// A person takes a job out of its worker's hands, or gives it back to its queue.
    pub(super) fn hold(&mut self, job: usize, held: bool) {
        let row = &mut self.jobs[job];
        match (row.stand, held) {
            (Stand::Running(_) | Stand::Ready, true) => row.stand = Stand::Held,
            (Stand::Held, false) => row.stand = Stand::Ready,
            _ => {}
        }
    }

    fn remember(
        &mut self,
        held: &Held,
        rows: &[Remembered<Incarnation, u64>],
        forget: &[Incarnation],
        moment: Moment,
    ) -> Answer {
        if rule::fences(self.lease.as_ref(), held, moment) {
            self.remembered.extend(rows.iter().map(|row| (row.key, row.clone())));
            self.remembered.retain(|who, _| !forget.contains(who));
        }
        Answer::Noted
    }
}

fn ttl(ms: u64) -> Ttl {
    Ttl::new(Duration::from_millis(ms)).unwrap()
}
