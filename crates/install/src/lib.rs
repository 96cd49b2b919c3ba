//! Puts a guard in front of a running PM2 daemon, and takes it away, without a restart.
//!
//! [`found`] looks at one home: who listens where. [`plan`] is pure and says what to do from what was found, for every
//! state that an install, a removal or a crash may have left. [`act`] does it, step by step; each step may be repeated.
//! [`separate`] gives daemon, guard and deployers users of their own, by a controlled restart.
//! [`units`] writes the systemd units for the next start.

pub mod accounts;
pub mod act;
pub mod daemon;
pub mod found;
pub mod places;
pub mod plan;
pub mod separate;
pub mod units;

pub use found::Found;
pub use places::Places;
