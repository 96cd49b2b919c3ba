//! Stands in front of PM2's sockets, so that a stale script is refused at the daemon and not in the script.
//!
//! Four modules decide and do no IO: [`session`] turns bytes into checked requests and back, [`asked`] and
//! [`deed`] say what a request comes to, [`evidence`] says which app a caller belongs to, and [`judge`] puts both
//! to the policy. The shell around them owns sockets and tasks: [`serve`] listens, one task per connection runs a
//! session, and one task, the guard, owns what has to be decided in one place: the daemon's list, the memory of
//! who was refused, and the journal.

pub mod asked;
mod caller;
pub mod command_line;
mod connection;
pub mod deed;
pub mod evidence;
pub mod folders;
mod guard;
pub mod judge;
mod listen;
mod meter;
pub mod options;
mod publish;
pub mod redaction;
pub mod serve;
pub mod session;
mod stream;
mod view;
