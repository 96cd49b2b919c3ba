//! Notices of refusals, bypasses and gaps: kept in a folder, counted, delivered by a process of their own.
//!
//! Whoever refuses calls [`tell`]. That writes one small file into the state folder and, where none runs yet, starts
//! `palisade notify deliver`; it never waits for a receiver, opens no connection and knows no HTTP. The delivering
//! process ([`deliver::run`]) hands each notice to the receivers of the policy, tries again within bounds, and says
//! what it could not deliver.
//!
//! * [`letter`] is what lies in the folder, one file for all notices of one key, with their count.
//! * [`rule`] is pure: what is due now, and what after a try.
//! * [`outbox`] is the folder. It is bounded, and each caller has a quota of it.
//! * [`teller`] is a thread, for a guard that must not wait for a disk.
//! * [`deliver`] is the loop, [`command`] one of its receivers. The other is the webhook crate's.

pub mod command;
pub mod deliver;
pub mod letter;
pub mod outbox;
pub mod rule;
pub mod start;
pub mod teller;

pub use letter::{Letter, Receiver};
pub use outbox::{Error, Outbox};
pub use start::{Delivery, Told, tell};
pub use teller::Teller;
