//! A reap and the worker's own completion at the same moment: each claim has exactly one outcome, and both learn it.
//!
//! `./run trials` has 10,000 of them on each store.

use std::sync::Barrier;
use std::time::Duration;

use palisade_core::QueueName;
use palisade_jobs::claim::{Ask, Claim, Evidence, Finish, Order};
use palisade_jobs::job::NewJob;
use palisade_jobs::store::{Fence, REAPER, Reap, Reaped};
use palisade_jobs::{Ending, JobStore as _, State, Worker};
use palisade_lease::{Acquired, Holder, LeaseStore as _, Name, Ttl};
use palisade_store::Store;
use palisade_store::lease::Leases;
use palisade_testkit::{Postgres as Server, Scratch};
use serde_json::json;

use crate::races::worker;

/// So many claims meet at one moment.
const AT_ONCE: usize = 10;

fn holder() -> Holder {
    Holder::new("stage").unwrap()
}

/// Claims of one worker that does not beat.
async fn claims(url: &str, me: &Worker, count: usize) -> Vec<Claim> {
    let store = Store::open(url).await.unwrap();
    let queue = QueueName::new("outcomes").unwrap();
    let job = NewJob::new(queue.clone(), json!({}), me.by.clone());
    store.enqueue(&vec![job; count]).await.unwrap();
    store.register(me).await.unwrap();
    let most = u16::try_from(count).unwrap();
    let ask = Ask { queue, most, incarnation: me.incarnation.clone(), reap_after: None };
    let claims = store.claim(&ask).await.unwrap();
    assert_eq!(claims.len(), count);
    claims
}

fn reap(claim: &Claim, me: &Worker) -> Reap {
    Reap {
        job: claim.job,
        token: claim.token,
        incarnation: me.incarnation.clone(),
        evidence: Evidence::new(1, 0, 4_000, 4_000),
        reason: "silent".to_owned(),
        by: me.by.clone(),
    }
}

/// What the worker and the reaper were told of each claim.
fn race(url: &str, claims: &[Claim], me: &Worker) -> (Vec<Ending>, Vec<Reaped>) {
    let start = &Barrier::new(2);
    std::thread::scope(|scope| {
        let finishing = scope.spawn(move || {
            crate::block_on(async {
                let (store, mut told) = (Store::open(url).await.unwrap(), Vec::new());
                for claims in claims.chunks(AT_ONCE) {
                    let end =
                        |claim: &Claim| Finish { job: claim.job, token: claim.token, order: Order::Complete };
                    let ends: Vec<_> = claims.iter().map(end).collect();
                    start.wait();
                    told.extend(store.finish(&ends).await.unwrap());
                }
                told
            })
        });
        let reaping = scope.spawn(move || {
            crate::block_on(async {
                let (store, mut told) = (Store::open(url).await.unwrap(), Vec::new());
                let under = Fence { term: 1, holder: holder().as_str().to_owned() };
                for claims in claims.chunks(AT_ONCE) {
                    let reaps: Vec<_> = claims.iter().map(|claim| reap(claim, me)).collect();
                    start.wait();
                    told.extend(store.reap(&under, &reaps).await.unwrap());
                }
                told
            })
        });
        (finishing.join().unwrap(), reaping.join().unwrap())
    })
}

#[expect(clippy::print_stdout, reason = "`./run trials` shows how many came first")]
fn each_has_one_outcome(url: &str, place: &str) {
    let at_length = palisade_host::Environment::of_this_process().text("PALISADE_AT_LENGTH").is_some();
    let me = worker(900);
    let claims = crate::block_on(claims(url, &me, if at_length { 10_000 } else { 300 }));
    let (ended, reaped) = race(url, &claims, &me);
    let (mut completed, mut taken) = (0, 0);
    crate::block_on(async {
        let store = Store::open(url).await.unwrap();
        for ((claim, ended), reaped) in claims.iter().zip(ended).zip(reaped) {
            let state = store.job(claim.job).await.unwrap().unwrap().state;
            match (ended, reaped) {
                (Ending::Applied, Reaped::Refuted) => {
                    assert_eq!(state, State::Succeeded);
                    completed += 1;
                }
                (Ending::Spent, Reaped::Taken(to)) => {
                    assert_eq!(state, to);
                    taken += 1;
                }
                other => panic!("job {}: {other:?}", claim.job),
            }
        }
    });
    println!("{place}: {taken} reaped, {completed} completed");
}

/// Makes the store, and the one that reaps its reaper under the first term.
async fn elect(url: &str) {
    Store::open(url).await.unwrap();
    let (name, ttl) = (Name::new(REAPER).unwrap(), Ttl::new(Duration::from_secs(3_600)).unwrap());
    let granted = Leases::of(url).unwrap().acquire(&name, &holder(), ttl).await.unwrap();
    assert!(matches!(granted, Acquired::Granted(grant) if grant.held.term.number() == 1));
}

#[test]
fn of_many_races_of_reap_and_completion_on_sqlite_each_has_one_outcome() {
    let scratch = Scratch::new();
    let url = format!("sqlite:{}", scratch.join("jobs.db").display());
    crate::block_on(elect(&url));
    each_has_one_outcome(&url, "SQLite");
}

#[test]
fn of_many_races_of_reap_and_completion_on_postgres_each_has_one_outcome() {
    let server = Server::start("15");
    server.role("worker", "");
    server.sql("postgres", "CREATE DATABASE jobs OWNER worker");
    let url = server.url("worker", "jobs");
    crate::block_on(elect(&url));
    each_has_one_outcome(&url, "PostgreSQL");
}
