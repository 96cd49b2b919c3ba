//! Where leases live.

use std::time::Duration;

use serde::Serialize;

use crate::name::{Holder, Name};
use crate::rule::Term;

/// For how long a lease is had without renewal: 50 ms to one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ttl(Duration);

/// A span that no lease may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a lease of {0:?} is not possible: take 50 ms to 1 day")]
pub struct InvalidTtl(Duration);

impl Ttl {
    const SHORTEST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

    /// Checks a span.
    ///
    /// # Errors
    /// [`InvalidTtl`].
    pub fn new(span: Duration) -> Result<Self, InvalidTtl> {
        if (Self::SHORTEST..=Self::LONGEST).contains(&span) { Ok(Self(span)) } else { Err(InvalidTtl(span)) }
    }

    /// The span.
    #[must_use]
    pub const fn span(self) -> Duration {
        self.0
    }

    /// In milliseconds.
    #[must_use]
    pub fn ms(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

/// What a holder shows at a write. The resource compares all three.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Held {
    /// Which lease.
    pub name: Name,
    /// Under which term.
    pub term: Term,
    /// By whom.
    pub holder: Holder,
}

/// A lease as the store sees it now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// What it is for.
    pub name: Name,
    /// Its number.
    pub term: Term,
    /// Who has it, or last had it.
    pub holder: Holder,
    /// How long it still is valid on the store's clock, in milliseconds; `None` once it is over.
    #[serde(rename = "valid_for_ms", serialize_with = "in_ms")]
    pub valid_for: Option<Duration>,
    /// How long ago it was acquired, in milliseconds; `None` if the store's clock went back since.
    #[serde(rename = "acquired_ms_ago", serialize_with = "in_ms")]
    pub acquired: Option<Duration>,
    /// How often it was renewed under this term.
    pub renewals: u64,
}

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
fn in_ms<S: serde::Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    span.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)).serialize(serializer)
}

/// A lease that was granted. Its span counts from *before* the question was sent, on the holder's own boot clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// What to show at each write.
    pub held: Held,
    /// For how long.
    pub ttl: Ttl,
}

/// What came of asking.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// It is ours.
    Granted(Grant),
    /// Somebody else has it.
    Busy(Seen),
}

/// Where leases live. Every operation is one step of the store: it happens whole or not at all.
///
/// An answer that is lost leaves the operation undecided. Asking again is safe: a holder that asks for its own lease
/// gets a new term.
pub trait LeaseStore: Send + Sync {
    /// How the store fails.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Asks for a lease once. Waits for no holder.
    fn acquire(
        &self,
        name: &Name,
        holder: &Holder,
        ttl: Ttl,
    ) -> impl Future<Output = Result<Acquired, Self::Error>> + Send;

    /// Renews a lease from now on; `false` if it is not ours any more, so that nothing more may be done under it.
    fn renew(&self, held: &Held, ttl: Ttl) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Ends a lease; `false` if it was not ours any more, and then nothing has changed.
    fn release(&self, held: &Held) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// One lease, held or over; `None` if nobody ever had it.
    fn show(&self, name: &Name) -> impl Future<Output = Result<Option<Seen>, Self::Error>> + Send;

    /// Every lease that anybody ever had, by name.
    fn list(&self) -> impl Future<Output = Result<Vec<Seen>, Self::Error>> + Send;

    /// After a restore: ends every lease and raises its term above `shown` and above all that it may have reached
    /// in the lost time. Gives them as they are then, by name.
    fn after_restore(&self, shown: Term) -> impl Future<Output = Result<Vec<Seen>, Self::Error>> + Send;
}
