//! Facts about the Linux host and the caller: processes, clocks, CI context, safe files, file leases.
//!
//! This crate is the edge to the kernel. What it reads is handed on as values of `palisade-core`, so that
//! everything that decides stays pure. Three rules hold throughout:
//!
//! * **Observed and claimed are kept apart.** What the kernel says of a process ([`process`], [`peer`]) is a fact;
//!   what variables and checkout files say ([`environment`], [`checkout`]) is a claim, and [`context`] files them
//!   under different names.
//! * **Unknown is not "no".** A process counts as dead only when its death is proven, a lease as free only when the
//!   kernel says so, and a fact that could not be read is listed as missing.
//! * **Files are private or refused.** [`files`] opens nothing of ours through a symbolic link, from a foreign owner
//!   or with a loose mode.
//!
//! Everything is synchronous and Linux only.

pub mod activation;
pub mod bypass;
pub mod checkout;
pub mod claims;
pub mod clock;
pub mod context;
pub mod environment;
pub mod epochs;
pub mod files;
pub mod lease;
pub mod lock;
pub mod order;
pub mod peer;
pub mod process;
pub mod random;
pub mod registration;
pub mod state;
pub mod terminal;
pub mod turn;

pub use environment::Environment;
pub use state::{Locations, StateDirectory};
