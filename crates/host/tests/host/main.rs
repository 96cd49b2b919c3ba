//! The host crate against the real kernel: files, processes, sockets, leases, and tables for the claims of forges.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests by the lint")]

mod bypass;
mod checkout;
mod claims;
mod context;
mod epochs;
mod files;
mod lease;
mod lease_files;
mod peer;
mod process;
mod registration;
mod roles;
mod state;
