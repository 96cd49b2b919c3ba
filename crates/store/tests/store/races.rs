//! Many at once, on both stores: threads, and processes of their own at one file.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use palisade_core::{Intended, QueueName};
use palisade_jobs::claim::{Ask, Beat, Finish, Order};
use palisade_jobs::job::{NewJob, Note};
use palisade_jobs::store::{Deed, Intervened};
use palisade_jobs::{Ending, Incarnation, JobStore as _, State, Worker};
use palisade_store::Store;
use palisade_testkit::{Postgres as Server, Scratch};
use serde_json::json;

fn by() -> Note {
    Note {
        app: None,
        environment: None,
        version: None,
        host: "race".to_owned(),
        pid: std::process::id(),
        machine_id: "m0".to_owned(),
    }
}

fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

fn job(name: &str) -> NewJob {
    NewJob::new(queue(name), json!({}), by())
}

pub(crate) fn worker(number: u64) -> Worker {
    let bits = (u128::from(std::process::id()) << 64) | u128::from(number);
    Worker {
        name: format!("w{number}"),
        incarnation: Incarnation::from_bits(bits),
        by: by(),
        start_ticks: 1,
        boot_id: "boot".to_owned(),
        pid_space: None,
    }
}

/// Runs `each` in so many threads, each with a store of its own.
fn in_threads<T: Send>(threads: u64, url: &str, each: impl AsyncFn(Store, u64) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let each = &each;
        let run = |number| {
            scope
                .spawn(move || crate::block_on(async { each(Store::open(url).await.unwrap(), number).await }))
        };
        let threads: Vec<_> = (0..threads).map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn ten_thousand_enqueues_of_one_key(url: &str) {
    let made = in_threads(16, url, async |store, _| {
        let mut seen = BTreeSet::new();
        let mut new = 0;
        for _ in 0..25 {
            let same = NewJob { unique: Some("one".to_owned()), ..job("key") };
            for made in store.enqueue(&vec![same; 25]).await.unwrap() {
                seen.insert(made.id);
                new += u32::from(made.new);
            }
        }
        (seen, new)
    });
    let ids: BTreeSet<_> = made.iter().flat_map(|(seen, _)| seen).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(made.iter().map(|(_, new)| new).sum::<u32>(), 1);
}

fn sixteen_workers_share_out_a_queue(url: &str) {
    let all: BTreeSet<_> = crate::block_on(async {
        let store = Store::open(url).await.unwrap();
        let made = store.enqueue(&vec![job("shared"); 2_000]).await.unwrap();
        made.iter().map(|made| made.id).collect()
    });
    let given = in_threads(16, url, async |store, number| {
        let me = worker(100 + number);
        store.register(&me).await.unwrap();
        let mut mine = Vec::new();
        loop {
            let ask = Ask {
                queue: queue("shared"),
                most: 7,
                incarnation: me.incarnation.clone(),
                reap_after: None,
            };
            let claims = store.claim(&ask).await.unwrap();
            if claims.is_empty() {
                return mine;
            }
            let ends: Vec<_> = claims
                .iter()
                .map(|claim| Finish { job: claim.job, token: claim.token, order: Order::Complete })
                .collect();
            assert!(store.finish(&ends).await.unwrap().iter().all(|end| *end == Ending::Applied));
            mine.extend(claims.into_iter().map(|claim| (claim.job, claim.token)));
        }
    });
    let given: Vec<_> = given.into_iter().flatten().collect();
    assert_eq!(given.len(), all.len(), "each job went out once");
    assert_eq!(given.iter().map(|(job, _)| *job).collect::<BTreeSet<_>>(), all);
    assert_eq!(given.iter().map(|(_, token)| *token).collect::<BTreeSet<_>>().len(), all.len());
}

/// Of each pair one comes first, both learn how it ended, and the state agrees with what they were told.
fn cancel_and_complete_agree(url: &str) {
    let claims = crate::block_on(async {
        let store = Store::open(url).await.unwrap();
        store.enqueue(&vec![job("pairs"); 200]).await.unwrap();
        let me = worker(300);
        store.register(&me).await.unwrap();
        let ask = Ask { queue: queue("pairs"), most: 200, incarnation: me.incarnation, reap_after: None };
        store.claim(&ask).await.unwrap()
    });
    let claims = &claims;
    in_threads(2, url, async |store, number| {
        for claim in claims {
            if number == 0 {
                let end = Finish { job: claim.job, token: claim.token, order: Order::Cancelled };
                assert_eq!(store.finish(&[end]).await.unwrap(), [Ending::Applied]);
            } else {
                let deed = Deed::Cancel { reason: None };
                let answer =
                    store.intervene(&Intended::without_journal(), &deed, &[claim.job], &by()).await.unwrap()
                        [0];
                let told = matches!(
                    answer,
                    Intervened::Done(State::Running | State::Cancelled)
                        | Intervened::Already(State::Cancelled)
                );
                assert!(told, "{answer:?}");
            }
        }
    });
    crate::block_on(async {
        let store = Store::open(url).await.unwrap();
        for claim in claims {
            assert_eq!(store.job(claim.job).await.unwrap().unwrap().state, State::Cancelled);
        }
    });
}

fn races(url: &str) {
    ten_thousand_enqueues_of_one_key(url);
    sixteen_workers_share_out_a_queue(url);
    cancel_and_complete_agree(url);
}

#[test]
fn races_on_sqlite() {
    let scratch = Scratch::new();
    races(&format!("sqlite:{}", scratch.join("jobs.db").display()));
}

#[test]
fn races_on_postgres() {
    let server = Server::start_with("18", &["max_connections=200"]);
    server.role("worker", "");
    server.sql("postgres", "CREATE DATABASE jobs OWNER worker");
    races(&server.url("worker", "jobs"));
}

/// The variable that makes the next test a busy worker instead.
const BUSY: &str = "PALISADE_TEST_BUSY";

#[test]
#[expect(clippy::disallowed_methods, reason = "the test starts itself again and tells that by a variable")]
fn sixteen_busy_processes_at_one_file_miss_no_beat() {
    if let Ok(url) = std::env::var(BUSY) {
        return busy(&url);
    }
    let scratch = Scratch::new();
    let url = format!("sqlite:{}", scratch.join("jobs.db").display());
    drop(crate::block_on(Store::open(&url)).unwrap());
    let start = |_| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "races::sixteen_busy_processes_at_one_file_miss_no_beat"]);
        command.env(BUSY, &url).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap()
    };
    let processes: Vec<Child> = (0..16).map(start).collect();
    for process in processes {
        let ran = process.wait_with_output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    }
}

/// Writes without a pause, and beats beside it. Turns are fair where a beat and the writer of the same process get in
/// equally often: so many writes in a row before a beat that waits has a chance of one in 2^40. Under SQLite's own wait
/// a beat waited for more than 70 of the 120 that there are.
fn busy(url: &str) {
    const AHEAD_MOST: u64 = 40;
    let written = AtomicU64::new(0);
    let wrote = || written.fetch_add(1, Ordering::Relaxed);
    crate::block_on(async {
        let (store, beats) = (Store::open(url).await.unwrap(), Store::open(url).await.unwrap());
        let me = worker(1);
        store.register(&me).await.unwrap();
        let work = async {
            for _ in 0..40 {
                store.enqueue(&vec![job("busy"); 20]).await.unwrap();
                wrote();
                let ask = Ask {
                    queue: queue("busy"),
                    most: 20,
                    incarnation: me.incarnation.clone(),
                    reap_after: None,
                };
                let claims = store.claim(&ask).await.unwrap();
                wrote();
                let ends: Vec<_> = claims
                    .iter()
                    .map(|claim| Finish { job: claim.job, token: claim.token, order: Order::Complete })
                    .collect();
                store.finish(&ends).await.unwrap();
                wrote();
            }
        };
        let beat = async {
            for sequence in 1.. {
                let beat = Beat {
                    incarnation: me.incarnation.clone(),
                    sequence,
                    progress: Vec::new(),
                    trouble: Vec::new(),
                };
                let before = written.load(Ordering::Relaxed);
                beats.beat(&beat).await.unwrap();
                let ahead = written.load(Ordering::Relaxed) - before;
                assert!(ahead <= AHEAD_MOST, "{ahead} writes went before beat {sequence}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = beat => {}
        }
    });
}
