//! One sweep: look, judge, take.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use palisade_core::actor::ProcessRef;
use palisade_core::record::Phase;
use palisade_host::clock::{self, Stopwatch};
use palisade_host::process;
use palisade_jobs::reaper::{Condemned, Held, Judge, Remembered, Roll, Ruling, Sweep, reaps};
use palisade_jobs::store::{Beats, Reap, Reaped, Silent};
use palisade_jobs::{Error as StoreError, Incarnation, JobStore, Worker};
use palisade_lease::LeaseStore;
use tokio::time::timeout;

use super::news::{Clerk, News, Taking};
use super::sitting::{Chair, PATIENCE, Term};

/// So many jobs are taken from one worker in one transaction.
const TOGETHER: u32 = 10_000;
/// How long that may take.
const TAKING: Duration = Duration::from_secs(30);

impl<L, K> Chair<'_, L, K>
where
    L: LeaseStore,
    L::Error: Display,
    K: Clerk,
{
    pub(super) async fn sweep<S: JobStore>(&self, term: &mut Term<S>) {
        let seen = match timeout(PATIENCE, self.look(term)).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(error)) => {
                term.judge.could_not_see();
                self.fault(&error);
                return;
            }
            Err(_) => {
                term.judge.could_not_see();
                self.fault(&"no answer to a sweep in time");
                return;
            }
        };
        let ruling = term.judge.judge(&seen);
        self.tell_brake(term, &ruling);
        self.remember(term, &ruling).await;
        for condemned in &ruling.condemned {
            self.take(term, condemned).await;
            if term.over {
                return;
            }
        }
    }

    async fn look<S: JobStore>(&self, term: &mut Term<S>) -> Result<Sweep<Incarnation, u64>, StoreError> {
        let every = self.settings.limits.sweep_every;
        let asked = Stopwatch::start();
        let beats = term.store.beats().await?;
        let (took, judge_us) = (asked.elapsed(), clock::boot_us());
        if term.run.is_some_and(|run| run != beats.run) {
            self.compare_timelines(term).await?;
        }
        term.run = Some(beats.run);
        let ask = term.roll.see(&beats, every);
        if !ask.is_empty() {
            let holders = term.store.holders(&ask).await?;
            term.roll.learn(holders);
        }
        let Beats { now_us, run, .. } = beats;
        Ok(Sweep {
            store_run: run,
            store_us: now_us,
            judge_us,
            took,
            canary: term.renewed.elapsed() <= every * 2,
            subjects: term.roll.subjects(&self.place, is_alive, every),
        })
    }

    /// After a restore, or behind another server, what was seen says nothing.
    async fn compare_timelines<S: JobStore>(&self, term: &mut Term<S>) -> Result<(), StoreError> {
        let timeline = term.store.timeline().await?;
        if timeline != term.timeline {
            term.timeline = timeline;
            term.judge = Judge::new(self.settings.limits.clone(), Vec::new());
            term.judge.could_not_see();
            term.roll = Roll::default();
            self.clerk.tell(&News::OtherTimeline);
        }
        Ok(())
    }

    fn tell_brake<S>(&self, term: &mut Term<S>, ruling: &Ruling<Incarnation, u64>) {
        if term.braked == ruling.held {
            return;
        }
        // How many they are changes with each sweep; that they are too many is said once.
        if let (Some(Held::Brake { suspects, most, population }), None) = (ruling.held, term.braked) {
            self.clerk.tell(&News::Held { suspects, most, workers: population });
        } else if ruling.held.is_none() {
            self.clerk.tell(&News::Released);
        }
        term.braked = ruling.held;
    }

    async fn remember<S: JobStore>(&self, term: &Term<S>, ruling: &Ruling<Incarnation, u64>) {
        if ruling.remember.is_empty() && ruling.forget.is_empty() {
            return;
        }
        let silent = |row: &Remembered<Incarnation, u64>| Silent {
            incarnation: row.key.clone(),
            beat: row.counter,
            silent_ms: u64::try_from(row.silent.as_millis()).unwrap_or(u64::MAX),
            suspect: term.roll.threshold(&row.key).is_some_and(|threshold| row.silent >= threshold / 2),
        };
        let silences: Vec<Silent> = ruling.remember.iter().map(silent).collect();
        let kept = timeout(PATIENCE, term.store.remember(&term.timeline, &silences, &ruling.forget)).await;
        match kept {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.fault(&error),
            Err(_) => self.fault(&"silences could not be kept in time"),
        }
    }

    async fn take<S: JobStore>(&self, term: &mut Term<S>, condemned: &Condemned<Incarnation, u64>) {
        let (who, beat) = (&condemned.key, condemned.counter);
        let Some(worker) = term.roll.worker(who).cloned() else { return };
        let claims = match timeout(PATIENCE, term.store.claims_of(who, TOGETHER)).await {
            Ok(Ok(claims)) => claims,
            Ok(Err(error)) => return self.fault(&error),
            Err(_) => return self.fault(&"no answer to what a worker holds"),
        };
        let floor = self.settings.limits.floor;
        let reaps = reaps(who, beat, condemned.ground, floor, &claims, &self.settings.by, &term.fence());
        if reaps.is_empty() {
            // Other claims than the rule was asked about: the next sweep asks again.
            return term.roll.taken(who);
        }
        if self.settings.dry {
            let told = (who.clone(), beat);
            if !term.told.contains(&told) {
                term.told.push(told);
                takings(&worker, &reaps).into_iter().for_each(|one| self.clerk.tell(&News::WouldReap(one)));
            }
            return;
        }
        self.reap(term, &worker, reaps).await;
        term.roll.taken(who);
    }

    async fn reap<S: JobStore>(&self, term: &mut Term<S>, worker: &Worker, mut reaps: Vec<Reap>) {
        let mut intents = takings(worker, &reaps);
        // What cannot be written down is not done.
        intents.retain(|taking| self.clerk.record(Phase::Begun, taking));
        reaps.retain(|reap| intents.iter().any(|taking| taking.reason == reap.reason));
        if reaps.is_empty() {
            return;
        }
        let problem = match timeout(TAKING, term.store.reap(&term.fence(), &reaps)).await {
            Ok(Ok(answers)) => return self.taken(term, worker, &reaps, &answers),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time; the next sweep shows what became of it".to_owned(),
        };
        for taking in intents {
            self.clerk.record(Phase::Failed, &taking);
            self.clerk.tell(&News::NotReaped { taking, problem: problem.clone() });
        }
    }

    fn taken<S>(&self, term: &mut Term<S>, worker: &Worker, reaps: &[Reap], answers: &[Reaped]) {
        let of = |wanted: fn(&Reaped) -> bool| -> Vec<Reap> {
            let pairs = reaps.iter().zip(answers);
            pairs.filter(|(_, answer)| wanted(answer)).map(|(reap, _)| reap.clone()).collect()
        };
        for taking in takings(worker, &of(|answer| matches!(answer, Reaped::Taken(_)))) {
            self.clerk.record(Phase::Done, &taking);
            self.clerk.tell(&News::Reaped(taking));
        }
        for taking in takings(worker, &of(|answer| *answer == Reaped::Refuted)) {
            self.clerk.record(Phase::Failed, &taking);
            self.clerk.tell(&News::Refuted(taking));
        }
        for taking in takings(worker, &of(|answer| *answer == Reaped::TermOver)) {
            self.clerk.record(Phase::Failed, &taking);
            term.over = true;
        }
        if term.over {
            self.clerk.tell(&News::TermOver);
        }
    }
}

/// Reaps of one worker, those with one reason together.
fn takings(worker: &Worker, reaps: &[Reap]) -> Vec<Taking> {
    let mut jobs: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for reap in reaps {
        jobs.entry(&reap.reason).or_default().push(reap.job);
    }
    let taking =
        |(reason, jobs): (&str, _)| Taking { worker: worker.clone(), jobs, reason: reason.to_owned() };
    jobs.into_iter().map(taking).collect()
}

fn is_alive(worker: &Worker) -> bool {
    process::is_alive(ProcessRef { pid: worker.by.pid, start_ticks: worker.start_ticks })
}
