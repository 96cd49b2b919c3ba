//! The claims of a worker: the loop puts them in and takes them out, the thread of the beats looks at them.
//!
//! A worker may hold a thousand jobs of a millisecond each, so nothing here costs more than the one claim that changes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use palisade_jobs::Token;
use palisade_jobs::claim::Terms;
use tokio::sync::watch;

use crate::hold::Hold;

type Map = BTreeMap<Token, Arc<Hold>>;

/// The shortest terms among the claims, in milliseconds: how often to beat, and how long without an acknowledged beat is
/// too long. Nothing where nothing is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Due {
    pub(crate) beat_every_ms: Option<u64>,
    pub(crate) self_fence_ms: Option<u64>,
}

/// What a worker holds. The end of this value is the end of the beats.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    map: Arc<Mutex<Map>>,
    /// How many claims have which beat and fence: those of one queue are nearly always the same.
    terms: BTreeMap<(u64, u64), usize>,
    due: watch::Sender<Due>,
}

impl Holding {
    pub(crate) fn add(&mut self, hold: Arc<Hold>) {
        let count = self.terms.entry(key(&hold.terms)).or_default();
        *count += 1;
        let is_new = *count == 1;
        lock(&self.map).insert(hold.token, hold);
        if is_new {
            self.tell();
        }
    }

    pub(crate) fn remove(&mut self, token: Token) {
        let Some(hold) = lock(&self.map).remove(&token) else { return };
        let key = key(&hold.terms);
        match self.terms.get_mut(&key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.terms.remove(&key);
                self.tell();
            }
        }
    }

    pub(crate) fn has(&self, token: Token) -> bool {
        lock(&self.map).contains_key(&token)
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.map).len()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Hold>> {
        lock(&self.map).values().cloned().collect()
    }

    pub(crate) fn watch(&self) -> Watched {
        Watched { map: Arc::clone(&self.map), due: self.due.subscribe() }
    }

    fn tell(&self) {
        let beat_every_ms = self.terms.keys().map(|(beat, _)| *beat).min();
        let self_fence_ms = self.terms.keys().map(|(_, fence)| *fence).min();
        self.due.send_replace(Due { beat_every_ms, self_fence_ms });
    }
}

/// A look at what a worker holds, from elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    map: Arc<Mutex<Map>>,
    due: watch::Receiver<Due>,
}

impl Watched {
    pub(crate) fn all(&self) -> Vec<Arc<Hold>> {
        lock(&self.map).values().cloned().collect()
    }

    /// The shortest terms now; [`Self::changed`] waits for others.
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

fn lock(map: &Mutex<Map>) -> MutexGuard<'_, Map> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use palisade_jobs::JobId;

    use super::*;

    fn hold(token: i64, beat_every_ms: u64, self_fence_ms: u64) -> Arc<Hold> {
        let terms = Terms { beat_every_ms, reap_after_ms: self_fence_ms * 2, self_fence_ms };
        Arc::new(Hold::new((JobId(token), Token(token)), 1, terms, Arc::default()))
    }

    #[test]
    fn whoever_watches_hears_of_shorter_and_of_longer_terms_and_of_nothing_else() {
        let mut holding = Holding::default();
        let mut watched = holding.watch();
        let due = |beat, fence| Due { beat_every_ms: Some(beat), self_fence_ms: Some(fence) };
        assert_eq!(watched.due(), Due::default());
        for (token, beat, fence, seen) in [(1, 20, 90, due(20, 90)), (2, 30, 50, due(20, 50))] {
            holding.add(hold(token, beat, fence));
            assert!(watched.due.has_changed().unwrap());
            assert_eq!(watched.due(), seen);
        }
        holding.add(hold(3, 20, 90));
        holding.remove(Token(3));
        holding.remove(Token(4));
        assert!(!watched.due.has_changed().unwrap(), "others have the same terms");
        assert_eq!((holding.len(), watched.all().len(), holding.has(Token(3))), (2, 2, false));
        holding.remove(Token(1));
        assert_eq!(watched.due(), due(30, 50));
        holding.remove(Token(2));
        assert_eq!(watched.due(), Due::default());
        drop(holding);
        assert!(watched.due.has_changed().is_err(), "the end of the holds is the end of the beats");
    }
}
