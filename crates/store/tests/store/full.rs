//! A disk without a byte left under the store: what was accepted stays, what is refused says why, and all goes on once
//! there is room.

use std::collections::BTreeSet;
use std::time::Duration;

use palisade_core::QueueName;
use palisade_jobs::claim::{Ask, Claim, Finish, Order};
use palisade_jobs::job::NewJob;
use palisade_jobs::store::Filter;
use palisade_jobs::{Ending, Error, JobId, JobStore as _, State, Worker};
use palisade_store::Store;
use palisade_testkit::postgres::PASSWORD;
use palisade_testkit::{Between, Disk, PATIENCE, Postgres as Server, Scratch};
use serde_json::json;

fn queue() -> QueueName {
    QueueName::new("full").unwrap()
}

/// A job of 60 KB that no database makes smaller.
fn large(seed: u64) -> NewJob {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    NewJob::new(queue(), json!((0..60_000).map(|_| next()).collect::<String>()), crate::faults::by())
}

/// What was accepted before and after the disk was full.
#[derive(Default)]
struct Accepted {
    jobs: BTreeSet<JobId>,
    /// Jobs of calls of which nobody knows whether they were written.
    unknown: usize,
}

impl Accepted {
    /// Enqueues until the store refuses; why.
    async fn until_refused(&mut self, store: &Store) -> Error {
        for seed in 0.. {
            match store.enqueue(&[large(3 * seed), large(3 * seed + 1), large(3 * seed + 2)]).await {
                Ok(made) => self.jobs.extend(made.iter().map(|made| made.id)),
                Err(error) => {
                    self.unknown += 3 * usize::from(matches!(error, Error::Unknown { .. }));
                    return error;
                }
            }
        }
        unreachable!("a disk has an end")
    }
}

async fn claim(store: &Store, worker: &Worker, most: u16) -> Vec<Claim> {
    let ask = Ask { queue: queue(), most, incarnation: worker.incarnation.clone(), reap_after: None };
    store.claim(&ask).await.unwrap()
}

fn done(claims: &[Claim]) -> Vec<Finish> {
    let one = |claim: &Claim| Finish { job: claim.job, token: claim.token, order: Order::Complete };
    claims.iter().map(one).collect()
}

/// Until the store has it, as a worker would: in between it may be away.
async fn insist(store: &Store, ends: &[Finish]) {
    let begun = tokio::time::Instant::now();
    loop {
        match store.finish(ends).await {
            Ok(endings) => return assert!(endings.iter().all(|end| *end == Ending::Applied), "{endings:?}"),
            Err(error) => {
                assert!(matches!(error, Error::Unreachable { .. } | Error::Unknown { .. }), "{error}");
                assert!(begun.elapsed() < PATIENCE, "there is room, and still: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn play(url: &str, disk: impl AsyncFn() -> (), room: impl AsyncFn() -> ()) {
    let store = Store::open(url).await.unwrap();
    let me = crate::races::worker(77);
    store.register(&me).await.unwrap();
    let mut accepted = Accepted::default();
    let small = vec![NewJob::new(queue(), json!({}), crate::faults::by()); 40];
    accepted.jobs.extend(store.enqueue(&small).await.unwrap().iter().map(|made| made.id));
    let claims = claim(&store, &me, 10).await;

    disk().await;
    let refused = accepted.until_refused(&store).await;
    assert!(matches!(refused, Error::Unreachable { .. }), "{refused:?}");
    let said = refused.to_string();
    assert!(said.contains("No space left on device") || said.contains("disk is full"), "{said}");
    assert!(said.contains("othing of this was written") && !said.contains(PASSWORD), "{said}");
    assert_eq!(refused.fix(), "look whether the store runs and has room, and do it again");
    // More of the same takes what room the server keeps for itself: it may end in between.
    for _ in 0..20 {
        accepted.until_refused(&store).await;
    }
    drop(store.finish(&done(&claims)).await);

    room().await;
    insist(&store, &done(&claims)).await;
    accepted.jobs.extend(store.enqueue(&[large(1_000)]).await.unwrap().iter().map(|made| made.id));
    let filter = Filter { queue: Some(queue()), most: 10_000, ..Filter::default() };
    let found: BTreeSet<JobId> = store.jobs(&filter).await.unwrap().iter().map(|job| job.id).collect();
    assert!(accepted.jobs.is_subset(&found), "lost: {:?}", accepted.jobs.difference(&found));
    assert!(found.len() <= accepted.jobs.len() + accepted.unknown, "jobs that nobody was told of");
    loop {
        let claims = claim(&store, &me, 100).await;
        if claims.is_empty() {
            break;
        }
        insist(&store, &done(&claims)).await;
    }
    let ended = Filter { states: vec![State::Succeeded], ..filter };
    assert_eq!(store.jobs(&ended).await.unwrap().len(), found.len());
    assert_eq!(store.misplaced().await.unwrap(), []);
}

#[test]
fn a_full_disk_under_postgres_loses_no_job_and_is_told_as_such() {
    let server = Server::on_a_small_disk("15", 110);
    server.role("worker", "");
    server.sql("postgres", "CREATE DATABASE jobs OWNER worker");
    let between = Between::before(server.port());
    let url = format!("postgres://worker:{PASSWORD}@127.0.0.1:{}/jobs", between.port());
    let server = std::cell::RefCell::new(server);
    let fill = async || server.borrow().disk().fill();
    let make_room = async || {
        let mut server = server.borrow_mut();
        server.disk().make_room();
        // A server that could not write its log has ended, and is started again by whoever runs it.
        if server.has_ended() {
            server.crash();
            between.lead_to(server.port());
        }
    };
    crate::block_on(play(&url, fill, make_room));
}

#[test]
fn a_full_disk_under_sqlite_loses_no_job_and_is_told_as_such() {
    let scratch = Scratch::new();
    let disk = Disk::mount(scratch.join("disk"), 8);
    let url = format!("sqlite:{}", disk.path().join("jobs.db").display());
    crate::block_on(play(&url, async || disk.fill(), async || disk.make_room()));
    // Before the folder that it is in.
    drop(disk);
}
