//! Durable jobs as rules: what a job may become, who may say so, and what a store has to do.
//!
//! A job is enqueued into a queue, claimed by a worker, kept alive by that worker's beats, and ended. Each claim has
//! a fencing [`Token`] of its own; every write of a worker carries it, and a store refuses the write once the token
//! is spent. So a worker that was taken for dead can do no harm when it wakes up.
//!
//! Nothing here does IO or reads a clock. [`JobStore`] is the wall between the rules and the databases.

pub mod bulk;
pub mod claim;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod event;
pub mod history;
pub mod id;
pub mod job;
pub mod queue;
pub mod reaper;
pub mod retry;
pub mod rules;
pub mod schedule;
pub mod state;
pub mod store;
pub mod worker;

pub use claim::{Beat, BeatAnswer, Checkpoint, Claim, Ending, Finish, Order};
pub use event::{Event, EventKind};
pub use id::{Incarnation, JobId, Token};
pub use job::{Job, NewJob, Note};
pub use queue::Queue;
pub use retry::Backoff;
pub use schedule::{Cron, Schedule};
pub use state::State;
pub use store::{Error, JobStore};
pub use worker::Worker;
