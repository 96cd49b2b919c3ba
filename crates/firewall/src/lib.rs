//! Stands in front of PM2's sockets, so that a stale script is refused at the daemon and not in the script.
//!
//! Four modules decide and do no IO: [`session`] turns bytes into checked requests and back, [`evidence`] says which app a
//! caller belongs to, [`judge`] puts both to the policy, and [`fallback`] says what becomes of a call that nobody can judge.
//! What a request comes to is PM2's own, and so in its crate: [`palisade_pm2::asked`] and [`palisade_pm2::deed`].
//!
//! Two processes run them. The holder ([`serve`]) owns sockets and connections, with one task per connection that
//! runs a session, and keeps a judge running. The judge ([`judging`]) owns what has to be decided in one place: the
//! policy, the daemon's list, the memory of who was refused, and the journal.

mod caller;
mod connection;
mod control;
mod daemon;
pub mod evidence;
pub mod fallback;
pub mod folders;
mod guard;
mod holder;
pub mod judge;
pub mod judging;
mod message;
mod meter;
pub mod options;
mod order;
mod pair;
mod places;
mod publish;
pub mod renewal;
mod said;
pub mod serve;
pub mod session;
mod stream;
mod telling;
mod view;
