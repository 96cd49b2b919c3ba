//! Host policy and project file to checked types, with origin and span.
//!
//! The policy belongs to the resource: one host file says who owns what, and how far one operation may reach.
//! A project file, which comes along with a checkout, may only *narrow* it: an old checkout must not bring its
//! own lax policy. Everything here is a function of text and paths; only what is behind [`load`],
//! [`load_project`], [`expect_environment`] and [`policy_file`] reads files, and nothing reads an environment variable.
//!
//! * [`parse_host`] reads a host file and reports every problem at once, each with line, column and caret.
//! * [`narrow`] lays a project file over it.
//! * [`HostPolicy::origins`] tells where each value comes from.
//! * [`draft`] and [`merge`] write the file from what a daemon runs; [`set_mode`] changes modes in it.
//! * [`schema`] describes the file for editors.

mod deployers;
#[cfg(feature = "edit")]
mod draft;
mod file;
#[cfg(feature = "edit")]
mod group;
mod host;
mod keys;
#[cfg(feature = "edit")]
mod merge;
#[cfg(feature = "edit")]
mod mode;
mod narrow;
mod notify;
mod origin;
mod ownership;
mod place;
pub mod policy_file;
mod problem;
mod schema;
mod section;
#[cfg(feature = "edit")]
mod toml_text;
mod written;

#[cfg(feature = "edit")]
pub use draft::draft;
pub use file::{Error, MAX_BYTES, expect_environment, is_absent, load, load_project};
pub use host::{HostPolicy, parse_host};
#[cfg(feature = "edit")]
pub use merge::{Addition, LeftOut, MergeOutcome, merge};
#[cfg(feature = "edit")]
pub use mode::{ModeError, ModeOutcome, Which, set_mode};
pub use narrow::narrow;
pub use origin::{Key, Origin, Row};
pub use place::Place;
#[cfg(feature = "carets")]
pub use problem::Colour;
pub use problem::{Context, Problem, Problems};
pub use schema::schema;
