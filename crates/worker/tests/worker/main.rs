//! The worker on real parts.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside functions that clippy knows as tests")]

mod checkpoints;
mod gate;
mod library;
mod looks;
mod reaper;
mod yard;
