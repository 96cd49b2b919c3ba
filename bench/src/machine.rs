//! What the figures were taken on.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::rounds::timed;

/// How many flushes one look at the disk takes.
const FLUSHES: u32 = 100;

/// Lines about this machine.
pub(crate) fn facts() -> Vec<String> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = file("/proc/sys/kernel/osrelease");
    let cpu = file("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    vec![
        format!("cores: {cores} ({})", model.map_or("model unknown", |(_, model)| model)),
        format!("kernel: Linux {}", kernel.trim()),
        format!("Node.js: {}; PM2: 7.0.4", said("node", &["--version"])),
        format!("commit: {}", said("git", &["rev-parse", "--short", "HEAD"])),
    ]
}

/// Load averages over 1, 5 and 15 minutes.
pub(crate) fn load() -> String {
    let text = file("/proc/loadavg");
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Whether the first of `load` says that others were at work.
pub(crate) fn is_busy(load: &str) -> bool {
    load.split(' ').next().and_then(|last| last.parse::<f64>().ok()).is_none_or(|last| last >= 1.0)
}

/// Flushes per second of an appended record of `bytes` in `folder`.
pub(crate) fn flushes_per_second(folder: &Path, bytes: usize) -> Outcome<f64> {
    let path = folder.join("flushes");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let record = vec![b'x'; bytes];
    let (took, ()) = timed(|| {
        for _ in 0..FLUSHES {
            file.write_all(&record)?;
            file.sync_data()?;
        }
        Ok(())
    })?;
    Ok(f64::from(FLUSHES) / took * 1e3)
}

fn file(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
