//! The job engine under trial: workers with programs, and its reaper beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use palisade_core::Exit;
use palisade_host::clock;
use palisade_jobs::claim::Evidence;
use palisade_jobs::store::{Fence, Reap, Reaped};
use palisade_jobs::{JobStore as _, Note};
use palisade_store::Store;
use palisade_testkit::postgres::PASSWORD;
use palisade_testkit::{Postgres, Proxy, Scratch, eventually, process};
use tokio::time::timeout;

use super::place::{Naive, Place, Reaper, SWEEP, T_MS, Thread};
use crate::said::Said;

/// Hands over a checkpoint, and works on until the file GO is there.
const UNTIL_GO: &str = r#"echo "$PALISADE_TOKEN" >"mark-$$"; palisade job checkpoint "mark-$$"; while [ ! -e "$HOME/GO" ]; do sleep 0.1; done"#;

pub(super) struct Works {
    home: Scratch,
    pub(super) server: Postgres,
    pub(super) near: Proxy,
    far: Proxy,
    workers: BTreeMap<usize, Worker>,
    /// How often the stale reaper was refused, and how many jobs it took.
    stale: [Arc<AtomicU64>; 2],
    _stale: Thread,
    client_clock: Naive,
    server_clock: Naive,
    first: Option<Reaper>,
}

/// A worker as a process. Its program ends with it.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        process::thaw(self.0.id());
        process::kill(self.0.id());
        drop(self.0.wait());
    }
}

fn url(port: u16) -> String {
    format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/postgres")
}

fn palisade(home: &Scratch, url: &str, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
    let path = palisade_host::Environment::of_this_process().text("PATH").unwrap();
    command.args(words).env_clear().env("HOME", home.path()).env("XDG_RUNTIME_DIR", home.join("run"));
    command.env("PATH", format!("{}:{path}", home.join("bin").display())).env("DATABASE_URL", url);
    command.current_dir(home.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A reaper whose term was over long ago, and which knows every claim.
fn zombie(url: String, [refused, took]: [Arc<AtomicU64>; 2]) -> Thread {
    Thread::looping(async move |kept: &mut Option<Store>| {
        let round = async {
            let store = match kept.take() {
                Some(store) => store,
                None => Store::open(&url).await?,
            };
            let by = Note {
                app: None,
                environment: None,
                version: None,
                host: "old".to_owned(),
                pid: 1,
                machine_id: "old".to_owned(),
            };
            let mut reaps = Vec::new();
            for (incarnation, beat) in store.beats().await?.workers {
                for held in store.claims_of(&incarnation, 100).await? {
                    let evidence = Evidence::new(1, beat, T_MS, T_MS);
                    let (incarnation, reason, by) = (incarnation.clone(), "old".to_owned(), by.clone());
                    reaps.push(Reap { job: held.job, token: held.token, incarnation, evidence, reason, by });
                }
            }
            let under = Fence { term: 1, holder: "old".to_owned() };
            for answer in store.reap(&under, &reaps).await? {
                match answer {
                    Reaped::TermOver => refused.fetch_add(1, Ordering::Relaxed),
                    Reaped::Taken(_) => took.fetch_add(1, Ordering::Relaxed),
                    Reaped::Refuted => 0,
                };
            }
            *kept = Some(store);
            Ok::<_, palisade_jobs::Error>(())
        };
        drop(timeout(Duration::from_secs(2), round).await);
        tokio::time::sleep(SWEEP).await;
    })
}

impl Works {
    /// Which jobs run, and by which worker.
    fn running(&self) -> BTreeMap<String, String> {
        let sql = "SELECT worker, job FROM palisade_jobs.job_run ORDER BY worker";
        let rows = self.server.sql("postgres", sql);
        rows.lines()
            .filter_map(|row| row.split_once('|'))
            .map(|(who, job)| (who.into(), job.into()))
            .collect()
    }

    /// The tokens of claims that were taken by any reaper, with their jobs and why.
    pub(super) fn reaped(&self) -> BTreeMap<String, (String, String)> {
        let sql = "SELECT token, job, reason FROM palisade_jobs.reap, unnest(tokens, jobs) t (token, job)";
        let row = |row: &str| {
            let [token, job, why] = row.splitn(3, '|').collect::<Vec<_>>()[..] else { panic!("{row}") };
            (token.to_owned(), (job.to_owned(), why.to_owned()))
        };
        self.server.sql("postgres", sql).lines().map(row).collect()
    }

    /// The tokens of claims that a program works on.
    fn worked_on(&self) -> BTreeSet<String> {
        let mut open: Vec<u32> = self.workers.values().map(|worker| worker.0.id()).collect();
        let mut tokens = BTreeSet::new();
        while let Some(pid) = open.pop() {
            tokens.extend(process::variable(pid, "PALISADE_TOKEN"));
            open.extend(process::children(pid));
        }
        tokens
    }

    /// Every worker has a job, and a program works on each claim that the store has: none is left over from a backup.
    pub(super) fn everybody_works(&self) {
        eventually("every worker has a job, and every claim its program", || {
            let claims = self.server.sql("postgres", "SELECT token FROM palisade_jobs.job_run");
            let claims: BTreeSet<String> = claims.lines().map(str::to_owned).collect();
            let all = self.running().len() == self.workers.len() && claims.len() == self.workers.len();
            (all && claims.is_subset(&self.worked_on())).then_some(())
        });
    }

    /// The worker with that number stands still, and its program with it soon.
    pub(super) fn freeze(&self, number: usize) {
        process::freeze(self.workers[&number].0.id());
    }

    pub(super) fn thaw(&self, number: usize) {
        process::thaw(self.workers[&number].0.id());
    }

    /// One with nothing between it and the server.
    pub(super) fn reaper_directly(&self) -> Reaper {
        self.reaper_at(self.server.port())
    }

    fn reaper_at(&self, port: u16) -> Reaper {
        let words = "reaper run --sweep-every 200ms --reconnect-grace 2s --lease 3s";
        let words: Vec<_> = words.split(' ').collect();
        Reaper(palisade(&self.home, &url(port), &words).spawn().unwrap())
    }
}

impl Place for Works {
    /// Workers come back as they do: `back` is for those of a table.
    fn new(server: Postgres, workers: usize, _: Duration) -> Self {
        let (near, far) = (Proxy::before(server.port()), Proxy::before(server.port()));
        let home = Scratch::new();
        std::fs::create_dir(home.join("bin")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_palisade"), home.join("bin/palisade")).unwrap();
        let direct = url(server.port());
        let rules = "queue set work beat-every 500ms reap-after 3s self-fence 1700ms handover-delay 0s";
        let words: Vec<_> = rules.split(' ').collect();
        Said::from(palisade(&home, &direct, &words).stderr(Stdio::piped()).output().unwrap())
            .ends(Exit::Done);
        for _ in 0..workers {
            let words = ["job", "enqueue", "--queue", "work", "--max-attempts", "100"];
            Said::from(palisade(&home, &direct, &words).output().unwrap()).ends(Exit::Done);
        }
        let start = |number: usize| {
            let name = format!("w{number:02}");
            let words =
                ["worker", "--queue", "work", "--name", &name, "--no-reaper", "--", "sh", "-c", UNTIL_GO];
            Worker(palisade(&home, &url(far.port()), &words).spawn().unwrap())
        };
        let crew = (1..=workers).map(|number| (number, start(number))).collect();
        let stale = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
        let judge = |older: &str| {
            let sql = format!(
                "SELECT r.job::text FROM palisade_jobs.job_run r JOIN palisade_jobs.worker_beat b USING (incarnation) \
                 WHERE $1::float8 > 0 AND b.beat_ms < {older}"
            );
            Naive::of(url(near.port()), sql)
        };
        let works = Self {
            client_clock: judge("$1::float8 * 1000"),
            server_clock: judge(&format!("palisade_jobs.now_ms() - {T_MS}")),
            _stale: zombie(url(far.port()), stale.clone()),
            home,
            server,
            near,
            far,
            workers: crew,
            stale,
            first: None,
        };
        works.everybody_works();
        works
    }

    fn server(&mut self) -> &mut Postgres {
        &mut self.server
    }

    fn near(&self) -> &Proxy {
        &self.near
    }

    fn far(&self) -> &Proxy {
        &self.far
    }

    fn reaper(&self) -> Reaper {
        self.reaper_at(self.near.port())
    }

    fn first(&mut self) -> &mut Option<Reaper> {
        &mut self.first
    }

    fn term(&self) -> Option<u64> {
        let sql = "SELECT term FROM palisade_jobs.lease WHERE expires_at > clock_timestamp()";
        self.server.sql("postgres", sql).parse().ok()
    }

    fn after_restore(&self) {
        let direct = url(self.server.port());
        let words = ["lease", "after-restore", "--store", &direct, "--schema", "palisade_jobs"];
        Said::from(palisade(&self.home, &direct, &words).stderr(Stdio::piped()).output().unwrap())
            .ends(Exit::Done);
    }

    fn aftermath(&mut self) -> [usize; 3] {
        // Who could not beat has let go by itself, and takes a job up again. After a restore the store may have claims that
        // were given back since the backup: those nobody works on. Their workers give them back, or the reaper takes them.
        let (until, mut alive) = (clock::boot_ms() + 2 * T_MS, self.worked_on());
        let mut known: BTreeSet<String> = self.reaped().into_keys().collect();
        while clock::boot_ms() < until {
            std::thread::sleep(Duration::from_millis(100));
            for (token, (job, why)) in self.reaped() {
                if known.insert(token.clone()) {
                    assert!(!alive.contains(&token), "job {job} was worked on and taken: {why}");
                }
            }
            alive = self.worked_on();
        }
        self.everybody_works();
        assert_eq!(self.stale[1].load(Ordering::Relaxed), 0, "the stale reaper took a job");
        let killed = [self.client_clock.killed().len(), self.server_clock.killed().len(), 0];
        self.client_clock.forget();
        self.server_clock.forget();
        killed
    }

    fn death(&mut self) -> [u64; 3] {
        let (job, before) = (self.running()["w01"].clone(), self.reaped().len());
        let since = clock::boot_ms();
        process::freeze(self.workers[&1].0.id());
        let ours = eventually("the dead worker's job is taken", || {
            let taken = self.reaped();
            (taken.len() > before).then(|| {
                let found = clock::boot_ms() - since;
                assert!(taken.len() == before + 1 && taken.values().any(|(of, _)| *of == job), "{taken:?}");
                found
            })
        });
        let naive = |naive: &Naive| naive.killed().get(&job).map_or(0, |at| at - since);
        [naive(&self.client_clock), naive(&self.server_clock), ours]
    }

    fn refused(&self) -> u64 {
        self.stale[0].load(Ordering::Relaxed)
    }
}
