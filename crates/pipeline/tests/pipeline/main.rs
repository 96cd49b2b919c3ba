//! The pipeline over a resource that lives in memory: order, records, refusals, failures.
#![expect(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

mod calls;
mod losses;
mod memory_resource;
mod order;
mod records;
mod support;
mod trouble;
