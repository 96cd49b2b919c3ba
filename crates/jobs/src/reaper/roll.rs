//! The roll of a store's workers: from what a sweep saw and what is known of each to the judge's subjects, and from
//! its rulings to reaps.
//!
//! A sweep sees beats and nothing else. What a worker holds is asked for when it is seen first, and again once it has
//! missed beats: a worker that beats is not asked about, however many jobs it runs.

use std::collections::HashMap;
use std::time::Duration;

use super::{Ground, Proof, Silence, Subject};
use crate::claim::{Evidence, Terms};
use crate::id::Incarnation;
use crate::job::Note;
use crate::store::{Beats, Fence, HeldClaim, Holder, Reap};
use crate::worker::Worker;

use super::pace::{Idle, Paced};
use super::reason::{Reaper, Reason};

/// A worker that holds nothing can be silent for so long: it is nobody's business.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Of a worker whose claims are not known, this is taken to be its beat.
const USUAL_BEAT: Duration = Duration::from_secs(10);

/// Who may say on which machine a worker runs: the judge's own place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Id of its machine.
    pub machine_id: String,
    /// Id of the boot of its machine.
    pub boot_id: String,
    /// Which numbers of processes it sees; none where that is not known.
    pub pid_space: Option<String>,
}

/// What is known of each worker beside its silence.
#[derive(Debug, Default)]
pub struct Roll {
    known: HashMap<Incarnation, Known>,
    sweep: u64,
}

#[derive(Debug)]
struct Known {
    worker: Option<Worker>,
    beat: u64,
    /// The sweep that saw it change last.
    changed: u64,
    /// Whether this roll has seen it change at all.
    beats: bool,
    /// So many sweeps were between its last two changes.
    usual: Option<u64>,
    held: Held,
    /// The sweep that asked for it last.
    asked: u64,
    /// From this sweep on it is asked for again, unless it beats.
    ask_at: u64,
    seen: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Held {
    /// Not asked for yet.
    Unknown,
    /// Nothing.
    Nothing,
    /// The shortest of its terms.
    Least(Terms),
}

impl Roll {
    /// Takes in what a sweep saw, and gives whose claims have to be asked for before [`Self::subjects`].
    pub fn see(&mut self, beats: &Beats, sweep_every: Duration) -> Vec<Incarnation> {
        self.sweep += 1;
        let now = self.sweep;
        let mut ask = Vec::new();
        for (who, beat) in &beats.workers {
            let known = self.known.entry(who.clone()).or_insert_with(|| Known::first(*beat, now));
            known.see(*beat, now);
            if now >= known.ask_at && (known.held == Held::Unknown || known.missed(now, sweep_every)) {
                ask.push(who.clone());
            }
        }
        self.known.retain(|_, known| known.seen == now);
        ask
    }

    /// Takes in what was asked for. The next time is twice as far away, so that the dead cost little.
    pub fn learn(&mut self, holders: Vec<Holder>) {
        let now = self.sweep;
        for holder in holders {
            let Some(known) = self.known.get_mut(&holder.worker.incarnation) else { continue };
            known.held = match holder.least {
                Some(least) => Held::Least(least),
                None => Held::Nothing,
            };
            known.asked = now;
            known.ask_at = now + (now - known.changed).max(1);
            known.worker = Some(holder.worker);
        }
    }

    /// Who is to be judged. `is_alive` says whether a process of this machine, as this judge sees them, still runs.
    pub fn subjects(
        &self,
        place: &Place,
        is_alive: impl Fn(&Worker) -> bool,
        sweep_every: Duration,
    ) -> Vec<Subject<Incarnation, u64>> {
        let mut subjects: Vec<Subject<Incarnation, u64>> = Vec::with_capacity(self.known.len());
        for (who, known) in &self.known {
            let terms = match known.held {
                // Silent, and asked since: nobody waits for it.
                Held::Nothing if known.asked > known.changed => continue,
                Held::Nothing | Held::Unknown => None,
                Held::Least(terms) => Some(terms),
            };
            let proof = || {
                let worker = known.worker.as_ref()?;
                let proof = proof(place, worker, &is_alive)?;
                // Images of machines are copied together with their id: a copy that beats is no dead worker.
                let sure = proof != Proof::OtherBoot || known.missed(self.sweep, sweep_every);
                sure.then_some(proof)
            };
            subjects.push(Subject {
                key: who.clone(),
                counter: known.beat,
                reap_after: terms.map_or(NEVER, |terms| Duration::from_millis(terms.reap_after_ms)),
                fixed: true,
                beat_every: terms.map_or(USUAL_BEAT, |terms| Duration::from_millis(terms.beat_every_ms)),
                proof: if terms.is_some() { proof() } else { None },
            });
        }
        subjects.sort_by(|one, other| one.key.cmp(&other.key));
        subjects
    }

    /// Who it is, where that was asked for.
    #[must_use]
    pub fn worker(&self, who: &Incarnation) -> Option<&Worker> {
        self.known.get(who)?.worker.as_ref()
    }

    /// Its last beat, if it did not say goodbye.
    #[must_use]
    pub fn beat(&self, who: &Incarnation) -> Option<u64> {
        self.known.get(who).map(|known| known.beat)
    }

    /// The shortest threshold of what it holds, where that is known.
    #[must_use]
    pub fn threshold(&self, who: &Incarnation) -> Option<Duration> {
        match self.known.get(who)?.held {
            Held::Least(terms) => Some(Duration::from_millis(terms.reap_after_ms)),
            Held::Nothing | Held::Unknown => None,
        }
    }

    /// Its claims were asked for and taken, or there are none: what it holds has to be asked for again.
    pub fn taken(&mut self, who: &Incarnation) {
        if let Some(known) = self.known.get_mut(who) {
            known.ask_at = self.sweep + 1;
            known.held = Held::Unknown;
        }
    }
}

impl Known {
    const fn first(beat: u64, now: u64) -> Self {
        Self {
            worker: None,
            beat,
            changed: now,
            beats: false,
            usual: None,
            held: Held::Unknown,
            asked: 0,
            ask_at: now,
            seen: now,
        }
    }

    fn see(&mut self, beat: u64, now: u64) {
        self.seen = now;
        if self.beat != beat {
            self.usual = self.beats.then_some(now - self.changed);
            self.beats = true;
            (self.beat, self.changed, self.ask_at) = (beat, now, now);
        }
    }

    /// Whether it has not beaten for two of its beats and two sweeps.
    fn missed(&self, now: u64, sweep_every: Duration) -> bool {
        let beat = match self.held {
            Held::Least(terms) => Duration::from_millis(terms.beat_every_ms),
            Held::Nothing | Held::Unknown => Duration::ZERO,
        };
        let sweeps = beat.as_micros().div_ceil(sweep_every.as_micros().max(1));
        let sweeps = u64::try_from(sweeps).unwrap_or(u64::MAX).min(self.usual.unwrap_or(u64::MAX));
        now - self.changed >= sweeps.saturating_mul(2).max(2)
    }
}

/// What proves that a worker is dead.
fn proof(place: &Place, worker: &Worker, is_alive: impl Fn(&Worker) -> bool) -> Option<Proof> {
    if worker.boot_id == place.boot_id {
        let comparable = place.pid_space.is_some() && place.pid_space == worker.pid_space;
        return (comparable && !is_alive(worker)).then_some(Proof::ProcessGone);
    }
    let same_machine = !place.machine_id.is_empty() && worker.by.machine_id == place.machine_id;
    same_machine.then_some(Proof::OtherBoot)
}

/// The reaps that follow from a condemnation, for the claims whose own threshold has passed. Claims of one queue
/// with the same threshold share a reason.
#[must_use]
pub fn reaps(
    worker: &Incarnation,
    beat: u64,
    ground: Ground,
    floor: Duration,
    claims: &[HeldClaim],
    by: &Note,
    under: &Fence,
) -> Vec<Reap> {
    let due = |claim: &&HeldClaim| match ground {
        Ground::Proof { .. } => true,
        Ground::Silence(silence) => silence.silent_ms >= threshold_ms(claim, floor, silence.longer),
        Ground::Stuck(_) => false,
    };
    let mut reasons: HashMap<(u64, u64), String> = HashMap::new();
    let one = |claim: &HeldClaim| {
        let ground = of_claim(ground, claim, floor);
        let key = (claim.revision, claim.terms.reap_after_ms);
        let reason = reasons.entry(key).or_insert_with(|| {
            let reaper = Reaper { by: by.clone(), term: under.term, policy: claim.revision };
            Reason { ground, reaper }.to_string()
        });
        Reap {
            job: claim.job,
            token: claim.token,
            incarnation: worker.clone(),
            evidence: evidence(ground, beat, claim, under),
            reason: reason.clone(),
            by: by.clone(),
        }
    };
    claims.iter().filter(due).map(one).collect()
}

fn threshold_ms(claim: &HeldClaim, floor: Duration, longer: u32) -> u64 {
    let floor = u64::try_from(floor.as_millis()).unwrap_or(u64::MAX);
    claim.terms.reap_after_ms.max(floor).saturating_mul(u64::from(longer))
}

/// The same ground, with the claim's own threshold.
fn of_claim(ground: Ground, claim: &HeldClaim, floor: Duration) -> Ground {
    match ground {
        Ground::Proof { .. } | Ground::Stuck(_) => ground,
        Ground::Silence(silence) => {
            Ground::Silence(Silence { threshold_ms: threshold_ms(claim, floor, silence.longer), ..silence })
        }
    }
}

fn evidence(ground: Ground, beat: u64, claim: &HeldClaim, under: &Fence) -> Evidence {
    let mut evidence = Evidence::new(under.term, beat, 0, claim.terms.reap_after_ms);
    evidence.holder.clone_from(&under.holder);
    evidence.policy = claim.revision;
    match ground {
        Ground::Proof { proof } => evidence.proof = Some(proof.as_str().to_owned()),
        Ground::Silence(silence) => {
            evidence.silent_ms = silence.silent_ms;
            evidence.reap_after_ms = silence.threshold_ms;
            evidence.seen_ms = silence.seen_ms;
            evidence.sweeps = silence.sweeps;
            evidence.workers = silence.population;
            evidence.suspects = silence.suspects;
        }
        Ground::Stuck(idle) => evidence.stuck = Some(idle),
    }
    evidence
}

/// The reap of a stuck job whose queue gives it away.
#[must_use]
pub fn reap_of_stuck(stuck: &Paced, idle: Idle, by: &Note, under: &Fence) -> Reap {
    let ground = Ground::Stuck(idle);
    let reaper = Reaper { by: by.clone(), term: under.term, policy: stuck.revision };
    let mut evidence = Evidence::new(under.term, 0, 0, 0);
    evidence.holder.clone_from(&under.holder);
    (evidence.policy, evidence.stuck) = (stuck.revision, Some(idle));
    Reap {
        job: stuck.job,
        token: stuck.token,
        incarnation: stuck.incarnation.clone(),
        evidence,
        reason: Reason { ground, reaper }.to_string(),
        by: by.clone(),
    }
}

#[cfg(test)]
mod tests {
    use palisade_core::QueueName;

    use super::*;
    use crate::id::{JobId, Token};

    const SWEEP: Duration = Duration::from_secs(5);
    const TERMS: Terms = Terms { beat_every_ms: 20_000, reap_after_ms: 3_600_000, self_fence_ms: 2_100_000 };

    fn who() -> Incarnation {
        Incarnation::from_bits(1)
    }

    fn by(machine: &str) -> Note {
        Note {
            app: None,
            environment: None,
            version: None,
            host: "web-1".to_owned(),
            pid: 42,
            machine_id: machine.to_owned(),
        }
    }

    fn worker(machine: &str, boot: &str, space: Option<&str>) -> Worker {
        Worker {
            name: "w".to_owned(),
            incarnation: who(),
            by: by(machine),
            start_ticks: 7,
            boot_id: boot.to_owned(),
            pid_space: space.map(str::to_owned),
        }
    }

    fn place() -> Place {
        Place { machine_id: "m".to_owned(), boot_id: "b".to_owned(), pid_space: Some("pid:[1]".to_owned()) }
    }

    /// Sweeps with these beats; in which of them it asked.
    fn asked(roll: &mut Roll, beats: &[u64], least: Option<Terms>) -> Vec<usize> {
        let mut asked = Vec::new();
        for (at, beat) in beats.iter().enumerate() {
            let seen = Beats { now_us: 0, run: 0, workers: vec![(who(), *beat)] };
            if !roll.see(&seen, SWEEP).is_empty() {
                let jobs = u64::from(least.is_some());
                roll.learn(vec![Holder { worker: worker("m", "b", None), jobs, least }]);
                asked.push(at);
            }
        }
        asked
    }

    #[test]
    fn a_worker_that_beats_is_asked_about_once_and_one_that_stops_again_and_ever_more_seldom() {
        let mut roll = Roll::default();
        let beating: Vec<u64> = (0..40).map(|sweep| sweep / 4).collect();
        assert_eq!(asked(&mut roll, &beating, Some(TERMS)), [0]);
        let silent = asked(&mut roll, &[9; 100], Some(TERMS));
        assert_eq!(silent.len(), 4, "{silent:?}");
        assert!(silent[0] <= 8, "two beats and some: {silent:?}");
    }

    #[test]
    fn who_is_silent_and_holds_nothing_is_nobody_until_it_beats() {
        let mut roll = Roll::default();
        asked(&mut roll, &[3, 3, 3, 3], None);
        assert!(roll.subjects(&place(), |_| true, SWEEP).is_empty());
        asked(&mut roll, &[4], None);
        assert_eq!(roll.subjects(&place(), |_| true, SWEEP).len(), 1);
    }

    #[test]
    fn a_death_is_proven_from_the_same_place_only() {
        let place = place();
        let gone = |worker: &Worker| proof(&place, worker, |_| false);
        assert_eq!(gone(&worker("m", "b", Some("pid:[1]"))), Some(Proof::ProcessGone));
        assert_eq!(proof(&place, &worker("m", "b", Some("pid:[1]")), |_| true), None);
        assert_eq!(gone(&worker("m", "b", Some("pid:[2]"))), None, "another container");
        assert_eq!(gone(&worker("m", "b", None)), None, "a client of before");
        assert_eq!(gone(&worker("other", "other", Some("pid:[1]"))), None, "another machine");
        assert_eq!(gone(&worker("m", "other", Some("pid:[1]"))), Some(Proof::OtherBoot));
        assert_eq!(
            proof(&Place { machine_id: String::new(), ..place.clone() }, &worker("", "other", None), |_| {
                false
            }),
            None
        );
    }

    #[test]
    fn a_copy_of_a_machine_that_beats_is_no_dead_worker() {
        let mut roll = Roll::default();
        let elsewhere = Place { boot_id: "another".to_owned(), ..place() };
        let proven = |roll: &Roll| roll.subjects(&elsewhere, |_| false, SWEEP)[0].proof;
        asked(&mut roll, &[1, 2, 3], Some(TERMS));
        assert_eq!(proven(&roll), None);
        asked(&mut roll, &[3; 12], Some(TERMS));
        assert_eq!(proven(&roll), Some(Proof::OtherBoot));
    }

    #[test]
    fn only_claims_whose_own_threshold_has_passed_are_taken() {
        let claim = |job, reap_after_ms| HeldClaim {
            job: JobId(job),
            token: Token(job),
            terms: Terms { reap_after_ms, ..TERMS },
            queue: QueueName::new("q").unwrap(),
            revision: 2,
        };
        let silence = Silence {
            silent_ms: 70_000,
            threshold_ms: 60_000,
            longer: 1,
            seen_ms: 70_000,
            sweeps: 14,
            population: 9,
            suspects: 1,
        };
        let under = Fence { term: 4, holder: "one".to_owned() };
        let taken = |ground, floor| -> Vec<i64> {
            let claims = [claim(1, 60_000), claim(2, 80_000)];
            let reaps = reaps(&who(), 3, ground, floor, &claims, &by("m"), &under);
            assert!(reaps.iter().all(|reap| reap.reason.ends_with("Reaper: m")), "{reaps:?}");
            reaps.iter().map(|reap| reap.job.0).collect()
        };
        assert_eq!(taken(Ground::Silence(silence), Duration::ZERO), [1]);
        assert_eq!(taken(Ground::Silence(silence), Duration::from_secs(71)), [0_i64; 0]);
        assert_eq!(taken(Ground::Silence(Silence { longer: 2, ..silence }), Duration::ZERO), [0_i64; 0]);
        assert_eq!(taken(Ground::Proof { proof: Proof::ProcessGone }, Duration::ZERO), [1, 2]);
    }
}
