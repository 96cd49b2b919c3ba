//! The reaper's loop: one, whatever is judged.
//!
//! [`sit`] waits for the lease, and while it has that, sweeps: a look at what changes with each beat, the rule of
//! [`palisade_jobs::reaper`], and for whom that condemns one pass with an intent and an outcome, in which the store
//! compares the lease and what was seen once more.
//!
//! What is judged is a [`Docket`]: the workers of the job engine (`palisade_worker::reaper`), or the rows of a table
//! that somebody has already (`palisade_dbguard::reaper`). A docket says who runs, keeps silences for the next term and
//! takes what it is told to. It elects nobody, judges nobody and counts no time. Who hears of it and writes it down is
//! a [`Clerk`].

mod clerk;
mod docket;
mod pass;
mod sitting;
mod sweep;
#[cfg(test)]
mod tests;

pub use clerk::{Clerk, Job, News, Of, Taking, details};
pub use docket::{Answer, Docket, Look, Remembers, Stuck};
pub use sitting::{Error, Settings, sit};
