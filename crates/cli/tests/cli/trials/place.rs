//! What every trial needs of the place in which it runs: a server behind proxies, workers, reapers and naive judges.

use std::collections::BTreeMap;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use palisade_host::clock;
use palisade_postgres::{Session, Target};
use palisade_testkit::{Postgres, Proxy, eventually, process};
use tokio::time::timeout;

/// The rule, in milliseconds.
pub(super) const T_MS: u64 = 3_000;
/// How often judges look, in milliseconds.
pub(super) const SWEEP_MS: u64 = 200;
/// How often judges look.
pub(super) const SWEEP: Duration = Duration::from_millis(SWEEP_MS);

/// A server with workers, reapers, the stale reaper of the incident and two naive judges, and what came of them.
pub(super) trait Place: Sized {
    /// With so many workers, each with a job. After a lost connection one comes back after `back`.
    fn new(server: Postgres, workers: usize, back: Duration) -> Self;
    fn server(&mut self) -> &mut Postgres;
    /// Before the judges.
    fn near(&self) -> &Proxy;
    /// Before the workers.
    fn far(&self) -> &Proxy;
    fn reaper(&self) -> Reaper;
    /// The reaper that was there first.
    fn first(&mut self) -> &mut Option<Reaper>;
    /// The current term of the reaper's lease, if it is in force.
    fn term(&self) -> Option<u64>;
    /// What an operator has to do after a restore, before anybody comes back.
    fn after_restore(&self) {}
    /// Waits until twice the rule has passed in which every worker could beat, and says what came of it: living jobs that
    /// the client's clock, the server's clock and ours took.
    fn aftermath(&mut self) -> [usize; 3];
    /// A worker falls silent for ever: after how many milliseconds each judge has said so. Only its job is taken.
    fn death(&mut self) -> [u64; 3];
    /// How often the stale reaper was refused.
    fn refused(&self) -> u64;

    fn elected(&self, above: u64) -> u64 {
        eventually("a reaper is elected", || self.term().filter(|term| *term > above))
    }

    /// The proxies lead to where the server is now.
    fn follow(&mut self) {
        let port = self.server().port();
        self.near().lead_to(port);
        self.far().lead_to(port);
    }

    /// The server with all of its backends.
    fn processes(&mut self) -> Vec<u32> {
        let pid = self.server().pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).chain([pid]).collect()
    }
}

/// What runs in a thread until its value goes.
pub(super) struct Thread {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    /// Calls `each` with a session that is opened anew whenever one was lost; a lost one is opened after `back`.
    pub(super) fn of(
        url: String,
        every: Duration,
        back: Duration,
        mut each: impl AsyncFnMut(&Session) -> Result<(), palisade_postgres::Error> + Send + 'static,
    ) -> Self {
        let target = Target::parse(&url).unwrap();
        Self::looping(async move |session: &mut Option<Session>| {
            if session.is_none() {
                let opened = timeout(Duration::from_secs(2), Session::connect(&target)).await;
                *session = opened.ok().and_then(Result::ok);
            }
            let went = match session {
                Some(open) => each(open).await.is_ok() || !open.is_closed(),
                None => false,
            };
            if !went {
                *session = None;
            }
            tokio::time::sleep(if went { every } else { back }).await;
        })
    }

    /// Calls `each` again and again, with what it kept.
    pub(super) fn looping<K: Default>(mut each: impl AsyncFnMut(&mut K) + Send + 'static) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut kept = K::default();
                while !told.load(Ordering::Relaxed) {
                    each(&mut kept).await;
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
    /// `sql` asks for the jobs that are too old, with `$1` for the moment of the client's clock that lies T back.
    pub(super) fn of(url: String, sql: String) -> Self {
        let killed = Arc::new(Mutex::new(BTreeMap::new()));
        let found = Arc::clone(&killed);
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

    pub(super) fn forget(&self) {
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
