//! Runs jobs: claims, beats, self-fence, checkpoints, programs as handlers.
//!
//! [`run`] is a worker: it claims jobs of one queue, runs a handler for each and says to the store how it ended. A
//! handler is an async function of a [`Context`]. Three rules hold:
//!
//! * **The store decides who has a job.** Every write carries the token of its claim. Once that is spent, the attempt
//!   is dropped, and nothing of it is written.
//! * **A worker stops by itself.** [`fence`] says when: without an acknowledged beat, side effects end before anybody
//!   else may start.
//! * **A job never starts from the beginning in silence.** It goes on from the last checkpoint that is what it was;
//!   where none is, it waits for a person.
//!
//! What a worker decides is in functions of values: [`fence`], [`pulse`] and the order that follows from how a handler
//! ended. What it tells is in [`report`].

mod answers;
mod attempt;
mod beats;
pub mod checkpoint;
mod claims;
pub mod context;
mod ending;
pub mod fence;
mod finisher;
mod hold;
mod holds;
pub mod program;
pub mod pulse;
pub mod reaper;
pub mod report;
mod run;
mod start;
mod tidy;
mod turns;
mod writer;

pub use context::{Attempt, Context, NotTaken, Stopped};
pub use ending::Failure;
pub use hold::Stop;
pub use program::Program;
pub use report::{Report, Reports};
pub use run::{Error, Settings, run};
pub use writer::Stowed;
