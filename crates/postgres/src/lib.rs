//! Connections to PostgreSQL: TLS verified, whom did I reach, what may I do here.
//!
//! A [`Target`] is where to connect, read from a URL whose password is never shown again. A [`Session`] is one
//! connection; through a transaction pooler it is only as long as its transaction, so nothing here relies on the
//! state of a session. [`identify`] says which database answered, and stands before the first write of everything
//! that Palisade does to a database.

pub mod ability;
mod copy;
mod error;
pub mod identity;
mod listener;
mod session;
pub mod stamp;
pub mod target;
mod tls;

pub use ability::{Ability, Level};
pub use copy::{CopyIn, Field};
pub use error::Error;
pub use identity::{Identity, id_of, identify, stamp_of};
pub use listener::{Listener, Notes};
pub use session::{FromSql, Row, RowError, Session, ToSql, Type, TypedRow, Value};
pub use stamp::{Bound, Stamp, Standing};
pub use target::Target;

/// What `CREATE ROLE .. PASSWORD` takes instead of a password: the verifier of SCRAM-SHA-256 with a salt of its own, so
/// that the password itself reaches neither the server nor its log.
#[must_use]
pub fn scram_verifier(password: &str) -> String {
    postgres_protocol::password::scram_sha_256(password.as_bytes())
}
