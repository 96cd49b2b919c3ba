//! Whatever tables, columns, roles and states are called, the SQL of a guard says the same.
//!
//! `./run fuzz` runs it; the files of the corpus are replayed by the plain tests, also against PostgreSQL.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../check.rs"]
mod check;

fuzz_target!(|bytes: &[u8]| check::check_one(bytes, bytes.len() % check::WAYS));
