//! Our own side of the rows about jobs, in a process of its own as each peer is: `bench contend TASK URL JOBS CALLERS`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use palisade_core::QueueName;
use palisade_host::clock::Stopwatch;
use palisade_jobs::job::NewJob;
use palisade_jobs::{JobStore as _, Note};
use palisade_store::Store;
use palisade_worker::checkpoint::{Access, Place};
use palisade_worker::{Context, Reports, Settings};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{Outcome, bare};

/// Jobs of one call.
const AT_ONCE: usize = 5_000;

/// Between two jobs where latency is measured.
pub(crate) const EVERY: Duration = Duration::from_millis(20);

/// What it did.
pub(crate) struct Done {
    pub(crate) seconds: f64,
    pub(crate) processor: f64,
    pub(crate) waited: Vec<f64>,
}

/// Does what `words` say, on that side, and prints one JSON document.
pub(crate) fn contend(side: &str, words: &[&str]) -> Outcome<String> {
    let [task, url, jobs, callers] = words else {
        return Err("usage: bench contend TASK URL JOBS CALLERS".into());
    };
    let (jobs, callers): (usize, usize) = (jobs.parse()?, callers.parse()?);
    let (side, task, url) = (side.to_owned(), (*task).to_owned(), (*url).to_owned());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let is_of_a_server = task == "latency";
    let doing = async move {
        let url = url.as_str();
        match (side.as_str(), task.as_str()) {
            ("bare", "bulk") => bare::bulk(url, jobs).await,
            ("bare", "drain") => bare::drain(url, jobs).await,
            ("bare", "latency") => bare::latency(url, jobs).await,
            ("stated", "latency") => bare::stated(url, jobs).await,
            (_, "bulk") => bulk(url, jobs).await,
            (_, "single") => single(url, jobs, callers, true).await,
            (_, "alone") => single(url, jobs, callers, false).await,
            (_, "drain") => drain(url, jobs).await,
            (_, "latency") => latency(url, jobs).await,
            (side, task) => Err(format!("{side} has no task {task}").into()),
        }
    };
    // Who enqueues where latency counts is a task, as everything in a server is; so it is for the peers.
    let done = if is_of_a_server { runtime.block_on(runtime.spawn(doing))? } else { runtime.block_on(doing) };
    let Done { seconds, processor, waited } = done?;
    Ok(json!({
        "jobs": jobs,
        "seconds": seconds,
        "processor_us_per_job": processor * 1e6 / jobs as f64,
        "resident_mib": resident_mib()?,
        "waited_ms": waited,
    })
    .to_string())
}

pub(crate) fn note() -> Note {
    Note {
        app: None,
        environment: None,
        version: None,
        host: "bench".to_owned(),
        pid: std::process::id(),
        machine_id: "bench".to_owned(),
    }
}

pub(crate) fn queue() -> QueueName {
    QueueName::new("bench").expect("it is a name")
}

pub(crate) fn job(sent_us: u64) -> NewJob {
    NewJob::new(queue(), json!({ "sent_us": sent_us }), note())
}

fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn resident_mib() -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().split(' ').next().unwrap_or_default().parse::<f64>()? / 1024.0)
}

/// Measures `act` alone.
pub(crate) async fn measured(act: impl Future<Output = Outcome<Vec<f64>>>) -> Outcome<Done> {
    let (watch, before) = (Stopwatch::start(), processor_seconds());
    let waited = act.await?;
    Ok(Done { seconds: watch.elapsed().as_secs_f64(), processor: processor_seconds() - before, waited })
}

async fn bulk(url: &str, jobs: usize) -> Outcome<Done> {
    let store = Store::open(url).await?;
    let all = vec![job(0); jobs];
    measured(async {
        for some in all.chunks(AT_ONCE) {
            store.enqueue(some).await?;
        }
        Ok(Vec::new())
    })
    .await
}

/// Callers that make one job after the other, of one store or each of its own.
async fn single(url: &str, jobs: usize, callers: usize, shared: bool) -> Outcome<Done> {
    let mut stores = vec![Store::open(url).await?];
    stores[0].enqueue(&[job(0)]).await?;
    for _ in 1..callers {
        let next = if shared { stores[0].clone() } else { Store::open(url).await? };
        // Its connection and its queue are known before it is measured.
        next.enqueue(&[job(0)]).await?;
        stores.push(next);
    }
    measured(async {
        let mut calls = JoinSet::new();
        for store in stores {
            calls.spawn(async move {
                for _ in 0..jobs / callers {
                    store.enqueue(&[job(0)]).await?;
                }
                Ok::<(), palisade_jobs::Error>(())
            });
        }
        calls.join_all().await.into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(Vec::new())
    })
    .await
}

/// What handlers of this process did.
#[derive(Default)]
struct Handled {
    jobs: AtomicUsize,
    watch: Option<Stopwatch>,
    waited_us: std::sync::Mutex<Vec<u64>>,
}

impl Handled {
    fn now_us(&self) -> u64 {
        let passed = self.watch.as_ref().map(Stopwatch::elapsed).unwrap_or_default();
        u64::try_from(passed.as_micros()).unwrap_or(u64::MAX)
    }

    fn one(&self, payload: &Value) {
        if let Some(sent_us) = payload["sent_us"].as_u64().filter(|sent| *sent > 0)
            && let Ok(mut waited) = self.waited_us.lock()
        {
            waited.push(self.now_us() - sent_us);
        }
        self.jobs.fetch_add(1, Ordering::Relaxed);
    }
}

/// A worker as `palisade_worker` runs it, until `drain` is ready or the queue is empty.
async fn work(
    url: &str,
    until_empty: bool,
    drain: impl Future<Output = ()>,
    handled: Arc<Handled>,
) -> Outcome<()> {
    let mut settings = Settings::new(queue(), "bench".to_owned(), note());
    settings.concurrency = 1_000;
    settings.until_empty = until_empty;
    let folder = palisade_testkit::Scratch::new();
    let place = Place::open(&folder.path().display().to_string(), &Access::default(), None)?;
    let url = url.to_owned();
    let open = move || {
        let url = url.clone();
        async move { Store::open(&url).await }
    };
    // Nobody reads what it tells, as nobody does of the peers.
    let (reports, receiver) = Reports::new();
    drop(receiver);
    let handler = move |context: Context<Value>| {
        handled.one(&context.payload);
        async { Ok(()) }
    };
    palisade_worker::run(settings, place, reports, open, drain, handler).await?;
    Ok(())
}

/// Works off what another process has enqueued, so that nothing of that is in this one's memory.
async fn drain(url: &str, jobs: usize) -> Outcome<Done> {
    let handled = Arc::new(Handled::default());
    let done = measured(async {
        work(url, true, std::future::pending(), Arc::clone(&handled)).await?;
        Ok(Vec::new())
    })
    .await?;
    let ran = handled.jobs.load(Ordering::Relaxed);
    if ran == jobs { Ok(done) } else { Err(format!("{ran} of {jobs} jobs ran").into()) }
}

async fn latency(url: &str, jobs: usize) -> Outcome<Done> {
    let store = Store::open(url).await?;
    let handled = Arc::new(Handled { watch: Some(Stopwatch::start()), ..Handled::default() });
    let (over, is_over) = tokio::sync::oneshot::channel::<()>();
    let mut working = JoinSet::new();
    let (its_url, its_handled) = (url.to_owned(), Arc::clone(&handled));
    working.spawn(async move {
        let until = async { drop(is_over.await) };
        work(&its_url, false, until, its_handled).await.map_err(|error| error.to_string())
    });
    // The first ones only say that it works.
    store.enqueue(&[job(0)]).await?;
    while handled.jobs.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut done = measured(async {
        let mut tick = tokio::time::interval(EVERY);
        for _ in 0..jobs {
            tick.tick().await;
            store.enqueue(&[job(handled.now_us())]).await?;
        }
        while handled.jobs.load(Ordering::Relaxed) <= jobs {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(Vec::new())
    })
    .await?;
    drop(over);
    working.join_all().await.into_iter().collect::<Result<Vec<()>, String>>()?;
    let waited = handled.waited_us.lock().map_err(|_| "a handler failed")?;
    done.waited = waited.iter().map(|us| *us as f64 / 1e3).collect();
    Ok(done)
}
