//! A store in memory, with a clock that is set by hand.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::name::{Holder, Name};
use crate::rule::{self, Lease, Moment, Term};
use crate::store::{Acquired, Grant, Held, LeaseStore, Seen, Ttl};

/// The rules and nothing else. For tests: it lives as long as its process.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now_ms: u64,
    leases: BTreeMap<Name, Lease>,
}

/// [`Memory`] does not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Never {}

impl Memory {
    /// Sets its clock forward.
    pub fn pass(&self, span: Duration) {
        self.with(|state, now| state.now_ms = now.after(span).ms());
    }

    /// Whether a write under `held` would be accepted now.
    #[must_use]
    pub fn fences(&self, held: &Held) -> bool {
        self.with(|state, now| rule::fences(state.leases.get(&held.name), held, now))
    }

    fn with<T>(&self, act: impl FnOnce(&mut State, Moment) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Moment::from_ms(state.now_ms);
        act(&mut state, now)
    }
}

fn seen(lease: &Lease, now: Moment) -> Seen {
    Seen {
        name: lease.name.clone(),
        term: lease.term,
        holder: lease.holder.clone(),
        valid_for: now.until(lease.expires_at),
        acquired: Some(lease.acquired_at.until(now).unwrap_or_default()),
        renewals: lease.renewals,
    }
}

impl LeaseStore for Memory {
    type Error = Never;

    fn acquire(
        &self,
        name: &Name,
        holder: &Holder,
        ttl: Ttl,
    ) -> impl Future<Output = Result<Acquired, Never>> + Send {
        let acquired = self.with(|state, now| {
            match (rule::acquire(state.leases.get(name), name, holder, ttl, now), state.leases.get(name)) {
                (Some(lease), _) => {
                    let held = Held { name: name.clone(), term: lease.term, holder: holder.clone() };
                    state.leases.insert(name.clone(), lease);
                    Acquired::Granted(Grant { held, ttl })
                }
                (None, Some(lease)) => Acquired::Busy(seen(lease, now)),
                (None, None) => unreachable!("a lease that nobody has is granted"),
            }
        });
        std::future::ready(Ok(acquired))
    }

    fn renew(&self, held: &Held, ttl: Ttl) -> impl Future<Output = Result<bool, Never>> + Send {
        let changed = self.with(|state, now| {
            let lease = rule::renew(state.leases.get(&held.name), held, ttl, now);
            lease.is_some_and(|lease| state.leases.insert(held.name.clone(), lease).is_some())
        });
        std::future::ready(Ok(changed))
    }

    fn release(&self, held: &Held) -> impl Future<Output = Result<bool, Never>> + Send {
        let changed = self.with(|state, now| {
            let lease = rule::release(state.leases.get(&held.name), held, now);
            lease.is_some_and(|lease| state.leases.insert(held.name.clone(), lease).is_some())
        });
        std::future::ready(Ok(changed))
    }

    fn show(&self, name: &Name) -> impl Future<Output = Result<Option<Seen>, Never>> + Send {
        std::future::ready(Ok(self.with(|state, now| state.leases.get(name).map(|lease| seen(lease, now)))))
    }

    fn list(&self) -> impl Future<Output = Result<Vec<Seen>, Never>> + Send {
        std::future::ready(Ok(
            self.with(|state, now| state.leases.values().map(|lease| seen(lease, now)).collect())
        ))
    }

    fn after_restore(&self, shown: Term) -> impl Future<Output = Result<Vec<Seen>, Never>> + Send {
        self.with(|state, now| {
            for lease in state.leases.values_mut() {
                *lease = rule::raise(lease, shown, now);
            }
        });
        self.list()
    }
}
