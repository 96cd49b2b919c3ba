//! Making jobs, once.

use std::collections::BTreeMap;
use std::time::Duration;

use palisade_core::Timestamp;
use serde_json::json;

use super::stage::{Play, Stage, by, new_job, ok, together};
use crate::claim::{Claim, Ending, Order};
use crate::job::{NewJob, Note, Start};
use crate::store::{Deed, Filter};
use crate::{Error, EventKind, JobStore as _, State};

/// The life of a job where nothing goes wrong.
pub async fn a_job_is_made_claimed_and_done<S: Stage>(stage: &S) {
    let play = Play::new(stage, "plain");
    let id = play.make(new_job(&play.queue)).await;
    assert_eq!(play.state(id).await, State::Ready);
    let worker = play.worker("w").await;
    let claims = play.claim(&worker, 5).await;
    assert_eq!(claims.len(), 1);
    assert_eq!((claims[0].job, claims[0].attempt), (id, 1));
    let running = play.job(id).await;
    assert_eq!((running.state, running.token), (State::Running, Some(claims[0].token)));
    assert_eq!(running.worker.as_deref(), Some("w"));
    assert_eq!(play.finish(&claims[0], Order::Complete).await, Ending::Applied);
    let done = play.job(id).await;
    assert_eq!((done.state, done.token, done.attempts), (State::Succeeded, None, 1));
    assert!(play.claim(&worker, 5).await.is_empty());
}

/// One that cannot be keeps the others away too.
pub async fn jobs_made_in_one_call_are_all_made_or_none<S: Stage>(stage: &S) {
    let play = Play::new(stage, "together");
    let good = new_job(&play.queue);
    let bad = NewJob { max_attempts: 0, ..good.clone() };
    let refused = play.store().enqueue(&[good.clone(), bad]).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    let worker = play.worker("w").await;
    assert!(play.claim(&worker, 5).await.is_empty());
    assert_eq!(play.jobs(1_000).await.len(), 1_000);
    assert_eq!(play.claim(&worker, 2_000).await.len(), 1_000);
}

/// Also where a store has a quicker way for many: two queues, delays, priorities, authors, in the order of the call.
pub async fn many_jobs_of_one_call_are_each_as_they_were_asked_for<S: Stage>(stage: &S) {
    let (one, two) = (Play::new(stage, "many"), Play::new(stage, "many"));
    let asked = |n: u16| {
        let queue = if n.is_multiple_of(5) { &two.queue } else { &one.queue };
        NewJob {
            payload: json!([n]),
            priority: i16::from(n.is_multiple_of(7)),
            start: match n % 4 {
                0 => Start::In(Duration::from_secs(3_600)),
                1 => Start::At(Timestamp::from_unix_ms(1)),
                _ => Start::Now,
            },
            max_attempts: n + 1,
            by: Note { pid: u32::from(n / 300), ..by() },
            ..new_job(queue)
        }
    };
    let all: Vec<NewJob> = (0..700).map(asked).collect();
    let made = ok(one.store().enqueue(&all).await);
    assert!(made.iter().all(|made| made.new) && made.is_sorted_by_key(|made| made.id));
    let mut found = BTreeMap::new();
    for queue in [&one.queue, &two.queue] {
        let filter = Filter { queue: Some(queue.clone()), most: 1_000, ..Filter::default() };
        found.extend(ok(one.store().jobs(&filter).await).into_iter().map(|job| (job.id, job)));
    }
    assert_eq!(found.len(), all.len());
    for (asked, made) in all.iter().zip(&made) {
        let job = &found[&made.id];
        let is_later = matches!(asked.start, Start::In(_));
        assert_eq!((&job.queue, &job.payload), (&asked.queue, &asked.payload));
        assert_eq!(
            (job.priority, job.max_attempts, &job.by),
            (asked.priority, asked.max_attempts, &asked.by)
        );
        assert_eq!(job.state, if is_later { State::Scheduled } else { State::Ready });
        assert_eq!(is_later, job.run_at > job.enqueued_at);
    }
    let worker = one.worker("w").await;
    let given = one.claim(&worker, 1_000).await;
    assert_eq!(given.len(), all.iter().filter(|job| job.queue == one.queue).count() * 3 / 4);
    assert_eq!((read(&given[0]), given[0].max_attempts), (json!([1]), 2), "the smaller priority first");
}

fn read(claim: &Claim) -> serde_json::Value {
    serde_json::from_str(&claim.payload).expect("it is JSON")
}

/// Callers at once, each with a few jobs of its own: whatever they share, each gets its own numbers, in its own order.
pub async fn callers_at_once_each_get_their_own_jobs<S: Stage>(stage: &S) {
    let play = Play::new(stage, "callers");
    let (store, queue) = (play.store(), &play.queue);
    let calls = (0..64).map(|caller| async move {
        let job = |n: i32| NewJob { payload: json!([caller, n]), ..new_job(queue) };
        let keyed = |n: i32| NewJob { idempotency: Some(format!("{caller} {n}")), ..job(n) };
        let bad = store.enqueue(&[job(0), NewJob { max_attempts: 0, ..job(1) }]).await;
        assert!(matches!(bad, Err(Error::Invalid { .. })), "{bad:?}");
        let mut made = ok(store.enqueue(&[job(0), job(1), job(2)]).await);
        made.extend(ok(store.enqueue(&[keyed(3), job(4)]).await));
        made
    });
    for (caller, made) in together(calls).await.into_iter().enumerate() {
        for (n, made) in made.iter().enumerate() {
            assert_eq!((made.new, play.job(made.id).await.payload), (true, json!([caller, n])));
        }
        assert!(made[..3].is_sorted_by_key(|made| made.id), "{made:?}");
    }
    let worker = play.worker("w").await;
    assert_eq!(play.claim(&worker, 1_000).await.len(), 64 * 5);
}

/// Zero characters, quotes and deep numbers included.
pub async fn a_payload_comes_back_as_it_was<S: Stage>(stage: &S) {
    let play = Play::new(stage, "payload");
    let payload = json!({"a": [1, -2.5, null, true], "q": "' \" \\ \u{0} \u{1f600} \n", "n": 9_007_199_254_740_993_i64});
    let id = play.make(NewJob { payload: payload.clone(), ..new_job(&play.queue) }).await;
    assert_eq!(play.job(id).await.payload, payload);
    let worker = play.worker("w").await;
    assert_eq!(read(&play.claim(&worker, 1).await[0]), payload);
}

/// A second one is made only after the first has ended.
pub async fn a_unique_key_makes_one_job_while_that_lives<S: Stage>(stage: &S) {
    let play = Play::new(stage, "unique");
    let job = NewJob { unique: Some("user 7".to_owned()), ..new_job(&play.queue) };
    let made = ok(play.store().enqueue(&[job.clone(), job.clone()]).await);
    assert!(made[0].new && !made[1].new && made[0].id == made[1].id, "{made:?}");
    let worker = play.worker("w").await;
    let claim = play.claim(&worker, 5).await.remove(0);
    assert_eq!(play.make(job.clone()).await, made[0].id);
    play.finish(&claim, Order::Complete).await;
    assert_ne!(play.make(job).await, made[0].id);
}

/// Whatever became of the first one.
pub async fn an_idempotency_key_makes_one_job_for_ever<S: Stage>(stage: &S) {
    let play = Play::new(stage, "idempotent");
    let job = NewJob { idempotency: Some("request 9".to_owned()), ..new_job(&play.queue) };
    let first = play.make(job.clone()).await;
    play.deed(Deed::Cancel { reason: None }, first).await;
    let again = ok(play.store().enqueue(&[job]).await);
    assert_eq!((again[0].id, again[0].new), (first, false));
}

/// The same key elsewhere is another key.
pub async fn keys_belong_to_their_queue<S: Stage>(stage: &S) {
    let (one, two) = (Play::new(stage, "here"), Play::new(stage, "there"));
    let keyed = |play: &Play<'_, S>| NewJob {
        unique: Some("k".to_owned()),
        idempotency: Some("k".to_owned()),
        ..new_job(&play.queue)
    };
    assert_ne!(one.make(keyed(&one)).await, two.make(keyed(&two)).await);
}

/// Within one call and over many.
pub async fn many_callers_with_one_key_make_one_job<S: Stage>(stage: &S) {
    let play = Play::new(stage, "many");
    let unique = NewJob { unique: Some("one".to_owned()), ..new_job(&play.queue) };
    let both = NewJob { idempotency: Some("one".to_owned()), ..unique.clone() };
    let first = play.make(both.clone()).await;
    for _ in 0..10 {
        let made = ok(play.store().enqueue(&vec![unique.clone(); 50]).await);
        assert!(made.iter().all(|made| made.id == first && !made.new));
        let made = ok(play.store().enqueue(&vec![both.clone(); 50]).await);
        assert!(made.iter().all(|made| made.id == first && !made.new));
    }
    let worker = play.worker("w").await;
    assert_eq!(play.claim(&worker, 100).await.len(), 1);
}

/// Each refusal names what was given.
pub async fn what_cannot_be_enqueued_is_refused<S: Stage>(stage: &S) {
    let play = Play::new(stage, "refused");
    let job = new_job(&play.queue);
    let long = "x".repeat(256);
    for (bad, word) in [
        (NewJob { unique: Some(String::new()), ..job.clone() }, "unique key"),
        (NewJob { unique: Some(long), ..job.clone() }, "unique key"),
        (NewJob { idempotency: Some("a\0b".to_owned()), ..job.clone() }, "idempotency key"),
        (NewJob { payload: json!("x".repeat(1024 * 1024)), ..job.clone() }, "payload"),
        (NewJob { max_attempts: 0, ..job.clone() }, "max-attempts"),
        (NewJob { start: Start::In(std::time::Duration::MAX), ..job.clone() }, "a delay of"),
    ] {
        // Among a few and among so many that a store writes them otherwise: none of them is made.
        for others in [0, 10, 1_000] {
            let mut jobs = vec![job.clone(); others];
            jobs.push(bad.clone());
            let refused = play.store().enqueue(&jobs).await.expect_err("it cannot be enqueued");
            assert!(refused.to_string().contains(word), "{refused}");
        }
    }
    assert!(play.claim(&play.worker("w").await, 100).await.is_empty());
    let queues = ok(play.store().queues().await);
    assert!(queues.iter().all(|queue| queue.name != play.queue), "a queue comes with its first job");
    let late = NewJob { start: Start::In(std::time::Duration::from_secs(3_600)), ..job };
    let id = play.make(late).await;
    assert_eq!(play.kinds(id).await, [EventKind::Enqueued]);
    assert_eq!(play.state(id).await, State::Scheduled);
}
