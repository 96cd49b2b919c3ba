//! What a contender did: jobs, time, processor time, memory.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Jobs whose handler ran.
static DONE: AtomicUsize = AtomicUsize::new(0);

/// Milliseconds from before a job was enqueued until its handler began.
static WAITED: Mutex<Vec<f64>> = Mutex::new(Vec::new());

static BEGUN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();

/// Microseconds of this process's own clock.
pub(crate) fn now_us() -> u64 {
    BEGUN.get_or_init(Instant::now).elapsed().as_micros() as u64
}

/// Every handler calls this, and does nothing else.
pub(crate) fn handled(sent_us: u64) {
    if sent_us > 0
        && let Ok(mut waited) = WAITED.lock()
    {
        waited.push((now_us() - sent_us) as f64 / 1e3);
    }
    DONE.fetch_add(1, Ordering::Relaxed);
}

/// Waits until that many handlers ran.
pub(crate) async fn until_handled(jobs: usize) -> Result<(), Fault> {
    let begun = Instant::now();
    while DONE.load(Ordering::Relaxed) < jobs {
        if begun.elapsed() > Duration::from_secs(120) {
            return Err(format!("{} of {jobs} jobs after two minutes", DONE.load(Ordering::Relaxed)).into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Processor time of this process.
fn processor() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// From here on it is measured.
pub(crate) struct Watch(Instant, Duration);

impl Watch {
    pub(crate) fn start() -> Self {
        Self(Instant::now(), processor())
    }

    pub(crate) fn stop(self, jobs: usize) -> Figures {
        Figures {
            jobs,
            seconds: self.0.elapsed().as_secs_f64(),
            processor_seconds: (processor() - self.1).as_secs_f64(),
            waited: WAITED.lock().map(|waited| waited.clone()).unwrap_or_default(),
        }
    }
}

pub(crate) struct Figures {
    jobs: usize,
    seconds: f64,
    processor_seconds: f64,
    waited: Vec<f64>,
}

impl Figures {
    pub(crate) fn document(&self) -> String {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok());
        serde_json::json!({
            "jobs": self.jobs,
            "seconds": self.seconds,
            "processor_us_per_job": self.processor_seconds * 1e6 / self.jobs as f64,
            "resident_mib": resident.unwrap_or(f64::NAN) / 1024.0,
            "waited_ms": self.waited,
        })
        .to_string()
    }
}
