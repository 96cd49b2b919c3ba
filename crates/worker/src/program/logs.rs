//! What programs printed, for as long as somebody may want to read it.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Removes the logs of attempts in which nothing was written for so long before `now`; how many.
///
/// `logs` is the folder of a worker ([`super::Program::logs`]). A file that cannot be looked at or removed stays.
pub fn forget(logs: &Path, keep: Duration, now: SystemTime) -> u64 {
    let mut gone = 0;
    for job in fs::read_dir(logs).into_iter().flatten().flatten() {
        for log in fs::read_dir(job.path()).into_iter().flatten().flatten() {
            let is_log = log.path().extension().is_some_and(|end| end == "log");
            let written = log.metadata().and_then(|found| found.modified());
            let age = written.map(|written| now.duration_since(written).unwrap_or_default());
            if is_log && age.is_ok_and(|age| age > keep) && fs::remove_file(log.path()).is_ok() {
                gone += 1;
            }
        }
        // Only where it is empty by now.
        fs::remove_dir(job.path()).unwrap_or_default();
    }
    gone
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn only_old_logs_go_and_their_folders_with_them() {
        let scratch = palisade_testkit::Scratch::new();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (name, age) in [("1/1-7.log", 101), ("2/1-8.log", 101), ("2/2-9.log", 99), ("3/notes", 101)] {
            let path = scratch.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            File::create(&path).unwrap().set_modified(now - Duration::from_secs(age)).unwrap();
        }
        assert_eq!(forget(scratch.path(), Duration::from_secs(100), now), 2);
        let left = |name: &str| scratch.join(name).exists();
        assert!(!left("1") && !left("2/1-8.log") && left("2/2-9.log") && left("3/notes"));
        assert_eq!(forget(&scratch.join("nowhere"), Duration::ZERO, now), 0);
    }
}
