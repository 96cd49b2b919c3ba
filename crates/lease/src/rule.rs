//! The rules, pure. A record, a moment of the store's clock and what is asked: the record that follows, or why not.
//!
//! There are few, and each has a reason:
//!
//! * A lease is granted when nobody ever had it, when it is over, or to its own holder, whose answer may have been
//!   lost. Each grant has a higher term.
//! * It is renewed and released by exactly the holder and term that have it, and only while it is not over. A holder
//!   that comes late asks anew, under a new term: what it planned in the old one is not valid any more.
//! * Release ends a lease and keeps its record. A record is never removed: its term must not start over.
//! * After a restore from a backup every term is raised by [`RESTORED`] and every lease is over: holders from the
//!   lost time have terms that the restored database would hand out once more.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::{Holder, Name};
use crate::store::{Held, Ttl};

/// By how much a restore raises a term. No real series of acquisitions between a backup and its restore is as long,
/// and two thousand million restores fit.
pub const RESTORED: u64 = 1 << 32;

/// The growing number of a lease, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Term(u64);

impl Term {
    /// The first one.
    pub const FIRST: Self = Self(1);

    /// A term by its number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The next one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// One that no holder from before a restore can have: above this one and above `shown`, the highest that
    /// anybody was seen with.
    #[must_use]
    pub fn after_restore(self, shown: Self) -> Self {
        Self(self.0.max(shown.0).saturating_add(RESTORED))
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A moment of a store's clock, in milliseconds. Moments of two stores do not compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// From milliseconds.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// In milliseconds.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// The moment `span` later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Time from here until `later`, if that is later.
    #[must_use]
    pub fn until(self, later: Self) -> Option<Duration> {
        later.0.checked_sub(self.0).filter(|ms| *ms > 0).map(Duration::from_millis)
    }
}

/// The record of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What it is for.
    pub name: Name,
    /// Its number; never falls.
    pub term: Term,
    /// Who has, or last had it.
    pub holder: Holder,
    /// Since when.
    pub acquired_at: Moment,
    /// Until when, this moment excluded.
    pub expires_at: Moment,
    /// How often it was renewed under this term.
    pub renewals: u64,
}

impl Lease {
    /// Whether it is not over yet.
    #[must_use]
    pub fn is_valid(&self, now: Moment) -> bool {
        now < self.expires_at
    }

    fn is_of(&self, held: &Held) -> bool {
        self.name == held.name && self.term == held.term && self.holder == held.holder
    }
}

/// What asking for a lease comes to: the record that follows, or `None` while somebody else has it.
#[must_use]
pub fn acquire(lease: Option<&Lease>, name: &Name, holder: &Holder, ttl: Ttl, now: Moment) -> Option<Lease> {
    let term = match lease {
        None => Term::FIRST,
        Some(lease) if !lease.is_valid(now) || lease.holder == *holder => lease.term.next(),
        Some(_) => return None,
    };
    Some(Lease {
        name: name.clone(),
        term,
        holder: holder.clone(),
        acquired_at: now,
        expires_at: now.after(ttl.span()),
        renewals: 0,
    })
}

/// The record after a renewal, or `None` if the lease is not that holder's any more.
#[must_use]
pub fn renew(lease: Option<&Lease>, held: &Held, ttl: Ttl, now: Moment) -> Option<Lease> {
    let lease = valid_of(lease, held, now)?;
    Some(Lease { expires_at: now.after(ttl.span()), renewals: lease.renewals + 1, ..lease.clone() })
}

/// The record after a release, or `None` if the lease is not that holder's any more.
#[must_use]
pub fn release(lease: Option<&Lease>, held: &Held, now: Moment) -> Option<Lease> {
    Some(Lease { expires_at: now, ..valid_of(lease, held, now)?.clone() })
}

/// The record after a restore: over, under a term above all that anybody may show.
#[must_use]
pub fn raise(lease: &Lease, shown: Term, now: Moment) -> Lease {
    Lease { term: lease.term.after_restore(shown), expires_at: now.min(lease.expires_at), ..lease.clone() }
}

/// Whether a write under `held` may be accepted: what the resource compares.
#[must_use]
pub fn fences(lease: Option<&Lease>, held: &Held, now: Moment) -> bool {
    valid_of(lease, held, now).is_some()
}

fn valid_of<'a>(lease: Option<&'a Lease>, held: &Held, now: Moment) -> Option<&'a Lease> {
    lease.filter(|lease| lease.is_of(held) && lease.is_valid(now))
}
