//! Every store against the suite, and what each of them promises beyond it.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not seen as tests by the lint")]

mod leases;
mod sqlite;
