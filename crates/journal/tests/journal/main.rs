//! The journal on a real file system: crashes, tampering, sharing, full disks.

#![expect(clippy::unwrap_used, reason = "every line here is a test's, also outside its function")]

mod anchoring;
mod appending;
mod crash;
mod opening;
mod random;
mod reading;
mod sharing;
mod space;
mod support;
mod tampering;
