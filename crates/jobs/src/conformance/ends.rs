//! What a worker writes about its attempts.

use super::stage::{Play, Stage, new_job, ok, other_token};
use crate::claim::{Beat, Checkpoint, Claim, Ending, Order};
use crate::job::NewJob;
use crate::{Error, EventKind, JobStore as _, State};

pub(super) fn checkpoint(claim: &Claim, sequence: u64) -> Checkpoint {
    Checkpoint {
        sequence,
        key: format!("test/{}/{}/{sequence}", claim.job, claim.token),
        sha256: "0".repeat(64),
        bytes: 12,
    }
}

/// Neither an end nor a checkpoint; and the history says that it was refused.
pub async fn a_spent_token_writes_nothing<S: Stage>(stage: &S) {
    let play = Play::new(stage, "spent");
    play.rules(|_| {}).await;
    let id = play.make(new_job(&play.queue)).await;
    let worker = play.worker("w").await;
    let first = play.claim(&worker, 1).await.remove(0);
    play.fail(&first).await;
    play.until_ready(id).await;
    let second = play.claim(&worker, 1).await.remove(0);
    let before = play.job(id).await;
    for spent in [&first, &other_token(&second)] {
        assert_eq!(play.finish(spent, Order::Complete).await, Ending::Spent);
        let written = play.store().checkpoint(id, spent.token, &checkpoint(spent, 1)).await;
        assert_eq!(ok(written), Ending::Spent);
    }
    assert_eq!(play.job(id).await, before);
    let refused = play.kinds(id).await;
    let refused = refused.iter().filter(|kind| matches!(kind, EventKind::Refused { .. })).count();
    assert_eq!(refused, 4);
    assert_eq!(play.finish(&second, Order::Complete).await, Ending::Applied);
}

/// The same end again is answered as the first time; another end is not.
pub async fn a_lost_answer_is_repeated_without_a_second_effect<S: Stage>(stage: &S) {
    let play = Play::new(stage, "repeated");
    play.jobs(2).await;
    let worker = play.worker("w").await;
    let claims = play.claim(&worker, 2).await;
    for _ in 0..2 {
        assert_eq!(play.finish(&claims[0], Order::Complete).await, Ending::Applied);
        assert_eq!(play.fail(&claims[1]).await, Ending::Applied);
    }
    assert_eq!(play.fail(&claims[0]).await, Ending::Spent);
    assert_eq!(play.finish(&claims[1], Order::Complete).await, Ending::Spent);
    let kinds = play.kinds(claims[0].job).await;
    assert_eq!(kinds.iter().filter(|kind| **kind == EventKind::Completed).count(), 1);
    assert_eq!(play.job(claims[1].job).await.attempts, 1);
}

/// Or at once, where trying again cannot help.
pub async fn a_failed_job_is_tried_again_and_dies_with_its_last_attempt<S: Stage>(stage: &S) {
    let play = Play::new(stage, "failing");
    play.rules(|_| {}).await;
    let id = play.make(NewJob { max_attempts: 3, ..new_job(&play.queue) }).await;
    let worker = play.worker("w").await;
    for attempt in 1..=3 {
        play.until_ready(id).await;
        let claim = play.claim(&worker, 1).await.remove(0);
        assert_eq!((claim.attempt, claim.max_attempts), (attempt, 3));
        assert_eq!(play.fail(&claim).await, Ending::Applied);
        let expected = if attempt < 3 { State::Retrying } else { State::Dead };
        assert_eq!(play.state(id).await, expected);
    }
    assert_eq!(play.job(id).await.reason.as_deref(), Some("no route"));
    let fatal = play.make(new_job(&play.queue)).await;
    let claim = play.claim(&worker, 1).await.remove(0);
    play.finish(&claim, Order::Fail { error: "no such file".to_owned(), fatal: true }).await;
    assert_eq!(play.state(fatal).await, State::Dead);
}

/// With its checkpoints.
pub async fn a_drained_job_goes_back_uncharged<S: Stage>(stage: &S) {
    let play = Play::new(stage, "drained");
    let id = play.make(new_job(&play.queue)).await;
    let worker = play.worker("w").await;
    let claim = play.claim(&worker, 1).await.remove(0);
    ok(play.store().checkpoint(id, claim.token, &checkpoint(&claim, 1)).await);
    assert_eq!(play.finish(&claim, Order::Drain).await, Ending::Applied);
    assert_eq!((play.state(id).await, play.job(id).await.attempts), (State::Ready, 0));
    let again = play.claim(&worker, 1).await.remove(0);
    assert_eq!((again.attempt, &again.checkpoints[..]), (1, &[checkpoint(&claim, 1)][..]));
    assert!(again.token > claim.token);
}

/// Uncharged, and its later writes are refused.
pub async fn a_goodbye_gives_back_what_is_held<S: Stage>(stage: &S) {
    let play = Play::new(stage, "goodbye");
    let ids = play.jobs(3).await;
    let worker = play.worker("w").await;
    let claims = play.claim(&worker, 2).await;
    ok(play.store().goodbye(&worker).await);
    for id in ids {
        assert_eq!((play.state(id).await, play.job(id).await.attempts), (State::Ready, 0));
    }
    assert_eq!(play.finish(&claims[0], Order::Complete).await, Ending::Spent);
}

/// Late, doubled and reordered ones change nothing.
pub async fn a_checkpoint_never_goes_back_and_three_are_kept<S: Stage>(stage: &S) {
    let play = Play::new(stage, "checkpoints");
    let id = play.make(new_job(&play.queue)).await;
    let worker = play.worker("w").await;
    let claim = play.claim(&worker, 1).await.remove(0);
    for sequence in [1, 2, 3, 3, 5] {
        let written = play.store().checkpoint(id, claim.token, &checkpoint(&claim, sequence)).await;
        assert_eq!(ok(written), Ending::Applied);
    }
    let other = Checkpoint { bytes: 13, ..checkpoint(&claim, 5) };
    for late in [checkpoint(&claim, 2), checkpoint(&claim, 4), other] {
        let refused = play.store().checkpoint(id, claim.token, &late).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    }
    assert_eq!(play.job(id).await.checkpoint, Some(checkpoint(&claim, 5)));
    play.finish(&claim, Order::Drain).await;
    let again = play.claim(&worker, 1).await.remove(0);
    assert_eq!(again.checkpoints, [5, 3, 2].map(|sequence| checkpoint(&claim, sequence)));
    let refused = play.store().checkpoint(id, again.token, &checkpoint(&again, 5)).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    ok(play.store().checkpoint(id, again.token, &checkpoint(&again, 6)).await);
}

/// And only what its claim holds moves.
pub async fn progress_with_a_spent_token_is_told_to_the_worker<S: Stage>(stage: &S) {
    let play = Play::new(stage, "progress");
    play.jobs(2).await;
    let worker = play.worker("w").await;
    let claims = play.claim(&worker, 2).await;
    let spent = other_token(&claims[1]);
    let progress = vec![(claims[0].job, claims[0].token, 42), (spent.job, spent.token, 43)];
    let beat = Beat { incarnation: worker.clone(), sequence: 1, progress, trouble: Vec::new() };
    let answer = ok(play.store().beat(&beat).await);
    assert_eq!(answer.spent, [(spent.job, spent.token)]);
    assert_eq!(play.job(claims[0].job).await.progress, Some(42));
    assert_eq!(play.job(claims[1].job).await.progress, None);
}

/// And it is gone with the attempt that it was about.
pub async fn trouble_is_shown_while_its_attempt_runs<S: Stage>(stage: &S) {
    let play = Play::new(stage, "trouble");
    play.jobs(2).await;
    let worker = play.worker("w").await;
    let claims = play.claim(&worker, 2).await;
    let (claim, spent) = (&claims[0], other_token(&claims[1]));
    let line = Some("checkpoint 3 cannot be stored: no route".to_owned());
    let trouble = vec![(claim.job, claim.token, line.clone()), (spent.job, spent.token, line.clone())];
    let beat = Beat { incarnation: worker.clone(), sequence: 1, progress: Vec::new(), trouble };
    assert_eq!(ok(play.store().beat(&beat).await).spent, [(spent.job, spent.token)]);
    assert_eq!(play.job(claim.job).await.trouble, line);
    assert_eq!(play.job(spent.job).await.trouble, None);
    let over = vec![(claim.job, claim.token, None)];
    ok(play.store().beat(&Beat { sequence: 2, trouble: over, ..beat.clone() }).await);
    assert_eq!(play.job(claim.job).await.trouble, None);
    ok(play.store().beat(&Beat { sequence: 3, trouble: vec![(claim.job, claim.token, line)], ..beat }).await);
    play.finish(claim, Order::Drain).await;
    assert_eq!(play.job(claim.job).await.trouble, None);
    play.claim(&worker, 1).await;
    assert_eq!(play.job(claim.job).await.trouble, None, "the new attempt has its own");
}

/// Its first answer may have been lost, and an older one may come late.
pub async fn a_repeated_beat_counts_once<S: Stage>(stage: &S) {
    let play = Play::new(stage, "beats");
    play.jobs(1).await;
    let worker = play.worker("w").await;
    play.claim(&worker, 1).await;
    for sequence in [1, 2, 2, 1, 3, 2] {
        assert_eq!(play.beat(&worker, sequence).await, crate::BeatAnswer::default());
    }
    let seen = ok(play.store().beats().await).workers;
    assert_eq!(seen.iter().find(|(who, _)| *who == worker).map(|(_, beat)| *beat), Some(3));
}
