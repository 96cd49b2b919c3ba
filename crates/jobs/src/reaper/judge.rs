//! The judge: sweeps in, rulings out.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use serde::Serialize;

use super::brake::{Brake, Held};
use super::gate::Gate;
use super::limits::Limits;
use super::pace::Idle;
use super::watch::Watch;
use super::{Proof, Subject, Sweep};

/// Of how many sweeps the slowest counts for the judge's own health.
const SWEEPS_OF_HEALTH: usize = 16;
/// By how much slow sweeps lengthen a threshold at most.
const MOST_LONGER: u32 = 8;

/// Judges under one term. What it knows is in memory; what the next term needs is in its rulings.
#[derive(Debug)]
pub struct Judge<K, C> {
    limits: Limits,
    watches: HashMap<K, Watch<C>>,
    remembered: HashMap<K, Remembered<K, C>>,
    brake: Brake,
    /// The clocks of the last sweep from which time may be charged.
    last: Option<(u64, u64)>,
    /// How much time was observed since the store, or the way to it, was last away.
    back: Duration,
    /// Which run of the store answered last.
    store_run: Option<u64>,
    took: VecDeque<Duration>,
    sweeps: u64,
    /// A gate that a test has switched off.
    off: Option<Gate>,
}

/// What the next term has to know of a subject that is silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered<K, C> {
    /// Which one.
    pub key: K,
    /// The counter that does not change. Another one in the store refutes it.
    pub counter: C,
    /// How much silence was charged.
    pub silent: Duration,
}

/// What follows from one sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling<K, C> {
    /// Whose work may be taken now, in the order of the sweep. The store compares each counter again.
    pub condemned: Vec<Condemned<K, C>>,
    /// How many are how.
    pub counts: Counts,
    /// What holds condemnations back, if something does.
    pub held: Option<Held>,
    /// To be stored for the next term.
    pub remember: Vec<Remembered<K, C>>,
    /// To be removed from there.
    pub forget: Vec<K>,
    /// How much time this sweep has charged; nothing where it could not tell.
    pub charged: Duration,
}

/// One whose work may be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condemned<K, C> {
    /// Which one.
    pub key: K,
    /// The counter that it must still have when it is reaped.
    pub counter: C,
    /// Why.
    pub ground: Ground,
}

/// Why one is condemned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum Ground {
    /// It is dead for certain.
    Proof {
        /// How that is known.
        proof: Proof,
    },
    /// It was silent for so long.
    Silence(Silence),
    /// Its worker is alive, and the job made no progress for so long.
    Stuck(Idle),
}

/// A silence and what was seen beside it: the evidence of a reap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// Observed silence in milliseconds, of this term and those before it.
    pub silent_ms: u64,
    /// The threshold that counted, in milliseconds.
    pub threshold_ms: u64,
    /// By how much it was longer than the row's, because sweeps were slow. Usually 1.
    pub longer: u32,
    /// How much of the silence this term has seen itself, without a break, in milliseconds.
    pub seen_ms: u64,
    /// In how many sweeps.
    pub sweeps: u32,
    /// How many there were in the last sweep.
    pub population: usize,
    /// How many of them were suspect.
    pub suspects: usize,
}

/// How many subjects are how after a sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All of them.
    pub population: usize,
    /// Not changed for some while.
    pub silent: usize,
    /// Silent for half the threshold or more.
    pub suspect: usize,
    /// Silent for as long as the threshold says, whether or not something holds.
    pub due: usize,
}

/// How one subject stands after a sweep.
struct Standing {
    silence: Silence,
    suspect: bool,
    due: bool,
    /// Seen steadily by this term for long enough.
    fresh: bool,
    threshold: Duration,
}

impl<K: Clone + Eq + Hash, C: Clone + Eq> Judge<K, C> {
    /// Begins a term. `remembered` is what terms before it have stored, or nothing after a restore.
    #[must_use]
    pub fn new(limits: Limits, remembered: Vec<Remembered<K, C>>) -> Self {
        Self {
            limits,
            watches: HashMap::new(),
            remembered: remembered.into_iter().map(|row| (row.key.clone(), row)).collect(),
            brake: Brake::default(),
            last: None,
            back: Duration::MAX,
            store_run: None,
            took: VecDeque::new(),
            sweeps: 0,
            off: None,
        }
    }

    /// The judge without one protection.
    #[cfg(test)]
    pub(super) fn without(mut self, gate: Option<Gate>) -> Self {
        self.off = gate;
        if !self.is_on(Gate::Memory) {
            self.remembered.clear();
        }
        self
    }

    fn is_on(&self, gate: Gate) -> bool {
        self.off != Some(gate)
    }

    /// What it is set to.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A sweep failed, or a write of the judge's own did: nothing could be seen. Workers may have lost their way too,
    /// so nothing is charged until they had time to come back.
    pub fn could_not_see(&mut self) {
        self.back = Duration::ZERO;
        self.look_anew();
    }

    fn look_anew(&mut self) {
        self.last = None;
        self.brake.look_anew();
        self.watches.values_mut().for_each(Watch::look_anew);
    }

    /// The policy has changed.
    pub fn policy_changed(&mut self, limits: Limits) {
        self.limits = limits;
        self.look_anew();
    }

    /// An operator says that those whom the brake spares are dead indeed.
    pub fn lift_brake(&mut self) {
        self.brake.lift();
    }

    /// Judges what a sweep saw.
    pub fn judge(&mut self, sweep: &Sweep<K, C>) -> Ruling<K, C> {
        let observed = self.observed(sweep);
        let away = self.is_on(Gate::Fresh) && self.back < self.limits.reconnect_grace;
        let charge = if away { Duration::ZERO } else { observed };
        self.back = self.back.saturating_add(observed);
        self.sweeps += 1;
        self.took.truncate(SWEEPS_OF_HEALTH - 1);
        self.took.push_front(sweep.took);

        let mut forget = Vec::new();
        let mut beat = false;
        for subject in &sweep.subjects {
            beat |= self.see(subject, (observed, charge), &mut forget);
        }
        self.leave_out_the_gone(&mut forget);

        let standings: Vec<Standing> =
            sweep.subjects.iter().filter_map(|subject| self.standing(subject)).collect();
        self.rule(sweep, standings, charge, beat, forget)
    }

    /// How much of the time since the last sweep could be observed.
    fn observed(&mut self, sweep: &Sweep<K, C>) -> Duration {
        let most = self.limits.sweep_every * 2;
        let now = (sweep.store_us, sweep.judge_us);
        let restarted = self.store_run.replace(sweep.store_run).is_some_and(|run| run != sweep.store_run);
        let Some(last) = self.last.replace(now) else { return Duration::ZERO };
        let by_store = Duration::from_micros(now.0.saturating_sub(last.0));
        let by_judge = Duration::from_micros(now.1.saturating_sub(last.1));
        let passed = if self.is_on(Gate::TwoClocks) { by_store.min(by_judge) } else { by_store };
        if !self.is_on(Gate::Credit) {
            return passed;
        }
        // Whoever could not look for longer cannot tell who could have beaten meanwhile.
        let blind = restarted || by_store.max(by_judge) > most || now.0 < last.0;
        let unheard = !sweep.canary && self.is_on(Gate::Canary);
        if blind || unheard {
            self.could_not_see();
            self.last = (!unheard).then_some(now);
            return Duration::ZERO;
        }
        passed
    }

    /// Gives whether the subject has shown a sign of life.
    fn see(&mut self, subject: &Subject<K, C>, time: (Duration, Duration), forget: &mut Vec<K>) -> bool {
        if let Some(watch) = self.watches.get_mut(&subject.key) {
            let beat = watch.see(subject, time, self.sweeps);
            if beat && watch.stored {
                watch.stored = false;
                forget.push(subject.key.clone());
            }
            return beat;
        }
        let known = self.remembered.remove(&subject.key);
        let same = known.as_ref().filter(|row| row.counter == subject.counter);
        let silent = same.map_or(Duration::ZERO, |row| row.silent);
        if known.is_some() && same.is_none() {
            forget.push(subject.key.clone());
        }
        let watch = Watch::first(subject, silent, same.is_some(), self.sweeps);
        self.watches.insert(subject.key.clone(), watch);
        false
    }

    fn leave_out_the_gone(&mut self, forget: &mut Vec<K>) {
        let now = self.sweeps;
        let gone = |watch: &Watch<C>| watch.last != now;
        if self.watches.values().any(gone) {
            self.watches.retain(|key, watch| {
                if watch.last != now && watch.stored {
                    forget.push(key.clone());
                }
                watch.last == now
            });
        }
        // What a term before it remembered and this one does not find has ended since.
        forget.extend(self.remembered.drain().map(|(key, _)| key));
    }

    fn standing(&self, subject: &Subject<K, C>) -> Option<Standing> {
        let watch = self.watches.get(&subject.key)?;
        let set = subject.reap_after.max(self.limits.floor);
        let longer = if self.is_on(Gate::Health) { self.longer(set) } else { 1 };
        let threshold = set * longer;
        let fresh = !self.is_on(Gate::Fresh)
            || watch.sweeps >= Limits::FRESH_SWEEPS && watch.seen >= self.limits.fresh(subject.beat_every);
        Some(Standing {
            silence: Silence {
                silent_ms: whole_ms(watch.silent),
                threshold_ms: whole_ms(threshold),
                longer,
                seen_ms: whole_ms(watch.seen),
                sweeps: watch.sweeps,
                population: 0,
                suspects: 0,
            },
            suspect: watch.silent >= threshold / 2,
            due: watch.silent >= threshold,
            fresh,
            threshold,
        })
    }

    /// By how much a threshold is lengthened: a judge whose own questions take a tenth of it judges with care.
    fn longer(&self, threshold: Duration) -> u32 {
        let slowest = self.took.iter().max().copied().unwrap_or_default();
        let tenth = (threshold / 10).as_micros().max(1);
        let times = slowest.as_micros().div_ceil(tenth).max(1);
        u32::try_from(times).unwrap_or(MOST_LONGER).min(MOST_LONGER)
    }

    fn rule(
        &mut self,
        sweep: &Sweep<K, C>,
        standings: Vec<Standing>,
        charge: Duration,
        beat: bool,
        forget: Vec<K>,
    ) -> Ruling<K, C> {
        let population = sweep.subjects.len();
        let pairs = || sweep.subjects.iter().zip(&standings);
        let suspects =
            pairs().filter(|(subject, standing)| standing.suspect && self.proof(subject).is_none()).count();
        let longest =
            standings.iter().filter(|one| one.suspect).map(|one| one.threshold).max().unwrap_or_default();
        let most = self.limits.most(population);
        self.brake.see(suspects > most, charge, beat);
        let brakes = self.is_on(Gate::Brake);
        let holds = brakes && self.brake.holds(longest);
        let mut ruling = Ruling {
            condemned: Vec::new(),
            counts: Counts { population, suspect: suspects, ..Counts::default() },
            held: holds.then_some(Held::Brake { suspects, most, population }),
            remember: Vec::new(),
            forget,
            charged: charge,
        };
        let mut left = if brakes { most } else { usize::MAX };
        for (subject, standing) in pairs() {
            let condemned =
                |ground| Condemned { key: subject.key.clone(), counter: subject.counter.clone(), ground };
            ruling.counts.due += usize::from(standing.due);
            if let Some(proof) = self.proof(subject) {
                ruling.condemned.push(condemned(Ground::Proof { proof }));
            } else if standing.due && standing.fresh && !holds && left > 0 {
                left -= 1;
                let silence = Silence { population, suspects, ..standing.silence };
                ruling.condemned.push(condemned(Ground::Silence(silence)));
            }
        }
        self.report(sweep, &mut ruling);
        ruling
    }

    fn proof(&self, subject: &Subject<K, C>) -> Option<Proof> {
        subject.proof.filter(|_| self.is_on(Gate::Proof))
    }

    /// What is to be stored.
    fn report(&mut self, sweep: &Sweep<K, C>, ruling: &mut Ruling<K, C>) {
        for subject in &sweep.subjects {
            let Some(watch) = self.watches.get_mut(&subject.key) else { continue };
            let late = watch.silent >= (self.limits.sweep_every * 2).max(subject.beat_every * 2);
            ruling.counts.silent += usize::from(late);
            if late && !ruling.charged.is_zero() {
                watch.stored = true;
                let row = Remembered {
                    key: subject.key.clone(),
                    counter: watch.counter.clone(),
                    silent: watch.silent,
                };
                ruling.remember.push(row);
            }
        }
    }
}

fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
