//! The pure heart of Palisade.
//!
//! Scopes, snapshots, plans, policy, verdicts, permits and records: everything that decides, and nothing that
//! acts. There is no IO here, no clock and no randomness; time, bytes and identifiers are arguments. Adapters
//! call in with facts and carry out what a [`Permit`] allows.
//!
//! The order of the modules is the order of the pipeline: who asks ([`actor`]), for what ([`request`]), against
//! which state ([`process`], [`snapshot`]), what would follow ([`plan`]), whether it may ([`policy`], [`rules`],
//! [`ledger`], [`verdict`]), whether it came out as planned ([`verification`]), and what is written down
//! ([`record`]).

pub mod ablation;
pub mod actor;
pub mod bypass;
pub mod canonical;
pub mod code;
pub mod deployer;
pub mod epoch;
pub mod exit;
pub mod ledger;
pub mod name;
pub mod notice;
pub mod outcome;
pub mod pattern;
pub mod plan;
pub mod policy;
pub mod process;
pub mod progress;
pub mod record;
pub mod redact;
pub mod replay;
pub mod request;
pub mod rules;
pub mod snapshot;
pub mod text;
pub mod time;
pub mod verdict;
pub mod verification;

pub use actor::Actor;
pub use bypass::{Bypass, BypassId};
pub use code::Code;
pub use epoch::Epoch;
pub use exit::Exit;
pub use ledger::Ledger;
pub use name::{AppName, EnvironmentName, QueueName, Scope};
pub use outcome::{Outcome, TargetOutcome};
pub use pattern::Pattern;
pub use plan::Plan;
pub use policy::Policy;
pub use process::{DaemonIdentity, Pin, Process};
pub use progress::Progress;
pub use record::Record;
pub use request::{Operation, Request, Selection};
pub use snapshot::Snapshot;
pub use time::Timestamp;
pub use verdict::{Armed, Decision, Finding, Intended, Permit, Receipt, Refusal, Term, Verdict};
