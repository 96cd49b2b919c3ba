//! Who is connected: expectations that the database keeps, and the sources that only it has.

mod expectations;
mod sources;

pub(crate) use expectations::prepare;
pub use expectations::{Change, change, expectations, forget, minimums, remember, schema_changed, writers};
pub use sources::{LogFile, Logging, logging, logins, read_log, sample};

/// The schema of the expectations. It is not the guards' own, which goes with the last guard.
pub(crate) const SCHEMA: &str = include_str!("sql/audit.sql");
