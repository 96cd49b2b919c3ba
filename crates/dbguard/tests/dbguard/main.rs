//! The guard on real servers: what it stops, what it lets pass, and that it breaks nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has nobody to return an error to")]

mod ablated;
mod ablation;
mod adopting;
mod attributed;
mod audited;
mod beats;
mod budget;
mod cases;
mod costs;
mod dockets;
mod evasions;
mod fence;
mod fixture;
mod foreign;
mod history;
mod identities;
mod incident;
mod libraries;
mod logins;
mod names;
mod partitions;
mod production;
mod quarantines;
mod reaping;
mod rotated;
mod schema_changes;
mod seen;
mod shapes;
mod snippets;
mod stamps;
mod threats;
mod upgraded;
mod verified;
mod weakened;
