//! Who connects to a database, against who is expected. Pure: bytes of a log go in, findings come out.
//!
//! A [`log::Reader`] takes PostgreSQL's server log in any of its three formats, in pieces of any size, and gives
//! [`log::Record`]s. The [`Collector`] follows each server process through them and says what is new:
//! [`Sighting`]s. [`Expectations`] judge a sighting; what contradicts them is a [`Finding`]. Other sources (a login
//! trigger, samples of `pg_stat_activity`) make sightings of their own and are judged by the same function.
//!
//! A name that a client gives itself is a claim. It may raise a suspicion here and never grants anything.

mod collector;
mod event;
mod expect;
mod finding;
pub mod log;
mod naming;
mod network;

pub use collector::{Client, Collector, Sighting, Tally};
pub use event::{Event, Refusal};
pub use expect::{Expectations, Expected};
pub use finding::{Finding, Findings, Kind};
pub use naming::{environment_of, split_epoch};
pub use network::{Network, NotANetwork};
