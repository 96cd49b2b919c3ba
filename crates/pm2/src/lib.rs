//! PM2 as a resource: its wire protocol, a client that never starts a daemon, snapshots and restore bundles.
//!
//! From the bottom up: [`wire`] turns bytes into frames and back, [`skim`] takes of JSON only what is wanted, [`methods`] is the one table of what a daemon
//! may be asked, [`client`] asks it, [`locate`] says where it is,
//! [`acquainted`] which one was met before, [`list`] reads its list without keeping a value,
//! [`bundle`] keeps the values that a restore needs, [`restore`] says what to send and what differs, and
//! [`resource`] carries out what the pipeline has judged.
//!
//! For who stands in front of a daemon: [`listen`] takes the places of its sockets, [`look`] and [`glance`] read its list
//! before a ruling, [`asked`] checks a client's request and writes it anew, [`deed`] says what it does to which
//! processes, [`command_line`] what a `pm2` will send, [`redaction`] leaves values out of what the daemon says,
//! [`outgoing`] holds frames back, [`passage`] follows what passes unread, [`vigil`] sees edits of the dump,
//! [`upbringing`] starts a daemon where nobody else does, and [`orphans`] ends what a dead one left behind.

pub mod acquainted;
pub mod asked;
pub mod bundle;
pub mod client;
pub mod command_line;
pub mod deed;
pub mod dump;
pub mod glance;
pub mod guarded;
pub mod list;
pub mod listen;
pub mod locate;
pub mod look;
pub mod methods;
pub mod orphans;
pub mod outgoing;
pub mod overview;
pub mod passage;
pub mod redaction;
pub mod resource;
pub mod restore;
pub mod skim;
pub mod upbringing;
pub mod vigil;
pub mod wire;

pub use client::Client;
pub use guarded::{Guarded, Isolation};
pub use locate::{Location, home_of_title};
pub use resource::Pm2;
