//! The firewall, in front of real daemons, and its machine by itself.
#![expect(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

mod activation;
mod bed;
mod bridge;
mod bypass;
mod canonical;
mod control;
mod corpus;
mod corpus_of_bytes;
mod corpus_table;
mod dead;
mod deployments;
mod dump;
mod ended;
mod epochs;
mod evidence;
mod holder;
mod hostile;
mod large;
mod lines;
mod matrix;
mod namespaces;
mod observe;
mod orders;
mod requests;
mod session;
mod spliced;
mod stale;
mod starved;
mod table;
mod upbringing;
mod values;
mod variants;
