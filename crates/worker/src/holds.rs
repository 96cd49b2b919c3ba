//! The claims of a worker: the loop puts them in, whoever ends them takes them out, the thread of the beats looks at them.
//!
//! A worker may hold a thousand jobs of a millisecond each, so nothing here costs more than the one claim that changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use palisade_jobs::Token;
use palisade_jobs::claim::Terms;
use tokio::sync::{Notify, watch};

use crate::hold::Hold;

/// How often a worker beats that holds nothing, and how long the beats sleep at most.
pub(crate) const IDLE: Duration = Duration::from_secs(10);
/// A fence is looked at so often at least: timers of the runtime do not count a suspended machine.
pub(crate) const LOOK: Duration = Duration::from_millis(500);

/// The shortest terms among the claims, in milliseconds: how often to beat, and how long without an acknowledged beat is
/// too long. Nothing where nothing is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Due {
    pub(crate) beat_every_ms: Option<u64>,
    pub(crate) self_fence_ms: Option<u64>,
}

impl Due {
    /// Whether whoever sleeps as these terms allow has to be woken for those of `now`. A handler starts with half of its
    /// fence left, and other terms are seen at the next look: to wake the thread of the beats for each job that comes alone
    /// would hold up its handler.
    fn is_late_for(self, now: Self) -> bool {
        let every = self.beat_every_ms.map_or(IDLE, Duration::from_millis);
        let beats_sooner = now.beat_every_ms.is_some_and(|now| Duration::from_millis(now) < every);
        let is_shorter = |fence| self.self_fence_ms.is_none_or(|before| fence < before);
        let is_soon = |fence: &u64| Duration::from_millis(fence / 2) <= LOOK && is_shorter(*fence);
        beats_sooner || now.self_fence_ms.as_ref().is_some_and(is_soon)
    }
}

/// What a worker holds. The end of this value is the end of the beats.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    claims: Arc<Mutex<Claims>>,
    due: watch::Sender<Due>,
    room: Notify,
}

#[derive(Debug, Default)]
struct Claims {
    map: BTreeMap<Token, Arc<Hold>>,
    /// How many claims have which beat and fence: those of one queue are nearly always the same.
    terms: BTreeMap<(u64, u64), usize>,
    /// Of how many the handler has ended, and the store does not have it yet.
    ended: usize,
}

impl Holding {
    /// These begin.
    pub(crate) fn add<'a>(&self, holds: impl Iterator<Item = &'a Arc<Hold>>) {
        let mut claims = lock(&self.claims);
        let mut is_new = false;
        for hold in holds {
            let count = claims.terms.entry(key(&hold.terms)).or_default();
            *count += 1;
            is_new |= *count == 1;
            claims.map.insert(hold.token, Arc::clone(hold));
        }
        if is_new {
            self.tell(&claims);
        }
    }

    /// The handlers of these have ended: others may run, while it is written how.
    pub(crate) fn ended<'a>(&self, holds: impl Iterator<Item = &'a Arc<Hold>>) {
        let mut claims = lock(&self.claims);
        claims.ended += holds.filter(|hold| hold.has_ended()).count();
        drop(claims);
        self.room.notify_one();
    }

    /// These are over.
    pub(crate) fn remove<'a>(&self, holds: impl Iterator<Item = &'a Arc<Hold>>) {
        let mut claims = lock(&self.claims);
        let mut is_told = false;
        for hold in holds.filter_map(|hold| claims.map.remove(&hold.token)).collect::<Vec<_>>() {
            claims.ended -= usize::from(hold.is_ended());
            let key = key(&hold.terms);
            match claims.terms.get_mut(&key) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    claims.terms.remove(&key);
                    is_told = true;
                }
            }
        }
        if is_told {
            self.tell(&claims);
        }
        drop(claims);
        self.room.notify_one();
    }

    /// Ready once something ended or is over since the last time.
    pub(crate) async fn room(&self) {
        self.room.notified().await;
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.claims).map.is_empty()
    }

    /// So many more may begin where `most` may run at once. What ended and is not written counts for itself, so that a
    /// store that takes no ends is not asked for ever more jobs.
    pub(crate) fn free(&self, most: usize) -> usize {
        let claims = lock(&self.claims);
        let (held, ended) = (claims.map.len(), claims.ended);
        most.saturating_sub(held - ended).min((most * 2).saturating_sub(held))
    }

    pub(crate) fn all(&self) -> Vec<Arc<Hold>> {
        lock(&self.claims).map.values().cloned().collect()
    }

    pub(crate) fn watch(&self) -> Watched {
        Watched { claims: Arc::clone(&self.claims), due: self.due.subscribe() }
    }

    fn tell(&self, claims: &Claims) {
        let beat_every_ms = claims.terms.keys().map(|(beat, _)| *beat).min();
        let self_fence_ms = claims.terms.keys().map(|(_, fence)| *fence).min();
        let now = Due { beat_every_ms, self_fence_ms };
        self.due.send_if_modified(|due| std::mem::replace(due, now).is_late_for(now));
    }
}

/// A look at what a worker holds, from elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    claims: Arc<Mutex<Claims>>,
    due: watch::Receiver<Due>,
}

impl Watched {
    pub(crate) fn all(&self) -> Vec<Arc<Hold>> {
        lock(&self.claims).map.values().cloned().collect()
    }

    /// The shortest terms now; [`Self::changed`] waits for some that this would be late for.
    pub(crate) fn due(&mut self) -> Due {
        *self.due.borrow_and_update()
    }

    /// Whether there will be more: `false` once the worker is over.
    pub(crate) async fn changed(&mut self) -> bool {
        self.due.changed().await.is_ok()
    }
}

fn key(terms: &Terms) -> (u64, u64) {
    (terms.beat_every_ms, terms.self_fence_ms)
}

fn lock(claims: &Mutex<Claims>) -> MutexGuard<'_, Claims> {
    claims.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use palisade_jobs::JobId;

    use super::*;

    fn hold(token: i64, beat_every_ms: u64, self_fence_ms: u64) -> Arc<Hold> {
        let terms = Terms { beat_every_ms, reap_after_ms: self_fence_ms * 2, self_fence_ms };
        Arc::new(Hold::new((JobId(token), Token(token)), 1, terms, Arc::default(), 0))
    }

    #[test]
    fn whoever_watches_is_woken_for_shorter_terms_and_sees_others_when_it_looks() {
        let holding = Holding::default();
        let mut watched = holding.watch();
        let due = |beat, fence| Due { beat_every_ms: Some(beat), self_fence_ms: Some(fence) };
        assert_eq!(watched.due(), Due::default());
        let all = [hold(1, 20, 90), hold(2, 30, 50), hold(3, 20, 90), hold(4, 1, 1)];
        for (hold, seen) in [(&all[0], due(20, 90)), (&all[1], due(20, 50))] {
            holding.add([hold].into_iter());
            assert!(watched.due.has_changed().unwrap());
            assert_eq!(watched.due(), seen);
        }
        holding.add([&all[2]].into_iter());
        holding.remove([&all[2], &all[3]].into_iter());
        assert!(!watched.due.has_changed().unwrap(), "others have the same terms");
        assert_eq!(watched.all().len(), 2);
        holding.remove([&all[0]].into_iter());
        assert!(!watched.due.has_changed().unwrap(), "it wakes early enough by itself");
        assert_eq!(watched.due(), due(30, 50));
        holding.remove([&all[1]].into_iter());
        assert_eq!((watched.due(), holding.is_empty()), (Due::default(), true));
        drop(holding);
        assert!(watched.due.has_changed().is_err(), "the end of the holds is the end of the beats");
    }

    #[test]
    fn a_worker_without_claims_is_woken_only_for_terms_shorter_than_its_sleep() {
        let due = |beat, fence| Due { beat_every_ms: Some(beat), self_fence_ms: Some(fence) };
        for (before, now, wakes) in [
            (Due::default(), due(20_000, 45_000), false),
            (Due::default(), due(10_000, 20_000), false),
            (Due::default(), due(9_999, 20_000), true),
            (Due::default(), due(10_000, 1_002), false),
            (Due::default(), due(10_000, 1_000), true),
            (due(20_000, 45_000), due(10_000, 45_000), true),
            (due(20_000, 45_000), due(5_000, 45_000), true),
            (due(2_000, 900), due(2_000, 800), true),
            (due(2_000, 900), due(2_000, 900), false),
            (due(2_000, 900), due(1_000, 900), true),
            (due(2_000, 900), due(20_000, 45_000), false),
            (due(2_000, 900), Due::default(), false),
        ] {
            assert_eq!(before.is_late_for(now), wakes, "{before:?} {now:?}");
        }
    }

    #[test]
    fn what_ended_makes_room_before_it_is_written_and_never_for_more_than_as_many_again() {
        let holding = Holding::default();
        let all: Vec<_> = (0..4).map(|token| hold(token, 20, 90)).collect();
        holding.add(all[..2].iter());
        assert_eq!(holding.free(2), 0);
        holding.ended(all[..2].iter());
        holding.ended(all[..1].iter());
        assert_eq!(holding.free(2), 2, "an end counts once");
        holding.add(all[2..].iter());
        holding.ended(all[2..].iter());
        assert_eq!(holding.free(2), 0, "nothing of what ended is written");
        holding.remove(all[..3].iter());
        assert_eq!(holding.free(2), 2);
        holding.remove(all.iter());
        assert_eq!((holding.free(2), holding.is_empty()), (2, true));
    }
}
