//! The one pipeline that every destructive operation takes.
//!
//! Identify, lease, snapshot, plan, judge, record the intent, execute, verify, record the outcome, release: in
//! that order, for every resource, in [`run`]. What the steps need to remember is in the journal ([`memory`]);
//! what could not be settled at the time is settled by [`reconcile`].

pub mod act;
pub mod announce;
pub mod calls;
mod coalesce;
pub mod deployment;
pub mod document;
pub mod epochs;
pub mod error;
pub mod fault;
pub mod memory;
pub mod notice;
pub mod reconcile;
pub mod refusals;
mod resource;
mod run;
pub mod snapshots;
pub mod system_log;
mod writer;

pub use error::Error;
pub use resource::{Fault, FaultKind, Resource, Values};
pub use run::{CarriedOut, Context, Report, run};
pub use writer::{Writer, sign_text};
