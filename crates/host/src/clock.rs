//! The clocks: the wall clock for records, and the boot clock, which counts a suspended machine, for durations.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use palisade_core::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use crate::files;

/// The wall clock now, in UTC. May jump in either direction: for records, never for deadlines.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::from_unix_ms(whole_ms(since))
}

/// Milliseconds since the machine booted, time in suspension included. Comparable within one boot only.
#[must_use]
pub fn boot_ms() -> u64 {
    whole_ms(since_boot())
}

/// Microseconds since the machine booted, time in suspension included.
#[must_use]
pub fn boot_us() -> u64 {
    u64::try_from(since_boot().as_micros()).unwrap_or(u64::MAX)
}

/// Microseconds of the clock that systemd means by `MONOTONIC_USEC`. Does not count a suspended machine.
#[must_use]
pub fn monotonic_us() -> u64 {
    let now = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// Id of this boot: two moments of [`boot_ms`] and two start times of processes compare only under equal ids.
///
/// # Errors
/// If `/proc` is not mounted. There is no stand-in: two unknown boots must not look equal.
pub fn boot_id() -> Result<String, files::Error> {
    let bytes = files::read_bounded(Path::new("/proc/sys/kernel/random/boot_id"), 64)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// Measures a span on the boot clock, so that it never runs backwards and counts a suspended machine.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    started: Duration,
}

impl Stopwatch {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { started: since_boot() }
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        since_boot().saturating_sub(self.started)
    }
}

fn since_boot() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or(Duration::ZERO)
}

fn whole_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_is_past_the_day_this_was_written() {
        assert!(now() > Timestamp::from_unix_ms(1_700_000_000_000));
    }

    #[test]
    fn the_boot_clock_and_a_stopwatch_never_run_backwards() {
        let watch = Stopwatch::start();
        let readings: Vec<u64> = (0..100).map(|_| boot_ms()).collect();
        assert!(readings.is_sorted() && readings[0] > 0);
        let (one, two) = (watch.elapsed(), watch.elapsed());
        assert!(one <= two);
    }

    #[test]
    fn one_boot_has_one_id_in_the_form_of_a_uuid() {
        let id = boot_id().unwrap();
        assert_eq!(id, boot_id().unwrap());
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    }
}
