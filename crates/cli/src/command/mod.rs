//! One module per command: parse, call, render. No decision is made here.

pub(crate) mod bypass;
pub(crate) mod ci;
pub(crate) mod db;
pub(crate) mod deploy;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod guard;
mod guard_rules;
pub(crate) mod guard_table;
pub(crate) mod identity;
pub(crate) mod job;
pub(crate) mod journal;
pub(crate) mod lease;
pub(crate) mod lifecycle;
pub(crate) mod list;
pub(crate) mod notify;
pub(crate) mod operate;
pub(crate) mod policy;
pub(crate) mod queue;
pub(crate) mod reconcile;
pub(crate) mod restore;
pub(crate) mod runbook;
pub(crate) mod save;
pub(crate) mod stamp;
pub(crate) mod store;
pub(crate) mod undo;
