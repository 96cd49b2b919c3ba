//! What a worker makes of what its looks at the queue come to: jobs, none, no answer, a refusal.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use palisade_jobs::{Error as StoreError, JobStore as _, State};
use palisade_store::Sqlite;
use palisade_worker::{Context, Error, Failure, Report, Reports, Settings};
use serde_json::{Value, json};

use crate::gate::{Gate, Gated, Look, Order, away, lost, refused};
use crate::yard::{Yard, run};

/// A worker whose claims go through the gate, until it ends. Its jobs end once every order was carried out.
async fn work(yard: &Yard, settings: Settings, gate: &Arc<Gate>) -> (Result<(), Error>, Vec<Report>) {
    let (path, gated) = (yard.store.path().to_owned(), Arc::clone(gate));
    let open = move || {
        let (path, gate) = (path.clone(), Arc::clone(&gated));
        async move { Ok(Gated { store: Sqlite::open(&path).await?, gate }) }
    };
    let orders = Arc::clone(gate);
    let handler = move |_: Context<Value>| {
        let orders = Arc::clone(&orders);
        async move {
            for _ in 0..4_000 {
                if orders.is_open() {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(Failure::Fatal("claims were ordered that nobody made".to_owned()))
        }
    };
    let (reports, told) = Reports::new();
    let ran = palisade_worker::run(settings, yard.place(), reports, open, yard.drained(), handler).await;
    (ran, told.iter().collect())
}

fn until_empty(yard: &Yard) -> Settings {
    Settings { until_empty: true, ..yard.settings() }
}

/// Waits until that is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..4_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited in vain until {what}");
}

fn troubles(told: &[Report]) -> usize {
    told.iter().filter(|report| matches!(report, Report::StoreTrouble { .. })).count()
}

#[test]
fn a_worker_that_ends_with_its_queue_tries_again_where_a_claim_was_not_answered() {
    run(async {
        let yard = Yard::new().await;
        let job = yard.enqueue(json!(null)).await;
        let gate = Gate::before([Order::Fail(away), Order::Fail(lost), Order::Silence]);
        let (ran, told) = work(&yard, until_empty(&yard), &gate).await;
        ran.unwrap();
        assert_eq!(yard.store.job(job).await.unwrap().unwrap().state, State::Succeeded, "{told:?}");
        assert_eq!(troubles(&told), 3, "{told:?}");
    });
}

#[test]
fn a_worker_that_ends_with_its_queue_says_so_where_it_gets_nothing() {
    run(async {
        let yard = Yard::new().await;
        let job = yard.enqueue(json!(null)).await;
        let gate = Gate::before([Order::Fail(refused)]);
        let (ran, told) = work(&yard, until_empty(&yard), &gate).await;
        assert!(matches!(ran, Err(Error::Unserved(StoreError::Refused(_)))), "{ran:?} {told:?}");
        assert_eq!(troubles(&told), 1, "{told:?}");
        gate.is_stale.store(true, Ordering::SeqCst);
        let (ran, told) = work(&yard, until_empty(&yard), &gate).await;
        assert!(matches!(ran, Err(Error::Unserved(StoreError::Stale(_)))), "{ran:?} {told:?}");
        assert!(told.iter().any(|report| matches!(report, Report::DispatchClosed { .. })), "{told:?}");
        let waits = yard.store.job(job).await.unwrap().unwrap();
        assert_eq!((waits.state, waits.attempts), (State::Ready, 0));
    });
}

#[test]
fn a_refusal_while_jobs_run_is_not_the_end_of_them() {
    run(async {
        let yard = Yard::new().await;
        let job = yard.enqueue(json!(null)).await;
        let gate = Gate::before([Order::Pass, Order::Fail(refused), Order::Fail(refused)]);
        let settings = Settings { concurrency: 2, ..until_empty(&yard) };
        let (ran, told) = work(&yard, settings, &gate).await;
        ran.unwrap();
        assert_eq!(yard.store.job(job).await.unwrap().unwrap().state, State::Succeeded, "{told:?}");
        assert_eq!(troubles(&told), 2, "{told:?}");
    });
}

#[test]
fn after_a_claim_that_gave_less_than_fits_the_next_comes_after_a_pause() {
    run(async {
        let yard = Yard::new().await;
        for number in 0..3 {
            yard.enqueue(json!(number)).await;
        }
        let gate = Gate::before([]);
        let settings = Settings { concurrency: 4, ..yard.settings() };
        let drive = async {
            until("it has seen that there are no more", || gate.looks().iter().any(|look| look.given == 0))
                .await;
            yard.drain();
        };
        let ((ran, told), ()) = tokio::join!(work(&yard, settings, &gate), drive);
        ran.unwrap();
        let looks = gate.looks();
        let gave_all = |look: &Look| look.given > 0 && look.given < look.most;
        let pauses: Vec<_> = looks
            .windows(2)
            .filter(|two| gave_all(&two[0]))
            .map(|two| two[1].asked - two[0].answered)
            .collect();
        assert!(!pauses.is_empty(), "{looks:?} {told:?}");
        // It may be longer, on a machine that is busy.
        assert!(pauses.iter().all(|pause| *pause >= Duration::from_millis(20)), "{pauses:?} {looks:?}");
    });
}

#[test]
fn a_claim_whose_answer_never_comes_keeps_no_worker_from_the_next_once_claims_were_compared() {
    run(async {
        let yard = Yard::new().await;
        let job = yard.enqueue(json!(null)).await;
        let gate = Gate::before([Order::Silence]);
        gate.to_fail.store(2, Ordering::SeqCst);
        let drive = async {
            yard.until_state(job, State::Succeeded).await;
            yard.drain();
        };
        let ((ran, told), ()) = tokio::join!(work(&yard, yard.settings(), &gate), drive);
        ran.unwrap();
        let what = |fits: fn(&Report) -> bool| told.iter().position(fits);
        let back = what(|report| matches!(report, Report::GaveBack { .. }));
        let trouble = what(|report| matches!(report, Report::StoreTrouble { .. }));
        let claimed = what(|report| matches!(report, Report::Claimed { .. }));
        assert!(
            gate.looks().iter().all(|look| look.to_fail == 0),
            "it claimed before it had compared: {told:?}"
        );
        assert!(trouble.is_some() && trouble < back && back < claimed, "{told:?}");
    });
}

#[test]
fn an_answer_that_comes_late_is_waited_for_longer_the_next_time_and_fewer_jobs_are_asked_for() {
    run(async {
        let yard = Yard::new().await;
        let mut jobs = Vec::new();
        for number in 0..4 {
            jobs.push(yard.enqueue(json!(number)).await);
        }
        // Longer than is waited for at first: with nothing learned no job would ever begin.
        let late = || Order::Late(Duration::from_millis(6_500));
        let gate = Gate::before([late(), late()]);
        let settings = Settings { concurrency: 4, ..until_empty(&yard) };
        let (ran, told) = work(&yard, settings, &gate).await;
        ran.unwrap();
        for job in jobs {
            assert_eq!(yard.store.job(job).await.unwrap().unwrap().state, State::Succeeded, "{told:?}");
        }
        assert_eq!((troubles(&told), gate.looks()[0].most), (1, 2), "{told:?}");
    });
}

#[test]
fn a_drain_cuts_the_longer_wait_for_an_answer_short() {
    run(async {
        let yard = Yard::new().await;
        let job = yard.enqueue(json!(null)).await;
        // The second would be waited for twice as long as a drain waits.
        let gate = Gate::before([Order::Silence, Order::Late(Duration::from_secs(9))]);
        let drive = async {
            until("the second claim is under way", || gate.is_open()).await;
            yard.drain();
        };
        let ((ran, told), ()) = tokio::join!(work(&yard, yard.settings(), &gate), drive);
        ran.unwrap();
        assert!(gate.looks().is_empty(), "it waited for the answer: {told:?}");
        assert_eq!(yard.store.job(job).await.unwrap().unwrap().attempts, 0, "{told:?}");
    });
}
