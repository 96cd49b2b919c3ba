//! A guarded table under trial: workers that beat for its rows, and its reaper beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use palisade_core::Exit;
use palisade_host::clock;
use palisade_postgres::Session;
use palisade_testkit::postgres::PASSWORD;
use palisade_testkit::{Postgres, Proxy, Scratch, eventually};

use super::place::{Naive, Place, Reaper, SWEEP, T_MS, Thread};
use crate::said::Said;

/// How often workers beat.
const BEAT: Duration = Duration::from_millis(200);
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
    client_clock: Naive,
    server_clock: Naive,
    /// The reaper that was there first.
    pub(super) first: Option<Reaper>,
}

fn url(role: &str, port: u16) -> String {
    format!("postgres://{role}:{PASSWORD}@127.0.0.1:{port}/postgres")
}

impl Site {
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

    /// Jobs that do not run any more.
    pub(super) fn taken(&self) -> BTreeSet<String> {
        let sql = "SELECT id FROM jobs WHERE status <> 'running' ORDER BY id";
        self.server.sql("postgres", sql).lines().map(str::to_owned).collect()
    }

    fn reasons(&self) -> String {
        self.server.sql("postgres", "SELECT id, status, error FROM jobs WHERE status <> 'running'")
    }
}

impl Place for Site {
    fn new(server: Postgres, workers: usize, back: Duration) -> Self {
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
        let judge = |older: &str| {
            let sql =
                "SELECT id::text FROM jobs WHERE status = 'running' AND $1::float8 > 0 AND heartbeat_at < ";
            Naive::of(url("postgres", near.port()), format!("{sql}{older}"))
        };
        let mut site = Self {
            client_clock: judge("to_timestamp($1::float8)"),
            server_clock: judge("clock_timestamp() - interval '3 seconds'"),
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
        let sql = "SELECT term FROM palisade.lease WHERE expires_at > clock_timestamp()";
        self.server.sql("postgres", sql).parse().ok()
    }

    fn aftermath(&mut self) -> [usize; 3] {
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

    fn death(&mut self) -> [u64; 3] {
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

    fn refused(&self) -> u64 {
        self.stale[0].load(Ordering::Relaxed)
    }
}

pub(super) fn palisade(home: &Scratch, url: &str, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_palisade"));
    command.args(words).env_clear().env("HOME", home.path()).env("PALISADE_DATABASE_URL", url);
    command
}
