//! Whatever a client sends, what was judged is what the daemon is given.
//!
//! `./run fuzz` runs it; the files of the corpus are replayed by the plain tests.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../check.rs"]
mod check;

fuzz_target!(|bytes: &[u8]| check::check(bytes));
