//! The incidents on real parts, through the real `palisade` as a user calls it.
//!
//! Unguarded they must do their harm; guarded they must be refused, with everything else untouched.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own output has nothing to return it to")]

mod cases;
mod dead;
mod good;
mod reaper;
mod restore;
mod scenarios;
mod site;
mod versions;
mod wider;
