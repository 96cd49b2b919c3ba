//! What a reaper sees and takes.

use super::ends::checkpoint;
use super::stage::{Play, Stage, by, new_job, ok};
use crate::claim::{Claim, Ending, Evidence, Order};
use crate::id::Incarnation;
use crate::job::NewJob;
use crate::store::{Reap, Reaped};
use crate::{EventKind, JobStore as _, State};

const TERM: u64 = 1_000;

fn reap(claim: &Claim, who: &Incarnation, last_beat: u64, proof: Option<&str>) -> Reap {
    Reap {
        job: claim.job,
        token: claim.token,
        incarnation: who.clone(),
        evidence: Evidence {
            silent_ms: 10_100,
            reap_after_ms: 10_000,
            last_beat,
            last_beat_at: None,
            proof: proof.map(str::to_owned),
            term: TERM,
        },
        reason: "silent for 10.1 s of 10 s; machine m0".to_owned(),
        by: by(),
    }
}

/// From its last checkpoint, to another worker; the silent one learns it and can write nothing.
pub async fn a_reap_hands_over_and_spends_the_token<S: Stage>(stage: &S) {
    let play = Play::new(stage, "reaped");
    play.rules(|_| {}).await;
    stage.set_term(TERM).await;
    let id = play.make(new_job(&play.queue)).await;
    let (silent, other) = (play.worker("silent").await, play.worker("other").await);
    let claim = play.claim(&silent, 1).await.remove(0);
    play.beat(&silent, 4).await;
    ok(play.store().checkpoint(id, claim.token, &checkpoint(&claim, 1)).await);
    let reaped = ok(play.store().reap(&[reap(&claim, &silent, 4, None)]).await);
    assert_eq!(reaped, [Reaped::Taken(State::Handover)]);
    assert!(play.claim(&other, 1).await.is_empty());
    play.until_ready(id).await;
    let again = play.claim(&other, 1).await.remove(0);
    assert_eq!((again.attempt, &again.checkpoints[..]), (2, &[checkpoint(&claim, 1)][..]));
    assert_eq!(play.beat(&silent, 5).await.spent, [(id, claim.token)]);
    assert_eq!(play.finish(&claim, Order::Complete).await, Ending::Spent);
    assert_eq!(ok(play.store().reap(&[reap(&claim, &silent, 5, None)]).await), [Reaped::Refuted]);
    assert_eq!(play.finish(&again, Order::Complete).await, Ending::Applied);
}

/// Between the look and the reap.
pub async fn a_beat_refutes_a_reap<S: Stage>(stage: &S) {
    let play = Play::new(stage, "refuted");
    stage.set_term(TERM).await;
    let id = play.make(new_job(&play.queue)).await;
    let worker = play.worker("w").await;
    let claim = play.claim(&worker, 1).await.remove(0);
    play.beat(&worker, 1).await;
    for last_beat in [0, 2] {
        let reaped = ok(play.store().reap(&[reap(&claim, &worker, last_beat, None)]).await);
        assert_eq!(reaped, [Reaped::Refuted]);
    }
    assert_eq!(play.state(id).await, State::Running);
    assert!(play.beat(&worker, 2).await.spent.is_empty());
}

/// Neither an older term nor one that never was.
pub async fn a_reap_under_a_term_that_is_over_writes_nothing<S: Stage>(stage: &S) {
    let play = Play::new(stage, "term-over");
    stage.set_term(TERM).await;
    let id = play.make(new_job(&play.queue)).await;
    let worker = play.worker("w").await;
    let claim = play.claim(&worker, 1).await.remove(0);
    for term in [TERM - 1, TERM + 1] {
        let mut late = reap(&claim, &worker, 0, None);
        late.evidence.term = term;
        assert_eq!(ok(play.store().reap(&[late]).await), [Reaped::TermOver]);
    }
    assert_eq!(play.state(id).await, State::Running);
    assert_eq!(play.finish(&claim, Order::Complete).await, Ending::Applied);
}

/// Nobody is left who would have to be given time.
pub async fn a_proven_death_hands_over_at_once<S: Stage>(stage: &S) {
    let play = Play::new(stage, "proven");
    play.rules(|queue| queue.handover_delay_ms = 3_600_000).await;
    stage.set_term(TERM).await;
    let id = play.make(new_job(&play.queue)).await;
    let worker = play.worker("w").await;
    let claim = play.claim(&worker, 1).await.remove(0);
    let taken = ok(play.store().reap(&[reap(&claim, &worker, 0, Some("process gone"))]).await);
    assert_eq!(taken, [Reaped::Taken(State::Ready)]);
    assert_eq!(play.state(id).await, State::Ready);
}

/// Silence is no failure of the job, and a job that kills its workers must not run for ever.
pub async fn a_reap_on_the_last_attempt_holds<S: Stage>(stage: &S) {
    let play = Play::new(stage, "last");
    stage.set_term(TERM).await;
    let id = play.make(NewJob { max_attempts: 1, ..new_job(&play.queue) }).await;
    let worker = play.worker("w").await;
    let claim = play.claim(&worker, 1).await.remove(0);
    let taken = ok(play.store().reap(&[reap(&claim, &worker, 0, None)]).await);
    assert_eq!(taken, [Reaped::Taken(State::Held)]);
    assert_eq!(play.state(id).await, State::Held);
}

/// And who said goodbye.
pub async fn a_reaper_sees_who_holds_what<S: Stage>(stage: &S) {
    let play = Play::new(stage, "seen");
    play.rules(|_| {}).await;
    play.jobs(2).await;
    let (busy, idle) = (play.worker("busy").await, play.worker("idle").await);
    let claims = play.claim(&busy, 2).await;
    play.beat(&busy, 9).await;
    let sight = ok(play.store().observe().await);
    let of = |who: &Incarnation| sight.workers.iter().find(|seen| seen.worker.incarnation == *who);
    let seen = of(&busy).expect("it holds claims");
    assert_eq!((seen.beat, seen.gone, seen.worker.name.as_str()), (9, false, "busy"));
    let held: Vec<_> = claims.iter().map(|claim| (claim.job, claim.token, claim.terms)).collect();
    assert_eq!(seen.claims, held);
    assert!(of(&idle).is_none() && !sight.timeline.is_empty());
}

/// Who did what to it, with the reason and the numbers of a reap.
pub async fn the_history_tells_everything_in_order<S: Stage>(stage: &S) {
    let play = Play::new(stage, "history");
    play.rules(|_| {}).await;
    stage.set_term(TERM).await;
    let id = play.make(new_job(&play.queue)).await;
    let worker = play.worker("w").await;
    let claim = play.claim(&worker, 1).await.remove(0);
    ok(play.store().checkpoint(id, claim.token, &checkpoint(&claim, 1)).await);
    let taken = reap(&claim, &worker, 0, Some("process gone"));
    ok(play.store().reap(std::slice::from_ref(&taken)).await);
    play.finish(&claim, Order::Complete).await;
    let events = ok(play.store().events(id).await);
    assert!(events.is_sorted_by(|one, two| one.number < two.number && one.at <= two.at), "{events:#?}");
    let kinds: Vec<_> = events.iter().map(|event| event.kind.clone()).collect();
    let expected = [
        EventKind::Enqueued,
        EventKind::Claimed { attempt: 1, worker: "w".to_owned() },
        EventKind::Checkpoint { sequence: 1 },
        EventKind::Reaped { evidence: taken.evidence, reason: taken.reason },
        EventKind::Refused { what: "complete".to_owned() },
    ];
    assert_eq!(kinds, expected);
    assert!(events[1..].iter().all(|event| event.token == Some(claim.token)));
    assert_eq!(events.iter().filter(|event| event.by == Some(by())).count(), 3);
}
