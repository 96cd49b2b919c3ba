//! Workers as a reaper's docket: their beats, what they hold, and how that is taken from them.

use std::collections::BTreeMap;
use std::time::Duration;

use palisade_core::Intended;
use palisade_core::actor::ProcessRef;
use palisade_host::clock::{self, Stopwatch};
use palisade_host::process;
use palisade_jobs::reaper::{Condemned, Limits, Paces, Place, Remembered, Roll, reap_of_stuck, reaps};
use palisade_jobs::store::{Fence, Reap, Reaped, Silent};
use palisade_jobs::{Error, Incarnation, JobStore, Note, Worker};
use palisade_lease::Held;
use palisade_reaper::{Answer, Docket, Job, Look, Of, Remembers, Stuck, Taking};

/// So many jobs are taken from one worker in one pass, and of several hardly more.
const TOGETHER: u32 = 10_000;

/// For so long it is asked in one pass what the condemned hold, one after the other.
const ASKING: Duration = Duration::from_secs(2);

/// The workers of a store.
#[derive(Debug)]
pub struct Workers<S, O> {
    open: O,
    limits: Limits,
    place: Place,
    by: Note,
    seen: Option<Seen<S>>,
}

/// What is known under one term.
#[derive(Debug)]
struct Seen<S> {
    store: S,
    roll: Roll,
    paces: Paces,
    /// It was said that too many are stuck, and they still are.
    too_many: bool,
    timeline: String,
    run: Option<u64>,
}

impl<S, O> Workers<S, O> {
    /// The workers of the store that `open` opens, for a reaper at `place` that reasons name as `by`.
    pub const fn new(open: O, limits: Limits, place: Place, by: Note) -> Self {
        Self { open, limits, place, by, seen: None }
    }
}

impl<S: JobStore> Seen<S> {
    /// Whether another history of the store answers than before. After a restore, or behind another server, what was
    /// seen says nothing.
    async fn is_anew(&mut self) -> Result<bool, Error> {
        let timeline = self.store.timeline().await?;
        if timeline == self.timeline {
            return Ok(false);
        }
        self.timeline = timeline;
        (self.roll, self.paces) = (Roll::default(), Paces::default());
        Ok(true)
    }
}

impl<S, O, C> Workers<S, O>
where
    S: JobStore,
    O: Fn() -> C + Send,
    C: Future<Output = Result<S, Error>> + Send,
{
    /// What is known under this term; at its begin, and where that was cut off, nothing yet.
    async fn seen(&mut self) -> Result<&mut Seen<S>, Error> {
        let seen = match self.seen.take() {
            Some(seen) => seen,
            None => {
                let opening = (self.open)();
                let store = opening.await?;
                let timeline = store.timeline().await?;
                let (roll, paces) = (Roll::default(), Paces::default());
                Seen { store, roll, paces, too_many: false, timeline, run: None }
            }
        };
        Ok(self.seen.insert(seen))
    }
}

impl<S, O, C> Docket for Workers<S, O>
where
    S: JobStore,
    O: Fn() -> C + Send,
    C: Future<Output = Result<S, Error>> + Send,
{
    type Key = Incarnation;
    type Counter = u64;
    type Wanted = Reap;
    type Error = Error;

    const IN_A_PASS: usize = 64;
    const TOGETHER: usize = TOGETHER as usize;

    async fn begin(&mut self) -> Result<Remembers<Self>, Error> {
        self.seen = None;
        let seen = self.seen().await?;
        let remembered = seen.store.recall(&seen.timeline).await?.into_iter().map(|row| Remembered {
            key: row.incarnation,
            counter: row.beat,
            silent: Duration::from_millis(row.silent_ms),
        });
        Ok(remembered.collect())
    }

    async fn look(&mut self) -> Result<Look<Incarnation, u64>, Error> {
        let (every, place) = (self.limits.sweep_every, self.place.clone());
        let seen = self.seen().await?;
        let asked = Stopwatch::start();
        let beats = seen.store.beats().await?;
        let (took, judge_us) = (asked.elapsed(), clock::boot_us());
        let anew = seen.run.is_some_and(|run| run != beats.run) && seen.is_anew().await?;
        seen.run = Some(beats.run);
        let ask = seen.roll.see(&beats, every);
        if !ask.is_empty() {
            let holders = seen.store.holders(&ask).await?;
            seen.roll.learn(holders);
        }
        let subjects = seen.roll.subjects(&place, is_alive, every);
        Ok(Look { run: beats.run, store_us: beats.now_us, judge_us, took, anew, subjects })
    }

    async fn remember(
        &mut self,
        silences: &[Remembered<Incarnation, u64>],
        forget: &[Incarnation],
    ) -> Result<(), Error> {
        let seen = self.seen().await?;
        let silent = |row: &Remembered<Incarnation, u64>| Silent {
            incarnation: row.key.clone(),
            beat: row.counter,
            silent_ms: u64::try_from(row.silent.as_millis()).unwrap_or(u64::MAX),
            suspect: seen.roll.threshold(&row.key).is_some_and(|threshold| row.silent >= threshold / 2),
        };
        let silences: Vec<Silent> = silences.iter().map(silent).collect();
        seen.store.remember(&seen.timeline, &silences, forget).await
    }

    async fn wanted(
        &mut self,
        condemned: &[Condemned<Incarnation, u64>],
        under: &Held,
    ) -> Result<(Vec<Reap>, usize), Error> {
        let (floor, by, fence) = (self.limits.floor, self.by.clone(), fence(under));
        let seen = self.seen().await?;
        let (mut wanted, mut of, asked) = (Vec::new(), 0, Stopwatch::start());
        for Condemned { key, counter, ground } in condemned {
            if wanted.len() >= Self::TOGETHER || asked.elapsed() >= ASKING {
                break;
            }
            of += 1;
            let claims = seen.store.claims_of(key, TOGETHER).await?;
            wanted.extend(reaps(key, *counter, *ground, floor, &claims, &by, &fence));
            // Whatever comes of it: what it holds then is another matter, and asked for anew.
            seen.roll.taken(key);
        }
        Ok((wanted, of))
    }

    async fn stuck(&mut self, charged: Duration, under: &Held) -> Result<Stuck<Reap>, Error> {
        let (limits, by, fence) = (self.limits.clone(), self.by.clone(), fence(under));
        let seen = self.seen().await?;
        let mut found = Stuck::default();
        if !seen.paces.pass(charged, limits.sweep_every) {
            return Ok(found);
        }
        let jobs = seen.store.paced().await?;
        let roll = &seen.roll;
        for (job, idle, new) in seen.paces.see(&jobs, |who| roll.beat(who)) {
            if let Some(worker) = roll.worker(&job.incarnation).filter(|_| new) {
                let (of, jobs) = (Of::Worker(Box::new(worker.clone())), vec![Job::Id(job.job)]);
                found.news.push(Taking { of, jobs, reason: idle.to_string(), ground: None });
            }
            if job.on_stuck.taken().is_some() {
                found.wanted.push(reap_of_stuck(job, idle, &by, &fence));
            }
        }
        let (stuck, most) = (found.wanted.len(), limits.most(jobs.len()));
        let told = std::mem::replace(&mut seen.too_many, stuck > most);
        if stuck > most {
            found.wanted.clear();
            found.too_many = (!told).then_some((stuck, most));
        }
        Ok(found)
    }

    fn takings(&self, wanted: &[&Reap]) -> Vec<Taking> {
        let mut jobs: BTreeMap<(&Incarnation, &str), Vec<Job>> = BTreeMap::new();
        for reap in wanted {
            jobs.entry((&reap.incarnation, &reap.reason)).or_default().push(Job::Id(reap.job));
        }
        let taking = |((who, reason), jobs): ((&Incarnation, &str), _)| {
            let worker = self.seen.as_ref()?.roll.worker(who)?.clone();
            Some(Taking { of: Of::Worker(Box::new(worker)), jobs, reason: reason.to_owned(), ground: None })
        };
        jobs.into_iter().filter_map(taking).collect()
    }

    async fn take(&mut self, wanted: &[Reap], under: &Held, _: &Intended) -> Result<Vec<Answer>, Error> {
        let answers = self.seen().await?.store.reap(&fence(under), wanted).await?;
        let answer = |reaped: &Reaped| match reaped {
            Reaped::Taken(_) => Answer::Taken,
            Reaped::Refuted => Answer::Refuted,
            Reaped::TermOver => Answer::TermOver,
        };
        Ok(answers.iter().map(answer).collect())
    }
}

fn fence(under: &Held) -> Fence {
    Fence { term: under.term.number(), holder: under.holder.as_str().to_owned() }
}

fn is_alive(worker: &Worker) -> bool {
    process::is_alive(ProcessRef { pid: worker.by.pid, start_ticks: worker.start_ticks })
}
