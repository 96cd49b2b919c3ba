//! The rules of queues, lists and retention.

use super::stage::{Play, Stage, by, new_job, ok, together};
use crate::claim::{Checkpoint, Order};
use crate::job::{NewJob, Start};
use crate::store::{Deed, Filter};
use crate::{Error, JobStore as _, Queue, Schedule, State};
use palisade_core::Timestamp;

/// Those of one queue are not counted with those of another.
pub async fn jobs_are_counted_by_queue_and_state<S: Stage>(stage: &S) {
    let (play, other) = (Play::new(stage, "counted"), Play::new(stage, "also-counted"));
    other.jobs(3).await;
    let ids = play.jobs(6).await;
    let later = NewJob { start: Start::In(std::time::Duration::from_secs(3_600)), ..new_job(&play.queue) };
    play.make(later).await;
    for id in &ids[4..] {
        play.deed(Deed::Hold { reason: "look at it".to_owned() }, *id).await;
    }
    let claims = play.claim(&play.worker("w").await, 3).await;
    play.finish(&claims[0], Order::Complete).await;
    play.finish(&claims[1], Order::Fail { error: "no".to_owned(), fatal: true }).await;
    let counts = ok(play.store().counts().await);
    let of = |play: &Play<'_, S>| -> Vec<(State, u64)> {
        let of = counts.iter().filter(|count| count.queue == play.queue);
        of.map(|count| (count.state, count.jobs)).collect()
    };
    let expected = [
        (State::Scheduled, 1),
        (State::Ready, 1),
        (State::Running, 1),
        (State::Held, 2),
        (State::Succeeded, 1),
        (State::Dead, 1),
    ];
    assert_eq!(of(&play), expected);
    assert_eq!(of(&other), [(State::Ready, 3)]);
}

/// What runs goes on.
pub async fn a_paused_queue_gives_out_nothing<S: Stage>(stage: &S) {
    let play = Play::new(stage, "paused");
    play.jobs(2).await;
    let worker = play.worker("w").await;
    let claim = play.claim(&worker, 1).await.remove(0);
    let mut queue = play.rules(|queue| queue.paused = true).await;
    assert!(play.claim(&worker, 1).await.is_empty());
    assert_eq!(play.finish(&claim, Order::Complete).await, crate::Ending::Applied);
    queue.paused = false;
    ok(play.store().set_queue(&queue, &by()).await);
    assert_eq!(play.claim(&worker, 1).await.len(), 1);
}

/// Over all workers.
pub async fn a_queue_runs_no_more_than_its_concurrency<S: Stage>(stage: &S) {
    let play = Play::new(stage, "limited");
    play.rules(|queue| queue.concurrency = Some(3)).await;
    play.jobs(10).await;
    let (one, two) = (play.worker("one").await, play.worker("two").await);
    let mut claims = play.claim(&one, 2).await;
    claims.extend(play.claim(&two, 5).await);
    assert_eq!(claims.len(), 3);
    assert!(play.claim(&one, 5).await.is_empty());
    play.finish(&claims[0], Order::Complete).await;
    assert_eq!(play.claim(&one, 5).await.len(), 1);
}

/// So that nobody undoes what another person has just set.
pub async fn rules_of_a_queue_change_only_from_the_revision_that_was_read<S: Stage>(stage: &S) {
    let play = Play::new(stage, "revision");
    let first = Queue::new(play.queue.clone());
    let second = play.rules(|queue| queue.concurrency = Some(7)).await;
    assert_eq!(second.revision, 2);
    let refused = play.store().set_queue(&first, &by()).await;
    assert!(matches!(refused, Err(Error::QueueChanged { revision: 2, .. })), "{refused:?}");
    assert_eq!(ok(play.store().set_queue(&second, &by()).await), 3);
    let stored = ok(play.store().queues().await).into_iter().find(|queue| queue.name == play.queue);
    assert_eq!(stored, Some(Queue { revision: 3, ..second }));
}

/// Whatever the client checked.
pub async fn unsound_rules_are_refused<S: Stage>(stage: &S) {
    let play = Play::new(stage, "unsound");
    let mut queue = Queue::new(play.queue.clone());
    queue.terms.reap_after_ms = 30_000;
    let refused = play.store().set_queue(&queue, &by()).await;
    assert!(matches!(refused, Err(Error::Unsound(_))), "{refused:?}");
    assert!(ok(play.store().queues().await).iter().all(|queue| queue.name != play.queue));
}

/// Each change, with the rules that held from then on, and who made it.
pub async fn the_rules_of_a_queue_are_kept_as_they_were<S: Stage>(stage: &S) {
    let play = Play::new(stage, "kept");
    assert!(ok(play.store().queue_changes(&play.queue).await).is_empty());
    let first = play.rules(|_| {}).await;
    let longer = Queue { paused: true, retention_ms: 86_400_000, ..first.clone() };
    ok(play.store().set_queue(&longer, &by()).await);
    let changes = ok(play.store().queue_changes(&play.queue).await);
    let rules: Vec<Queue> = changes.iter().map(|change| change.queue.clone()).collect();
    assert_eq!(rules, [first, Queue { revision: 3, ..longer }]);
    assert!(changes[0].at <= changes[1].at && changes.iter().all(|change| change.by == Some(by())));
    assert!(ok(play.store().misplaced().await).is_empty());
}

/// In slices, and never what still lives.
pub async fn what_ended_is_forgotten_after_its_retention_only<S: Stage>(stage: &S) {
    let play = Play::new(stage, "retention");
    play.rules(|queue| queue.retention_ms = 60_000).await;
    let ids = play.jobs(5).await;
    let worker = play.worker("w").await;
    let claim = play.claim(&worker, 1).await.remove(0);
    let point = |sequence| Checkpoint {
        sequence,
        key: format!("{}/{sequence}", play.queue),
        sha256: "0".repeat(64),
        bytes: 7,
    };
    for sequence in [1, 2] {
        ok(play.store().checkpoint(claim.job, claim.token, &point(sequence)).await);
    }
    play.finish(&claim, Order::Fail { error: "no route".to_owned(), fatal: true }).await;
    for id in &ids[1..4] {
        play.deed(Deed::Cancel { reason: None }, *id).await;
    }
    for id in &ids[..3] {
        stage.age(*id, 120_000).await;
    }
    let (mut forgotten, mut points) = (0, Vec::new());
    for _ in 0..5 {
        let pruned = ok(play.store().prune(2).await);
        forgotten += pruned.jobs;
        points.extend(pruned.checkpoints);
    }
    assert!(forgotten >= 3, "{forgotten}");
    points.retain(|point| point.key.starts_with(play.queue.as_str()));
    points.sort_by_key(|point| point.sequence);
    assert_eq!(points, [point(1), point(2)], "whoever keeps the bytes is told");
    for (at, id) in ids.iter().enumerate() {
        assert_eq!(ok(play.store().job(*id).await).is_some(), at >= 3, "{at}");
    }
}

/// Oldest first.
pub async fn jobs_are_listed_by_queue_and_state_page_by_page<S: Stage>(stage: &S) {
    let play = Play::new(stage, "listed");
    let ids = play.jobs(5).await;
    play.make(new_job(&super::stage::queue("elsewhere"))).await;
    play.deed(Deed::Cancel { reason: None }, ids[1]).await;
    let worker = play.worker("w").await;
    play.claim(&worker, 1).await;
    let all = Filter { queue: Some(play.queue.clone()), most: 100, ..Filter::default() };
    let store = play.store();
    let list = |filter: Filter| async move {
        let found = ok(store.jobs(&filter).await);
        found.iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert_eq!(list(all.clone()).await, ids);
    let waiting = Filter { states: vec![State::Ready], ..all.clone() };
    assert_eq!(list(waiting).await, &ids[2..]);
    let other = Filter { states: vec![State::Running, State::Cancelled], ..all.clone() };
    assert_eq!(list(other).await, &ids[..2]);
    let page = Filter { after: Some(ids[1]), most: 2, ..all };
    assert_eq!(list(page).await, &ids[2..4]);
}

/// Ticks that nobody saw are made up for by one job, however many look.
pub async fn a_schedule_makes_one_job_for_each_tick_that_somebody_sees<S: Stage>(stage: &S) {
    let play = Play::new(stage, "nightly");
    let schedule = Schedule {
        name: play.queue.clone(),
        queue: play.queue.clone(),
        cron: "30 4 * * *".parse().expect("cron's own form"),
        zone: "Europe/Berlin".to_owned(),
        payload: serde_json::json!({"night": true}),
        priority: 3,
        max_attempts: 2,
        next: Some(Timestamp::from_unix_ms(1_000)),
        last: None,
        by: by(),
    };
    ok(play.store().set_schedule(&schedule).await);
    // Many machines look at the same tick at once, and once more.
    for looked in together((0..8).map(|_| play.store().promote())).await {
        ok(looked);
    }
    ok(play.store().promote().await);
    let all = Filter { queue: Some(play.queue.clone()), most: 10, ..Filter::default() };
    let jobs = ok(play.store().jobs(&all).await);
    assert_eq!(jobs.len(), 1);
    assert_eq!((&jobs[0].payload, jobs[0].priority, jobs[0].max_attempts), (&schedule.payload, 3, 2));
    let stored = ok(play.store().schedules().await).into_iter().find(|stored| stored.name == play.queue);
    let stored = stored.expect("it is kept");
    assert_eq!(stored.last, schedule.next);
    assert!(stored.next > Some(jobs[0].enqueued_at), "{stored:?}");
    let elsewhere = Schedule { zone: "Mars/Olympus".to_owned(), ..schedule.clone() };
    let never = Schedule { cron: "0 0 31 2 *".parse().expect("it is one"), ..schedule };
    for wrong in [elsewhere, never] {
        let refused = play.store().set_schedule(&wrong).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{wrong:?}: {refused:?}");
    }
    assert!(ok(play.store().remove_schedule(&play.queue).await));
    assert!(!ok(play.store().remove_schedule(&play.queue).await));
}
