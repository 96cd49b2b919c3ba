//! Stores of jobs: one module per database, behind the one trait [`palisade_jobs::JobStore`].
//!
//! [`Store`] is the one that a command line names. What it can do is the trait's.

mod any;
pub mod lease;
pub mod postgres;
pub mod sqlite;

pub use any::Store;
pub use postgres::Postgres;
pub use sqlite::Sqlite;
