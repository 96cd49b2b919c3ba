//! The reaper of a store with many workers, most of them dead.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use palisade_core::{Intended, QueueName, record::Phase};
use palisade_host::{clock, process};
use palisade_jobs::claim::Ask;
use palisade_jobs::job::Start;
use palisade_jobs::reaper::Limits;
use palisade_jobs::{Beat, Incarnation, JobStore, NewJob, Worker};
use palisade_lease::Ttl;
use palisade_reaper::{Clerk, News};
use palisade_store::lease::SqliteLeases;
use palisade_worker::reaper::{Settings, sit};
use serde_json::json;
use tokio::sync::watch;

use crate::yard::{Yard, note, run};

/// With 100 jobs each.
const DEAD: u64 = 100;
const EACH: u16 = 100;
/// Silent, and nobody knows whether they are dead.
const SILENT: u64 = 12;
const ALIVE: u64 = 8;

/// Counts the passes, and how many jobs were taken.
#[derive(Default)]
struct Book {
    passes: Mutex<Vec<String>>,
    taken: watch::Sender<usize>,
    held: watch::Sender<bool>,
}

struct Entry(Intended);

impl AsRef<Intended> for Entry {
    fn as_ref(&self) -> &Intended {
        &self.0
    }
}

impl Clerk for Book {
    type Record = Entry;

    fn tell(&self, news: &News) {
        match news {
            News::Reaped(taking) => self.taken.send_modify(|taken| *taken += taking.jobs.len()),
            News::Held { suspects, .. } => drop(self.held.send_replace(*suspects as u64 == SILENT)),
            _ => {}
        }
    }

    fn begin(&self, details: Vec<String>) -> Option<Entry> {
        self.passes.lock().unwrap().push(details[1].clone());
        Some(Entry(Intended::without_journal()))
    }

    fn end(&self, _: Entry, phase: Phase, _: Vec<String>) {
        assert_eq!(phase, Phase::Done);
    }
}

fn who(number: u64) -> Incarnation {
    Incarnation::from_bits(u128::from(number) + 1)
}

/// Registers a worker and has it claim; one that is dead had a process of this machine that is gone.
async fn works(yard: &Yard, number: u64, most: u16) {
    let dead = number < DEAD;
    let worker = Worker {
        name: format!("w{number}"),
        incarnation: who(number),
        by: note(),
        start_ticks: 1,
        boot_id: clock::boot_id().unwrap(),
        pid_space: process::number_space().filter(|_| dead),
    };
    yard.store.register(&worker).await.unwrap();
    let queue = QueueName::new("mail").unwrap();
    let ask = Ask { queue, most, incarnation: who(number), reap_after: None };
    assert_eq!(yard.store.claim(&ask).await.unwrap().len(), usize::from(most));
}

async fn held(yard: &Yard, numbers: std::ops::Range<u64>) -> usize {
    let mut held = 0;
    for number in numbers {
        held += yard.store.claims_of(&who(number), 1_000).await.unwrap().len();
    }
    held
}

#[test]
fn ten_thousand_jobs_of_many_dead_workers_go_in_few_passes_while_the_brake_holds_for_the_silent() {
    run(async {
        let yard = Yard::new().await;
        let job = || NewJob {
            queue: QueueName::new("mail").unwrap(),
            payload: json!(null),
            priority: 0,
            start: Start::Now,
            unique: None,
            idempotency: None,
            max_attempts: 3,
            reap_after: None,
            by: note(),
        };
        let dead_jobs = usize::try_from(DEAD).unwrap() * usize::from(EACH);
        let jobs: Vec<_> = (0..dead_jobs + 20).map(|_| job()).collect();
        yard.store.enqueue(&jobs).await.unwrap();
        for number in 0..DEAD + SILENT + ALIVE {
            works(&yard, number, if number < DEAD { EACH } else { 1 }).await;
        }

        let book = Arc::new(Book::default());
        let leases = SqliteLeases::open(yard.store.path()).unwrap();
        let limits = Limits {
            sweep_every: Duration::from_millis(200),
            reconnect_grace: Duration::from_secs(1),
            ..Limits::default()
        };
        let lease = Ttl::new(Duration::from_secs(30)).unwrap();
        let settings = Settings { limits, lease, by: note(), dry: false, lift_brake: false };
        let (mut taken, mut brake) = (book.taken.subscribe(), book.held.subscribe());
        let seen = async {
            taken.wait_for(|taken| *taken == dead_jobs).await.unwrap();
            brake.wait_for(|held| *held).await.unwrap();
        };
        let sitting = sit(settings, yard.opener(), &leases, &*book, seen);
        let beating = async {
            for sequence in 1.. {
                for number in DEAD + SILENT..DEAD + SILENT + ALIVE {
                    let beat = Beat { incarnation: who(number), sequence, progress: vec![], trouble: vec![] };
                    yard.store.beat(&beat).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            sat = sitting => sat.unwrap(),
            () = beating => {}
        }

        let passes = book.passes.lock().unwrap().clone();
        assert_eq!(passes, ["6400 jobs", "3600 jobs"]);
        assert_eq!((held(&yard, 0..DEAD).await, held(&yard, DEAD..DEAD + SILENT + ALIVE).await), (0, 20));
    });
}
