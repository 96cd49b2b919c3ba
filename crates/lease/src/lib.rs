//! Leases with terms: time-bounded ownership that can be told stale at the write.
//!
//! A lease says who may act; it is *liveness*. Its **term** grows at each acquisition and never falls; the resource
//! compares it in the transaction that writes, and that is *safety*. A holder that was paused, cut off or restored
//! from a backup still believes in its lease, and is refused all the same.
//!
//! * [`rule`] has the rules, pure: what asking, renewing, releasing and raising do to a record at a moment.
//! * [`LeaseStore`] is where records live. SQL stores write the rules once more, in SQL.
//! * [`Memory`] is the rules and nothing else. It is the oracle of the suite.
//! * [`conformance`] is what every store has to pass.
//!
//! Nothing here reads a clock: a store has one, and spans are measured on that one only.

pub mod conformance;
mod memory;
mod name;
pub mod rule;
mod store;

pub use memory::{Memory, Never};
pub use name::{Holder, InvalidName, Name};
pub use rule::{Lease, Moment, Term};
pub use store::{Acquired, Grant, Held, InvalidTtl, LeaseStore, Seen, Ttl};
