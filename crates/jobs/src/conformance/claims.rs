//! Giving out jobs.

use std::collections::BTreeSet;
use std::time::Duration;

use super::stage::{Play, Stage, new_job, ok, worker};
use crate::claim::{Ask, Beat, Ending, Order};
use crate::id::Incarnation;
use crate::job::{NewJob, Start};
use crate::{Error, JobStore as _, State};

/// And within one priority in the order of enqueueing.
pub async fn smaller_priority_first_then_the_older<S: Stage>(stage: &S) {
    let play = Play::new(stage, "order");
    let mut made = Vec::new();
    for priority in [5, -1, 0, 5, -1] {
        made.push(play.make(NewJob { priority, ..new_job(&play.queue) }).await);
    }
    let worker = play.worker("w").await;
    let mut given: Vec<_> = play.claim(&worker, 3).await;
    given.extend(play.claim(&worker, 3).await);
    let given: Vec<_> = given.iter().map(|claim| claim.job).collect();
    assert_eq!(given, [1, 4, 2, 0, 3].map(|at| made[at]));
}

/// Each job goes out once.
pub async fn no_job_is_given_to_two_workers<S: Stage>(stage: &S) {
    let play = Play::new(stage, "once");
    let made: BTreeSet<_> = play.jobs(60).await.into_iter().collect();
    let (one, two) = (play.worker("same name").await, play.worker("same name").await);
    let mut given = Vec::new();
    for _ in 0..10 {
        given.extend(play.claim(&one, 4).await);
        given.extend(play.claim(&two, 3).await);
    }
    assert_eq!(given.len(), made.len());
    assert_eq!(given.iter().map(|claim| claim.job).collect::<BTreeSet<_>>(), made);
}

/// A later claim has a higher one, also in another queue.
pub async fn tokens_grow_over_the_whole_store<S: Stage>(stage: &S) {
    let (one, two) = (Play::new(stage, "grow"), Play::new(stage, "grow"));
    let worker = one.worker("w").await;
    let mut last = None;
    for play in [&one, &two, &one, &two] {
        play.jobs(3).await;
        let claims = play.claim(&worker, 3).await;
        let tokens: Vec<_> = claims.iter().map(|claim| claim.token).collect();
        assert_eq!(tokens.iter().collect::<BTreeSet<_>>().len(), 3);
        assert!(tokens.iter().all(|token| Some(*token) > last), "{tokens:?} after {last:?}");
        last = tokens.into_iter().max();
    }
}

/// `promote` gives it out once its time has come, and says when that is.
pub async fn a_delayed_job_is_not_given_out_before_its_time<S: Stage>(stage: &S) {
    let play = Play::new(stage, "delayed");
    let later = NewJob { start: Start::In(Duration::from_secs(3_600)), ..new_job(&play.queue) };
    let soon = NewJob { start: Start::In(Duration::from_millis(30)), ..new_job(&play.queue) };
    let (later, soon) = (play.make(later).await, play.make(soon).await);
    let worker = play.worker("w").await;
    assert_eq!(play.state(soon).await, State::Scheduled);
    assert!(play.claim(&worker, 5).await.is_empty());
    play.until_ready(soon).await;
    assert_eq!(play.state(later).await, State::Scheduled);
    let promoted = ok(play.store().promote().await);
    assert!(promoted.next.is_some() && promoted.now.is_some() && promoted.next > promoted.now);
    assert_eq!(play.claim(&worker, 5).await.len(), 1);
}

/// Nor does one that said goodbye.
pub async fn a_stranger_gets_and_writes_nothing<S: Stage>(stage: &S) {
    let play = Play::new(stage, "stranger");
    play.jobs(1).await;
    let stranger = worker("unknown").incarnation;
    let gone = play.worker("gone").await;
    ok(play.store().goodbye(&gone).await);
    for who in [stranger, gone] {
        is_stranger(play.store().claim(&play.ask(&who, 1)).await.map(drop));
        let beat = Beat { incarnation: who.clone(), sequence: 1, progress: Vec::new(), trouble: Vec::new() };
        is_stranger(play.store().beat(&beat).await.map(drop));
    }
    is_stranger(play.store().goodbye(&Incarnation::from_bits(3)).await);
}

fn is_stranger(result: Result<(), Error>) {
    assert!(matches!(result, Err(Error::Stranger(_))), "{result:?}");
}

/// Its first answer may have been lost. Another worker may not bear the same incarnation.
pub async fn a_registration_may_be_repeated_by_its_own_worker_only<S: Stage>(stage: &S) {
    let play = Play::new(stage, "register");
    let mut worker = worker("w");
    ok(play.store().register(&worker).await);
    ok(play.store().register(&worker).await);
    worker.start_ticks += 1;
    let refused = play.store().register(&worker).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    worker.start_ticks -= 1;
    ok(play.store().goodbye(&worker.incarnation).await);
    let refused = play.store().register(&worker).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
}

/// The queue's threshold is a floor; the claim keeps what held when it was made.
pub async fn a_client_lengthens_the_threshold_of_its_claim_only<S: Stage>(stage: &S) {
    let play = Play::new(stage, "lengthen");
    let queue = play.rules(|_| {}).await;
    let worker = play.worker("w").await;
    let asked = |seconds| Some(Duration::from_secs(seconds));
    for (job, ask, expected) in [
        (None, None, 10_000),
        (asked(1), asked(2), 10_000),
        (asked(20), None, 20_000),
        (None, asked(30), 30_000),
        (asked(40), asked(30), 40_000),
    ] {
        play.make(NewJob { reap_after: job, ..new_job(&play.queue) }).await;
        let claims = play.store().claim(&Ask { reap_after: ask, ..play.ask(&worker, 1) }).await;
        let claim = ok(claims).remove(0);
        assert_eq!(claim.terms.reap_after_ms, expected);
        assert_eq!(claim.terms.self_fence_ms * 2, expected);
        play.finish(&claim, Order::Complete).await;
    }
    assert_eq!(ok(play.store().queues().await).iter().find(|found| found.name == queue.name), Some(&queue));
}

/// So that no claim of the time that a restore took away has the token of one made now.
pub async fn after_a_restore_tokens_are_far_above_those_before<S: Stage>(stage: &S) {
    let play = Play::new(stage, "restored");
    play.jobs(2).await;
    let worker = play.worker("w").await;
    let before = play.claim(&worker, 1).await.remove(0);
    assert!(ok(play.store().after_restore().await) >= 1, "one is held");
    let after = play.claim(&worker, 1).await.remove(0);
    assert!(after.token.0 >= before.token.0 + (1 << 32), "{} {}", before.token, after.token);
    assert_eq!(play.finish(&before, Order::Complete).await, Ending::Applied);
}
