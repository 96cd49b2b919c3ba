//! PostgreSQL's server log, in its three formats.

mod csv;
mod json;
mod prefix;
mod reader;
mod record;

pub use prefix::{Prefix, UnknownPrefix};
pub use reader::{Count, Format, Reader, detect};
pub use record::{Record, Severity};
