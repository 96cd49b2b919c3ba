//! PostgreSQL on a bad day: answers cut off after COMMIT, and a server that crashes while workers are busy.

use palisade_core::QueueName;
use palisade_jobs::claim::{Ask, Finish, Order};
use palisade_jobs::job::{NewJob, Note};
use palisade_jobs::{Ending, Error, EventKind, Incarnation, JobStore as _, Worker};
use palisade_store::Store;
use palisade_testkit::postgres::PASSWORD;
use palisade_testkit::{Between, Postgres as Server, eventually};
use serde_json::json;

pub(crate) fn by() -> Note {
    Note {
        app: None,
        environment: None,
        version: None,
        host: "fault".to_owned(),
        pid: 1,
        machine_id: "m0".to_owned(),
    }
}

fn queue() -> QueueName {
    QueueName::new("mail").unwrap()
}

fn worker(bits: u128) -> Worker {
    Worker {
        name: "w".to_owned(),
        incarnation: Incarnation::from_bits(bits),
        by: by(),
        start_ticks: 1,
        boot_id: "boot".to_owned(),
        pid_space: None,
    }
}

/// A server, and the proxy in front of it.
fn start() -> (Server, Between, String) {
    let server = Server::start("18");
    server.role("worker", "");
    server.sql("postgres", "CREATE DATABASE jobs OWNER worker");
    let between = Between::before(server.port());
    let url = format!("postgres://worker:{PASSWORD}@127.0.0.1:{}/jobs", between.port());
    (server, between, url)
}

fn is_unknown<T: std::fmt::Debug>(result: &Result<T, Error>) {
    assert!(matches!(result, Err(Error::Unknown { .. })), "{result:?}");
    let text = result.as_ref().unwrap_err().to_string();
    assert!(!text.contains(PASSWORD), "{text}");
}

#[test]
fn an_answer_that_was_cut_off_after_the_write_is_unknown_and_repeated_without_a_second_effect() {
    let (_server, between, url) = start();
    crate::block_on(async {
        let store = Store::open(&url).await.unwrap();
        let job =
            NewJob { idempotency: Some("request 1".to_owned()), ..NewJob::new(queue(), json!({}), by()) };
        store.enqueue(&[NewJob::new(queue(), json!({}), by())]).await.unwrap();
        between.lose_answer_to("enqueue_keyed");
        is_unknown(&store.enqueue(std::slice::from_ref(&job)).await);
        let again = store.enqueue(std::slice::from_ref(&job)).await.unwrap()[0];
        assert!(!again.new, "the first one was written");

        let me = worker(1);
        between.lose_answer_to("palisade_jobs.worker ");
        is_unknown(&store.register(&me).await);
        store.register(&me).await.unwrap();
        let ask = Ask { queue: queue(), most: 2, incarnation: me.incarnation, reap_after: None };
        let claims = store.claim(&ask).await.unwrap();

        let done = Finish { job: claims[0].job, token: claims[0].token, order: Order::Complete };
        between.lose_answer_to("DELETE FROM palisade_jobs.job_run");
        is_unknown(&store.finish(std::slice::from_ref(&done)).await);
        assert_eq!(store.finish(std::slice::from_ref(&done)).await.unwrap(), [Ending::Applied]);

        // A transaction: the answer to its COMMIT.
        let order = Order::Fail { error: "no route".to_owned(), fatal: false };
        let failed = Finish { job: claims[1].job, token: claims[1].token, order };
        between.lose_answer_to("COMMIT");
        is_unknown(&store.finish(std::slice::from_ref(&failed)).await);
        assert_eq!(store.finish(std::slice::from_ref(&failed)).await.unwrap(), [Ending::Applied]);
        assert!(between.has_lost());
        for (job, kind) in [(claims[0].job, "completed"), (claims[1].job, "failed")] {
            let events = store.events(job).await.unwrap();
            let ends = events.iter().filter(|event| {
                matches!(
                    &event.kind,
                    EventKind::Completed | EventKind::Failed { .. } | EventKind::Refused { .. }
                )
            });
            assert_eq!(ends.count(), 1, "{kind} once: {events:?}");
        }
        // Cut off before its COMMIT, nothing is written, and it says so.
        between.lose_answer_to("BEGIN");
        let cut = store.finish(std::slice::from_ref(&failed)).await;
        assert!(matches!(cut, Err(Error::Unreachable { .. })), "{cut:?}");
    });
}

/// Claims and completes until all are done; whatever fails is tried again as a worker would.
async fn drain(url: &str, seed: u128) {
    let mut run = 0;
    'incarnation: loop {
        run += 1;
        let Ok(store) = Store::open(url).await else { continue };
        let me = worker(seed << 64 | run);
        while store.register(&me).await.is_err() {}
        let ask = Ask { queue: queue(), most: 5, incarnation: me.incarnation.clone(), reap_after: None };
        loop {
            let claims = match store.claim(&ask).await {
                Ok(claims) => claims,
                // What was given out and not heard of goes back with the goodbye.
                Err(_) => {
                    while store.goodbye(&me.incarnation).await.is_err() {}
                    continue 'incarnation;
                }
            };
            if claims.is_empty() {
                while store.goodbye(&me.incarnation).await.is_err() {}
                return;
            }
            let ends: Vec<_> = claims
                .iter()
                .map(|claim| Finish { job: claim.job, token: claim.token, order: Order::Complete })
                .collect();
            loop {
                match store.finish(&ends).await {
                    Ok(ended) => break assert!(ended.iter().all(|end| *end == Ending::Applied)),
                    Err(error) => {
                        assert!(matches!(error, Error::Unreachable { .. } | Error::Unknown { .. }), "{error}")
                    }
                }
            }
        }
    }
}

#[test]
fn no_job_is_lost_or_done_twice_while_the_server_crashes() {
    const JOBS: usize = 1_500;
    let (mut server, between, url) = start();
    crate::block_on(async {
        let store = Store::open(&url).await.unwrap();
        store.enqueue(&vec![NewJob::new(queue(), json!({}), by()); JOBS]).await.unwrap();
    });
    std::thread::scope(|scope| {
        let url = &url;
        let workers: Vec<_> =
            (1..=4).map(|seed| scope.spawn(move || crate::block_on(drain(url, seed)))).collect();
        for share in [4, 2] {
            // Only while there is still something to do.
            eventually("some jobs are done", || {
                let done = server.sql("jobs", "SELECT count(*) FROM palisade_jobs.job_end");
                (done.parse::<usize>().unwrap() >= JOBS / share).then_some(())
            });
            server.crash();
            between.lead_to(server.port());
        }
        for worker in workers {
            worker.join().unwrap();
        }
    });
    // A worker that ended may have left while another one's claims were not given back yet.
    crate::block_on(drain(&url, 9));
    let states = server.sql(
        "jobs",
        "SELECT (SELECT count(*) FROM palisade_jobs.job), (SELECT count(*) FROM palisade_jobs.job_ready), \
         (SELECT count(*) FROM palisade_jobs.job_run), \
         (SELECT count(*) FROM palisade_jobs.job_end WHERE state = 'succeeded')",
    );
    assert_eq!(states, format!("{JOBS}|0|0|{JOBS}"));
}
