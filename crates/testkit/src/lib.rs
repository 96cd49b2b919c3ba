//! Real parts for tests: PM2 daemons with their apps, PostgreSQL servers with a pooler, Redis, scratch folders, processes ended by pid.
//!
//! Everything here is the real thing, and everything goes when its value is dropped. The functions panic with a
//! message that says what to do, because a test that cannot be set up has nothing to return an error to.

pub mod apps;
pub mod cases;
pub mod clients;
pub mod disk;
pub mod fault;
pub mod fleet;
pub mod install;
mod listening;
pub mod npm;
pub mod pm2;
pub mod pooler;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod psql;
pub mod redis;
pub mod s3;
pub mod scratch;

pub use apps::{App, EightApps};
pub use disk::Disk;
pub use fault::Between;
pub use fleet::Fleet;
pub use install::installed;
pub use pm2::{Pm2, Ran};
pub use pooler::PgBouncer;
pub use postgres::Postgres;
pub use proxy::{Fault, Proxy};
pub use psql::{Psql, psql};
pub use redis::Redis;
pub use s3::S3;
pub use scratch::Scratch;

use std::time::Duration;

/// How long anything real may take before a test gives up: generous, because machines that test are busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks `look` again and again until it answers, and panics with `what` after [`PATIENCE`].
///
/// # Panics
/// If `look` has no answer in time.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within_patience(look).unwrap_or_else(|| panic!("waited {} s in vain: {what}", PATIENCE.as_secs()))
}

/// Asks `look` again and again until it answers, or [`PATIENCE`] has passed.
pub fn within_patience<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let (mut waited, mut pause) = (Duration::ZERO, Duration::from_millis(1));
    while waited < PATIENCE {
        if let Some(found) = look() {
            return Some(found);
        }
        std::thread::sleep(pause);
        waited += pause;
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    look()
}
