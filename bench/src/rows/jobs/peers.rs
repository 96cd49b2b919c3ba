//! Who is measured: each a program that does one task and prints what it took.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use palisade_testkit::{Postgres, clients};
use serde_json::Value;

use crate::Outcome;
use crate::stats::Series;

/// What takes longer than so many seconds is ended, and left out of its row.
const SECONDS_MOST: &str = "60";

/// One of them.
pub(super) struct Contender {
    pub(super) name: &'static str,
    program: PathBuf,
    words: Vec<String>,
}

/// What it took.
pub(super) struct Measured {
    jobs: f64,
    seconds: f64,
    pub(super) processor_us_per_job: f64,
    pub(super) resident_mib: f64,
    waited_ms: Vec<f64>,
}

/// Palisade, by this very program.
pub(super) fn ours(name: &'static str) -> Outcome<Contender> {
    Ok(Contender { name, program: std::env::current_exe()?, words: vec!["contend".to_owned()] })
}

/// What is no queue: the floor under a task.
pub(super) fn floors(task: &str) -> Outcome<Vec<Contender>> {
    let of = |name, word: &str| -> Outcome<Contender> {
        Ok(Contender { words: vec![word.to_owned()], ..ours(name)? })
    };
    Ok(match task {
        "drain" => vec![of("a bare loop: no engine, rows of three fields", "bare")?],
        "latency" => vec![
            of("a bare chain: no engine, rows of three fields", "bare")?,
            of("our statements, no worker", "stated")?,
        ],
        _ => Vec::new(),
    })
}

/// Palisade first, then the peers.
pub(super) fn all() -> Outcome<Vec<Contender>> {
    let bench = std::env::current_exe()?;
    let profile = bench.parent().ok_or("this program is in no folder")?;
    let name = profile.file_name().ok_or("this program is in no folder")?;
    let peers = profile.with_file_name("peers").join(name).join("peers");
    if !peers.is_file() {
        return Err(format!("there is no {}: start it with `./run bench`", peers.display()).into());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("queues.mjs").display().to_string();
    let of = |name, program: &Path, words: &[&str]| Contender {
        name,
        program: program.to_owned(),
        words: words.iter().map(|&word| word.to_owned()).collect(),
    };
    Ok(vec![
        ours("Palisade")?,
        of("graphile_worker 0.14 (Rust, settings a guess)", &peers, &["graphile"]),
        of("apalis-postgres 1.0 (settings a guess)", &peers, &["apalis"]),
        of("riverqueue 0.5 (settings a guess)", &peers, &["river"]),
        of("awa 0.6 (settings a guess)", &peers, &["awa"]),
        of("graphile-worker 0.18 (Node, settings a guess)", Path::new("node"), &[&script, "graphile"]),
        of("pg-boss 12 (Node, settings a guess)", Path::new("node"), &[&script, "pg-boss"]),
    ])
}

impl Contender {
    /// Runs one task in a new database, which is dropped afterwards.
    pub(super) fn run(
        &self,
        server: &Postgres,
        task: &str,
        jobs: usize,
        callers: usize,
    ) -> Outcome<Measured> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let database = format!("bench{}", NEXT.fetch_add(1, Ordering::Relaxed));
        server.sql("postgres", &format!("CREATE DATABASE {database}"));
        server.sql("postgres", "CHECKPOINT");
        let url = server.admin(&database);
        // What is worked off was enqueued by another process.
        let loaded = if task == "drain" { self.does("bulk", &url, jobs, callers).map(drop) } else { Ok(()) };
        let said = match loaded {
            Ok(()) => self.does(task, &url, jobs, callers),
            Err(error) => Err(error),
        };
        server.sql("postgres", &format!("DROP DATABASE {database} WITH (FORCE)"));
        let said = said?;
        let figure = |name: &str| said[name].as_f64().ok_or(format!("{} says no {name}", self.name));
        Ok(Measured {
            jobs: figure("jobs")?,
            seconds: figure("seconds")?,
            processor_us_per_job: figure("processor_us_per_job")?,
            resident_mib: figure("resident_mib")?,
            waited_ms: said["waited_ms"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect(),
        })
    }
}

impl Contender {
    fn does(&self, task: &str, url: &str, jobs: usize, callers: usize) -> Outcome<Value> {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", SECONDS_MOST]).arg(&self.program).args(&self.words);
        command.args([task, url]).args([jobs.to_string(), callers.to_string()]);
        let ran = command.env("QUEUE_MODULES", clients::queues()).output()?;
        if matches!(ran.status.code(), Some(124 | 137)) {
            return Err(format!("{} did not end {task} within {SECONDS_MOST} s.", self.name).into());
        }
        if !ran.status.success() {
            return Err(
                format!("{} cannot {task}: {}", self.name, String::from_utf8_lossy(&ran.stderr)).into()
            );
        }
        Ok(serde_json::from_slice(&ran.stdout)?)
    }
}

impl Measured {
    pub(super) fn per_second(&self) -> f64 {
        self.jobs / self.seconds
    }

    /// The wait below which that share of the jobs lies, in milliseconds.
    pub(super) fn waited(&self, share: f64) -> f64 {
        Series { values: self.waited_ms.clone(), ..Series::new("waited", "ms") }.quantile(share)
    }
}
