//! The one table of what a PM2 daemon may be asked, and the calls that this client makes.
//!
//! Arity is deadly: a handler that gets fewer arguments than it has parameters throws, and the daemon answers an
//! uncaught exception by replacing itself and restarting every app. So each method stands here with the exact
//! shape of its arguments, and a [`Call`] can only be made by a constructor whose shape is in the table. No
//! method name comes from outside.

mod call;
mod shape;
mod table;

pub use call::{Call, CarriedEnv, Watched};
pub use shape::{Kind, Param, ShapeError};
pub use table::{Class, Entry, Method, Release, TABLE};
