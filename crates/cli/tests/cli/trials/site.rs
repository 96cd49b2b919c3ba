//! A database with workers, reapers, the stale reaper of the incident and two naive judges, and what came of them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use palisade_core::Exit;
use palisade_host::clock;
use palisade_postgres::{Session, Target};
use palisade_testkit::postgres::PASSWORD;
use palisade_testkit::{Postgres, Proxy, Scratch, eventually, process};
use tokio::time::timeout;

use crate::said::Said;

/// The rule of the table, in milliseconds.
pub(super) const T_MS: u64 = 3_000;
/// How often workers beat.
const BEAT: Duration = Duration::from_millis(200);
/// How often judges look.
const SWEEP: Duration = Duration::from_millis(200);

/// What runs in a thread until its value goes.
struct Thread {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    /// Calls `each` with a session that is opened anew whenever one was lost; a lost one is opened after `back`.
    fn of(
        url: String,
        every: Duration,
        back: Duration,
        mut each: impl AsyncFnMut(&Session) -> Result<(), palisade_postgres::Error> + Send + 'static,
    ) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let target = Target::parse(&url).unwrap();
            runtime.block_on(async {
                let mut session = None;
                while !told.load(Ordering::Relaxed) {
                    if session.is_none() {
                        let opened = timeout(Duration::from_secs(2), Session::connect(&target)).await;
                        session = opened.ok().and_then(Result::ok);
                    }
                    let went = match &session {
                        Some(open) => each(open).await.is_ok() || !open.is_closed(),
                        None => false,
                    };
                    if went {
                        tokio::time::sleep(every).await;
                    } else {
                        session = None;
                        tokio::time::sleep(back).await;
                    }
                }
            });
        });
        Self { ends, thread: Some(thread) }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // One that waits for a server that does not answer ends with the process.
        drop(self.thread.take().filter(JoinHandle::is_finished).map(JoinHandle::join));
    }
}

/// A judge by age: whom it would have killed, and when it said so first.
pub(super) struct Naive {
    killed: Arc<Mutex<BTreeMap<String, u64>>>,
    _thread: Thread,
}

impl Naive {
    /// `older` is the condition, with `$1` for the moment of the client's clock that lies T back.
    fn of(url: String, older: &'static str) -> Self {
        let killed = Arc::new(Mutex::new(BTreeMap::new()));
        let found = Arc::clone(&killed);
        let sql = format!(
            "SELECT id::text FROM jobs WHERE status = 'running' AND $1::float8 > 0 AND heartbeat_at < {older}"
        );
        let thread = Thread::of(url, SWEEP, SWEEP, async move |session: &Session| {
            let cutoff = f64::from(u32::try_from(clock::now().unix_ms() / 1000).unwrap())
                + (clock::now().unix_ms() % 1000) as f64 / 1000.0
                - T_MS as f64 / 1000.0;
            let rows = session.ask("judge", &sql, &[Some(&cutoff.to_string())]).await?;
            let mut found = found.lock().unwrap();
            for row in rows {
                found.entry(row[0].clone().unwrap()).or_insert_with(clock::boot_ms);
            }
            Ok(())
        });
        Self { killed, _thread: thread }
    }

    pub(super) fn killed(&self) -> BTreeMap<String, u64> {
        self.killed.lock().unwrap().clone()
    }

    fn forget(&self) {
        self.killed.lock().unwrap().clear();
    }
}

/// A reaper as a process.
pub(super) struct Reaper(pub(super) Child);

impl Drop for Reaper {
    fn drop(&mut self) {
        process::thaw(self.0.id());
        process::kill(self.0.id());
        drop(self.0.wait());
    }
}

pub(super) struct Site {
    pub(super) home: Scratch,
    pub(super) server: Postgres,
    /// Before the judges.
    pub(super) near: Proxy,
    /// Before the workers.
    pub(super) far: Proxy,
    workers: BTreeMap<usize, Thread>,
    /// How often the stale reaper was refused, and how many jobs it took.
    stale: [Arc<AtomicU64>; 2],
    _stale: Thread,
    pub(super) client_clock: Naive,
    pub(super) server_clock: Naive,
    /// The reaper that was there first.
    pub(super) first: Option<Reaper>,
}

fn url(role: &str, port: u16) -> String {
    format!("postgres://{role}:{PASSWORD}@127.0.0.1:{port}/postgres")
}

impl Site {
    /// With so many workers, each with a job. After a lost connection one comes back after `back`.
    pub(super) fn new(server: Postgres, workers: usize, back: Duration) -> Self {
        server.role("app", "");
        server.sql(
            "postgres",
            &format!(
                "CREATE TABLE jobs (id int PRIMARY KEY, status text NOT NULL, heartbeat_at timestamptz, error text); \
                 INSERT INTO jobs SELECT id, 'running', clock_timestamp(), NULL FROM generate_series(1, {workers}) id; \
                 GRANT ALL ON jobs TO app"
            ),
        );
        let (near, far) = (Proxy::before(server.port()), Proxy::before(server.port()));
        let home = Scratch::new();
        let direct = server.admin("postgres");
        let set_up = |words: &str| {
            let words: Vec<_> = words.split(' ').collect();
            Said::from(palisade(&home, &direct, &words).output().unwrap()).ends(Exit::Done);
        };
        set_up("db stamp --environment production");
        set_up(
            "guard install table public.jobs --status status --running running --heartbeat heartbeat_at \
             --done completed --own failed,queued --reason-column error --mode enforce",
        );
        set_up(&format!(
            "db key create --app janitor --environment production --key {}/key",
            home.path().display()
        ));
        set_up("guard require-identity table public.jobs on");
        server.sql("postgres", "UPDATE palisade.guard SET min_age = '3 seconds', quiet_after = '1 second'");

        let stale = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
        let [refused, took] = stale.clone();
        let zombie = Thread::of(url("app", far.port()), SWEEP, SWEEP, async move |session: &Session| {
            // A sixth of the rule, as in the report.
            const ZOMBIE: &str = "UPDATE jobs SET status = 'cancelled', error = 'Abandoned (server restart or timeout)' \
                WHERE status = 'running' AND heartbeat_at < now() - interval '500 ms' RETURNING id::text";
            match session.ask("reap as of old", ZOMBIE, &[]).await {
                Ok(rows) => took.fetch_add(rows.len() as u64, Ordering::Relaxed),
                Err(error) if error.sqlstate() == Some("PL321") => refused.fetch_add(1, Ordering::Relaxed),
                Err(error) => return Err(error),
            };
            Ok(())
        });
        let mut site = Self {
            client_clock: Naive::of(url("postgres", near.port()), "to_timestamp($1::float8)"),
            server_clock: Naive::of(url("postgres", near.port()), "clock_timestamp() - interval '3 seconds'"),
            home,
            server,
            near,
            far,
            workers: BTreeMap::new(),
            stale,
            _stale: zombie,
            first: None,
        };
        (1..=workers).for_each(|job| site.work(job, back));
        site
    }

    /// Begins to beat for a job.
    pub(super) fn work(&mut self, job: usize, back: Duration) {
        let sql = format!(
            "UPDATE jobs SET heartbeat_at = clock_timestamp() WHERE status = 'running' AND id = {job}"
        );
        let worker = Thread::of(url("app", self.far.port()), BEAT, back, async move |session: &Session| {
            session.run("beat", &sql).await
        });
        self.workers.insert(job, worker);
    }

    /// The worker of that job dies.
    pub(super) fn bury(&mut self, job: usize) {
        self.workers.remove(&job).unwrap();
    }

    pub(super) fn reaper(&self) -> Reaper {
        self.reaper_at(self.near.port())
    }

    /// One with nothing between it and the server.
    pub(super) fn reaper_directly(&self) -> Reaper {
        self.reaper_at(self.server.port())
    }

    fn reaper_at(&self, port: u16) -> Reaper {
        let key = self.home.join("key").display().to_string();
        let words =
            "reaper run --table public.jobs --requeue-to queued --beat-every 500ms --sweep-every 200ms \
            --reconnect-grace 2s --lease 3s --key-file"
                .split_whitespace();
        let words: Vec<_> = words.chain([key.as_str()]).collect();
        let mut command = palisade(&self.home, &url("postgres", port), &words);
        Reaper(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// The current term of the reaper's lease, if it is in force.
    pub(super) fn term(&self) -> Option<u64> {
        let sql = "SELECT term FROM palisade.lease WHERE expires_at > clock_timestamp()";
        self.server.sql("postgres", sql).parse().ok()
    }

    pub(super) fn elected(&self, above: u64) -> u64 {
        eventually("a reaper is elected", || self.term().filter(|term| *term > above))
    }

    /// The proxies lead to where the server is now.
    pub(super) fn follow(&self) {
        self.near.lead_to(self.server.port());
        self.far.lead_to(self.server.port());
    }

    /// The server with all of its backends.
    pub(super) fn processes(&self) -> Vec<u32> {
        let pid = self.server.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).chain([pid]).collect()
    }

    /// Jobs that do not run any more.
    pub(super) fn taken(&self) -> BTreeSet<String> {
        let sql = "SELECT id FROM jobs WHERE status <> 'running' ORDER BY id";
        self.server.sql("postgres", sql).lines().map(str::to_owned).collect()
    }

    /// Waits until twice the rule has passed in which every job could be beaten for, and says what came of it: jobs that
    /// were taken by the naive rules, and by anybody at all.
    pub(super) fn aftermath(&self) -> [usize; 3] {
        let until = clock::boot_ms() + 2 * T_MS;
        while clock::boot_ms() < until {
            std::thread::sleep(Duration::from_millis(100));
            assert_eq!(self.taken(), BTreeSet::new(), "a living job was taken: {}", self.reasons());
        }
        assert_eq!(self.stale[1].load(Ordering::Relaxed), 0, "the stale reaper took a job");
        let killed = [self.client_clock.killed().len(), self.server_clock.killed().len(), self.taken().len()];
        self.client_clock.forget();
        self.server_clock.forget();
        killed
    }

    fn reasons(&self) -> String {
        self.server.sql("postgres", "SELECT id, status, error FROM jobs WHERE status <> 'running'")
    }

    /// The worker of job 1 dies: after how many milliseconds each judge has said so. Only that job is taken.
    pub(super) fn death(&mut self) -> [u64; 3] {
        let since = clock::boot_ms();
        self.bury(1);
        let ours = eventually("the dead job is given back", || {
            self.taken().contains("1").then(|| clock::boot_ms() - since)
        });
        assert_eq!(self.taken(), BTreeSet::from(["1".to_owned()]), "{}", self.reasons());
        assert!(self.reasons().contains("by janitor palisade"), "{}", self.reasons());
        let naive = |naive: &Naive| naive.killed().get("1").map_or(0, |at| at - since);
        [naive(&self.client_clock), naive(&self.server_clock), ours]
    }

    /// How often the stale reaper was refused.
    pub(super) fn refused(&self) -> u64 {
        self.stale[0].load(Ordering::Relaxed)
    }
}

pub(super) fn palisade(home: &Scratch, url: &str, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
    command.args(words).env_clear().env("HOME", home.path()).env("PALISADE_DATABASE_URL", url);
    command
}
