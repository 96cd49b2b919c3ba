//! The guard inside PostgreSQL: generated SQL that watches a jobs table which somebody already has.
//!
//! A guard is a trigger behind the table, and rules in a schema of its own. A job may leave its running state when it
//! is done, while it beats, or after it was silent for long enough; nothing that a client says can shorten that, so
//! an old reaper with production's own credentials is refused by the database itself. [`Rules`] and [`Table`] go
//! into [`script`], which is pure: what `--dry-run` shows is what runs.

pub mod audit;
pub mod binding;
pub mod columns;
mod error;
pub mod fork;
pub mod history;
pub mod identity;
pub mod inspect;
mod installed;
pub mod login;
pub mod partitions;
pub mod profile;
pub mod proof;
pub mod prune;
pub mod quarantine;
pub mod quote;
pub mod reap;
pub mod reaper;
pub mod refused;
mod report;
pub mod rotate;
pub mod rules;
pub mod script;
pub mod stamp;
pub mod story;
pub mod table;
pub mod undo;
pub mod upgrade;
mod verify;
mod weak;
mod work;

pub use error::Error;
pub use installed::{Installed, guard_of, installed};
pub use report::{Finding, Report, report};
pub use rules::{Budget, Mode, Rules};
pub use story::story;
pub use table::Table;
pub use verify::{Damage, verify};
pub use weak::{Weakness, weaknesses};
pub use work::{Patience, mode, run};
