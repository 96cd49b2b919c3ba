//! The signs of life: a thread, a runtime and a connection of their own, so that a busy handler does not look dead.
//!
//! The same thread fences the claims, so that a beat that waits for its answer holds up no fence.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use palisade_host::clock;
use palisade_jobs::{Beat, BeatAnswer, Error, Incarnation, JobId, JobStore, Token};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::hold::{Acknowledged, Hold, Stop};
use crate::holds::{Due, IDLE, LOOK, Watched};
use crate::pulse::{Follow, Pulse};
use crate::report::{Report, Reports};

/// What the beats say to the loop that claims.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Health {
    /// The last beat was acknowledged.
    pub(crate) may_claim: bool,
    /// How often one was acknowledged after some were not: the store may have forgotten something meanwhile.
    pub(crate) returns: u32,
    /// The store refuses this worker: it has to end.
    pub(crate) refused: Option<String>,
}

/// Everything that the thread needs.
#[derive(Debug)]
pub(crate) struct Beats<O> {
    pub(crate) open: O,
    pub(crate) incarnation: Incarnation,
    pub(crate) acknowledged: Arc<Acknowledged>,
    pub(crate) holds: Watched,
    pub(crate) health: watch::Sender<Health>,
    pub(crate) reports: Reports,
}

/// A missed beat is followed by the next after so long at most.
const AGAIN: Duration = Duration::from_secs(1);

impl<O, F, S> Beats<O>
where
    O: Fn() -> F,
    F: Future<Output = Result<S, Error>>,
    S: JobStore,
{
    /// Beats in a thread of its own, until the holds' sender is gone.
    pub(crate) fn begin(self) -> std::io::Result<JoinHandle<std::io::Result<()>>>
    where
        O: Send + 'static,
    {
        std::thread::Builder::new().name("beats".to_owned()).spawn(move || self.run())
    }

    fn run(mut self) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let holds = self.holds.clone();
        runtime.block_on(async {
            tokio::select! {
                () = self.beat_on() => {}
                () = fence_on(holds) => {}
            }
        });
        Ok(())
    }

    async fn beat_on(&mut self) {
        let mut pulse = Pulse::new(self.acknowledged.at());
        let mut store = None;
        loop {
            let (due, holds) = (self.holds.due(), self.holds.all());
            let began_ms = clock::boot_ms();
            let answer = self.one(&mut store, &mut pulse, &holds, patience(due)).await;
            if answer.is_err() {
                // The next one makes a connection of its own.
                store = None;
            }
            let follow = pulse.judge(began_ms, clock::boot_ms(), answer);
            if !self.follow(follow, &pulse, &holds) || !self.rest(&pulse, began_ms).await {
                return;
            }
        }
    }

    /// One beat, with what moved since the last one that was acknowledged.
    async fn one(
        &self,
        store: &mut Option<S>,
        pulse: &mut Pulse,
        holds: &[Arc<Hold>],
        patience: Duration,
    ) -> Result<BeatAnswer, Error> {
        let progress: Vec<(JobId, Token, i64)> =
            holds.iter().filter_map(|hold| Some((hold.job, hold.token, hold.take_progress()?))).collect();
        let trouble: Vec<(JobId, Token, Option<String>)> =
            holds.iter().filter_map(|hold| Some((hold.job, hold.token, hold.new_trouble()?))).collect();
        let beat = Beat {
            incarnation: self.incarnation.clone(),
            sequence: pulse.begin(),
            progress,
            trouble: trouble.clone(),
        };
        let asking = async {
            let open = match store.take() {
                Some(open) => open,
                None => (self.open)().await?,
            };
            store.insert(open).beat(&beat).await
        };
        let late = || Error::Unknown {
            store: "the store".to_owned(),
            problem: format!("no answer to a beat within {} ms", patience.as_millis()),
        };
        let answer = timeout(patience, asking).await.unwrap_or_else(|_| Err(late()));
        for hold in holds {
            match &answer {
                Ok(_) => {
                    if let Some((.., told)) = trouble.iter().find(|(_, token, _)| *token == hold.token) {
                        hold.told_trouble(told.clone());
                    }
                }
                Err(_) if beat.progress.iter().any(|(_, token, _)| *token == hold.token) => {
                    hold.give_back_progress();
                }
                Err(_) => {}
            }
        }
        answer
    }

    /// Carries out what follows from a beat; whether there will be another.
    fn follow(&self, follow: Follow, pulse: &Pulse, holds: &[Arc<Hold>]) -> bool {
        match follow {
            Follow::Acknowledged { drop, cancel, missed, suspect } => {
                self.acknowledged.set(pulse.acknowledged_ms());
                if missed > 0 {
                    self.reports.tell(Report::BeatsAgain { missed });
                }
                if suspect {
                    self.reports.tell(Report::Suspected);
                }
                for hold in holds {
                    if drop.contains(&(hold.job, hold.token)) {
                        hold.stop(Stop::Spent);
                    } else if cancel.contains(&hold.job) {
                        hold.stop(Stop::Cancel);
                    }
                    if missed > 0 {
                        hold.beats_again(missed);
                    }
                }
                self.health.send_modify(|health| {
                    health.may_claim = pulse.may_claim();
                    health.returns += u32::from(missed > 0);
                });
                true
            }
            Follow::Missed { missed, for_ms, problem } => {
                self.reports.tell(Report::BeatMissed { missed, for_ms, problem });
                self.health.send_modify(|health| health.may_claim = false);
                true
            }
            Follow::End { problem } => {
                for hold in holds {
                    hold.stop(Stop::Spent);
                }
                self.health.send_modify(|health| (health.may_claim, health.refused) = (false, Some(problem)));
                false
            }
        }
    }

    /// Waits until the next beat is due. A new claim with shorter terms makes it due earlier; that nothing is held any more is
    /// seen a second later at most once it makes a difference. Whether to go on.
    async fn rest(&mut self, pulse: &Pulse, began_ms: u64) -> bool {
        loop {
            let passed = Duration::from_millis(clock::boot_ms().saturating_sub(began_ms));
            let Some(left) = left(self.holds.due(), pulse.may_claim(), passed) else { return true };
            tokio::select! {
                () = sleep(left) => {}
                more = self.holds.changed() => if !more { return false },
            }
        }
    }
}

/// Fences every claim in its time. Ends only when its caller ends it.
async fn fence_on(mut holds: Watched) {
    loop {
        // Looked at first: a claim that comes while the others are judged wakes this again.
        holds.due();
        let left = holds.all().iter().filter_map(|hold| hold.fenced_in()).min();
        let left = left.map_or(LOOK, |left_ms| LOOK.min(Duration::from_millis(left_ms)));
        tokio::select! {
            () = sleep(left) => {}
            more = holds.changed() => if !more {
                // The beats end by themselves, and with them this.
                sleep(IDLE).await;
            },
        }
    }
}

fn interval(due: Due) -> Duration {
    due.beat_every_ms.map_or(IDLE, |every| Duration::from_millis(every.max(1)))
}

/// How long to sleep before the terms are looked at again, so long after the last beat began; nothing once the next is due.
fn left(due: Due, was_acknowledged: bool, passed: Duration) -> Option<Duration> {
    let remains = |until: Duration| until.checked_sub(passed).filter(|left| !left.is_zero());
    let every = interval(due);
    let left = remains(if was_acknowledged { every } else { every.min(AGAIN) })?;
    Some(left.min(remains(IDLE).unwrap_or(AGAIN)))
}

/// How long an answer may take: a beat's interval, and well before the first fence.
fn patience(due: Due) -> Duration {
    let fence = due.self_fence_ms.map_or(IDLE, |fence| Duration::from_millis((fence / 3).max(1)));
    interval(due).max(Duration::from_secs(1)).min(fence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_comes_when_it_is_due_and_once_an_idle_one_would_be_terms_are_looked_at_each_second() {
        let beats = |ms| Due { beat_every_ms: Some(ms), self_fence_ms: None };
        for (due, was_acknowledged, passed, sleeps) in [
            (Due::default(), true, 0, Some(10_000)),
            (Due::default(), true, 9_999, Some(1)),
            (Due::default(), true, 10_000, None),
            (beats(2_000), true, 500, Some(1_500)),
            (beats(2_000), true, 2_000, None),
            (beats(2_000), false, 400, Some(600)),
            (beats(500), false, 400, Some(100)),
            (beats(2_000), false, 1_000, None),
            (beats(60_000), true, 4_000, Some(6_000)),
            (beats(60_000), true, 10_000, Some(1_000)),
            (beats(60_000), true, 31_400, Some(1_000)),
            (beats(60_000), true, 59_700, Some(300)),
            (beats(60_000), true, 60_000, None),
        ] {
            let slept = left(due, was_acknowledged, Duration::from_millis(passed));
            let case = (due, was_acknowledged, passed);
            assert_eq!(slept, sleeps.map(Duration::from_millis), "{case:?}");
        }
    }
}
