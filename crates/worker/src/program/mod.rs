//! Any program as a handler.
//!
//! A program gets files and variables, and a Unix socket for what it has to say. Between it and the worker stands a
//! keeper ([`keeper`]): a process that ends the program's process group when the worker says so, when the worker is
//! gone, and when the fence passes while the worker cannot say anything.

mod ending;
pub mod keeper;
pub mod logs;
mod run;
pub mod socket;
pub mod talk;
mod variables;

pub use ending::{FATAL, HOLD};
pub use run::Program;
pub use variables::{Kept, keep};
