//! A host with a store and workers, and a reaper that judges by what it itself observed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use palisade_core::{Intended, QueueName};
use palisade_host::clock::Stopwatch;
use palisade_jobs::claim::{Evidence, Terms};
use palisade_jobs::job::Start;
use palisade_jobs::store::{Deed, Fence, Reap};
use palisade_jobs::{Backoff, Job, JobId, JobStore, NewJob, Note, Queue, State};
use palisade_store::Store;
use palisade_testkit::{Scratch, process};
use serde_json::Value;

use crate::said::Said;

/// A beat each 500 ms; a worker stops by itself after 1.5 s; a reaper may act after 3 s, the least that there is.
pub(crate) const TERMS: Terms = Terms { beat_every_ms: 500, reap_after_ms: 3_000, self_fence_ms: 1_500 };

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(crate) fn note() -> Note {
    Note {
        app: None,
        environment: None,
        version: None,
        host: "test".to_owned(),
        pid: std::process::id(),
        machine_id: "test".to_owned(),
    }
}

/// How the reaper's term is written down in a store.
pub(crate) type Elect = Box<dyn Fn()>;

pub(crate) struct Yard {
    pub(crate) scratch: Scratch,
    pub(crate) url: String,
    pub(crate) store: Store,
    elect: Elect,
    workers: usize,
    silent: BTreeMap<String, (u64, Stopwatch)>,
}

/// A worker that runs. Dropping it ends it.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) log: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        process::thaw(self.child.id());
        process::kill(self.child.id());
        drop(self.child.wait());
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it ended by itself.
    pub(crate) fn ends(mut self) {
        process::wait_gone(self.child.id());
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", fs::read_to_string(&self.log).unwrap());
    }
}

impl Yard {
    /// On a SQLite file in its own folder.
    pub(crate) async fn sqlite() -> Self {
        let scratch = Scratch::new();
        let file = scratch.join("jobs.db");
        let path = file.display().to_string();
        let elect = move || {
            // Its lease's clock is the boot clock, so it names the boot.
            let boot = palisade_host::clock::boot_id().unwrap();
            let sql = format!(
                "INSERT OR IGNORE INTO lease (name, term, holder, boot_id, acquired_ms, expires_ms) \
                 VALUES ('reaper', 1, 'test', '{boot}', 0, 9000000000000000)"
            );
            let script = format!(
                "import sqlite3; c=sqlite3.connect({path:?}, timeout=10); c.execute({sql:?}); c.commit()"
            );
            assert!(Command::new("python3").args(["-c", &script]).status().unwrap().success());
        };
        let url = format!("sqlite:{}", file.display());
        Self::on(scratch, url.clone(), url, Box::new(elect)).await
    }

    /// On a SQLite file, where the workers themselves elect a reaper.
    pub(crate) async fn unelected() -> Self {
        let scratch = Scratch::new();
        let url = format!("sqlite:{}", scratch.join("jobs.db").display());
        Self::on(scratch, url.clone(), url, Box::new(|| {})).await
    }

    /// On PostgreSQL: workers reach it under `url`, the test under `direct`.
    pub(crate) async fn postgres(url: String, direct: String) -> Self {
        let seat = direct.clone();
        let elect = move || {
            let sql = "INSERT INTO palisade_jobs.lease (name, term, holder, acquired_at, expires_at) \
                VALUES ('reaper', 1, 'test', now(), now() + interval '1 day') ON CONFLICT DO NOTHING";
            // A server that is away elects nobody.
            drop(palisade_testkit::psql(&seat, sql));
        };
        Self::on(Scratch::new(), url, direct, Box::new(elect)).await
    }

    /// On a store: workers reach it under `url`, the test under `direct`.
    pub(crate) async fn on(scratch: Scratch, url: String, direct: String, elect: Elect) -> Self {
        let store = Store::open(&direct).await.unwrap();
        let mut rules = Queue::new(QueueName::new("work").unwrap());
        rules.terms = TERMS;
        rules.handover_delay_ms = 0;
        rules.backoff = Backoff { first_ms: 100, most_ms: 100 };
        store.set_queue(&rules, &note()).await.unwrap();
        elect();
        // Programs call `palisade` by its name.
        fs::create_dir(scratch.join("bin")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_palisade"), scratch.join("bin/palisade")).unwrap();
        Self { scratch, url, store, elect, workers: 0, silent: BTreeMap::new() }
    }

    pub(crate) async fn enqueue(&self, count: usize, max_attempts: u16) -> Vec<JobId> {
        let one = |number| NewJob {
            queue: QueueName::new("work").unwrap(),
            payload: serde_json::json!({ "number": number }),
            priority: 0,
            start: Start::Now,
            unique: None,
            idempotency: None,
            max_attempts,
            reap_after: None,
            by: note(),
        };
        let jobs: Vec<NewJob> = (0..count).map(one).collect();
        self.store.enqueue(&jobs).await.unwrap().iter().map(|made| made.id).collect()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
        let path = palisade_host::Environment::of_this_process().text("PATH").unwrap();
        command.env_clear().env("PATH", format!("{}:{path}", self.scratch.join("bin").display()));
        command.env("HOME", self.scratch.path()).env("XDG_RUNTIME_DIR", self.scratch.join("run"));
        command.env("XDG_STATE_HOME", self.scratch.join("state")).env("OUT", self.scratch.join("out"));
        command.env("DATABASE_URL", &self.url).current_dir(self.scratch.path());
        command
    }

    /// What a command says on this host.
    pub(crate) fn palisade(&self, words: &[&str]) -> Said {
        self.command().args(words).output().unwrap().into()
    }

    /// A worker with these options before the program and these words after it.
    pub(crate) fn work(&mut self, options: &[&str], program: &[&str]) -> Running {
        self.workers += 1;
        let log = self.scratch.join(format!("worker-{}", self.workers));
        let mut command = self.command();
        command.args(["worker", "--json", "--queue", "work"]).args(options).arg("--").args(program);
        command.stdin(Stdio::null()).stdout(File::create(&log).unwrap());
        command.stderr(File::create(log.with_extension("err")).unwrap());
        Running { child: command.spawn().unwrap(), log }
    }

    /// A command that runs until it is ended.
    pub(crate) fn start(&mut self, words: &[&str]) -> Running {
        self.workers += 1;
        let log = self.scratch.join(format!("worker-{}", self.workers));
        let mut command = self.command();
        command.args(words).stdin(Stdio::null()).stdout(File::create(&log).unwrap());
        command.stderr(File::create(log.with_extension("err")).unwrap());
        Running { child: command.spawn().unwrap(), log }
    }

    /// A worker that something else becomes.
    pub(crate) fn work_by(&mut self, words: &[&str]) -> Running {
        self.workers += 1;
        let log = self.scratch.join(format!("worker-{}", self.workers));
        let mut command = self.command();
        let around = self.scratch.join("around");
        fs::create_dir_all(&around).unwrap();
        let mut starter = Command::new(words[0]);
        starter.args(&words[1..]).env_clear();
        starter.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        starter.current_dir(around).stdin(Stdio::null()).stdout(File::create(&log).unwrap());
        command = starter;
        command.stderr(File::create(log.with_extension("err")).unwrap());
        Running { child: command.spawn().unwrap(), log }
    }

    /// Writes a program and says where.
    pub(crate) fn program(&self, name: &str, text: &str) -> String {
        self.scratch.write(name, text).display().to_string()
    }

    pub(crate) async fn job(&self, job: JobId) -> Job {
        self.store.job(job).await.unwrap().unwrap()
    }

    /// Waits for the job to be as it is asked for.
    pub(crate) async fn until(&self, job: JobId, what: &str, fits: impl Fn(&Job) -> bool) -> Job {
        for _ in 0..3_000 {
            let found = self.store.job(job).await;
            if let Some(found) = found.ok().flatten().filter(|found| fits(found)) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let logs: Vec<String> = (1..=self.workers).map(|number| self.said_by(number)).collect();
        panic!("waited in vain for job {job}: {what}: {:?}\n{}", self.store.job(job).await, logs.join("\n"));
    }

    fn said_by(&self, number: usize) -> String {
        let log = self.scratch.join(format!("worker-{number}"));
        let err = fs::read_to_string(log.with_extension("err")).unwrap_or_default();
        format!("worker {number}:\n{}{err}", fs::read_to_string(log).unwrap_or_default())
    }

    pub(crate) async fn until_state(&self, job: JobId, state: State) -> Job {
        self.until(job, state.as_str(), |found| found.state == state).await
    }

    pub(crate) async fn do_to(&self, deed: Deed, job: JobId) {
        self.store.intervene(&Intended::without_journal(), &deed, &[job], &note()).await.unwrap();
    }

    /// One sweep: takes the jobs of workers whose beats this reaper did not see move for the whole threshold.
    pub(crate) async fn sweep(&mut self) {
        let Ok(seen) = self.store.beats().await else {
            // What could not be observed is not charged.
            self.silent.clear();
            return;
        };
        (self.elect)();
        let mut reaps = Vec::new();
        for (incarnation, now) in seen.workers {
            let who = incarnation.as_str().to_owned();
            let (beat, since) = self.silent.entry(who).or_insert_with(|| (now, Stopwatch::start()));
            if *beat != now {
                (*beat, *since) = (now, Stopwatch::start());
            }
            let silent_ms = u64::try_from(since.elapsed().as_millis()).unwrap();
            if silent_ms < TERMS.reap_after_ms {
                continue;
            }
            for held in self.store.claims_of(&incarnation, 1_000).await.unwrap_or_default() {
                let evidence = Evidence::new(1, now, silent_ms, held.terms.reap_after_ms);
                let (incarnation, reason) = (incarnation.clone(), "silent".to_owned());
                reaps.push(Reap {
                    job: held.job,
                    token: held.token,
                    incarnation,
                    evidence,
                    reason,
                    by: note(),
                });
            }
        }
        if !reaps.is_empty() {
            let under = Fence { term: 1, holder: "test".to_owned() };
            drop(self.store.reap(&under, &reaps).await);
        }
    }

    /// What every worker told, in its own order.
    pub(crate) fn told(&self) -> Vec<Vec<Value>> {
        let read = |number| {
            let text = fs::read_to_string(self.scratch.join(format!("worker-{number}"))).unwrap_or_default();
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
        };
        (1..=self.workers).map(read).collect()
    }

    /// What programs wrote into the file OUT, line by line.
    pub(crate) fn effects(&self) -> Vec<String> {
        let text = fs::read_to_string(self.scratch.join("out")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}
