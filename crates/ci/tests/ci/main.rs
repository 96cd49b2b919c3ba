//! Workflows and scripts as texts: what is read of them, and what an edit leaves alone.
#![expect(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

mod admit;
mod epoch;
mod lint;
