//! Facts as text. Everything from outside is escaped here.

pub(crate) mod actor;
pub(crate) mod outcome;
pub(crate) mod plan;
pub(crate) mod record;
pub(crate) mod table;
