//! The reaper of a store: elected, one at a time, beside workers or on its own.
//!
//! [`sit`] waits for the lease, and while it has that, sweeps: a look at beats, the rule of
//! [`palisade_jobs::reaper`], and for whom that condemns one transaction of the store, which compares lease, beat and
//! token once more. It has a store of its own, so that no worker waits for it and no beat does.

mod news;
mod sitting;
mod sweep;

pub use news::{Clerk, News, Taking};
pub use sitting::{Error, Settings, sit};
