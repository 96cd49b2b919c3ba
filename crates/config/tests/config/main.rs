//! One integration binary: what files are accepted, what is said of the others, and what is written.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests by the lint")]

mod deployers;
mod files;
mod host;
mod init;
mod merge;
mod narrowing;
mod origins;
mod problems;
mod schema;
mod support;
mod types;
mod typos;
