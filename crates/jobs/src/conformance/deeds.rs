//! What a person does.

use super::ends::checkpoint;
use super::stage::{INTENDED, Play, Stage, by, new_job, ok};
use crate::claim::{Ending, Finish, Order};
use crate::id::JobId;
use crate::job::NewJob;
use crate::store::{Deed, Intervened};
use crate::{EventKind, JobStore as _, State};

fn cancel() -> Deed {
    Deed::Cancel { reason: Some("wrong day".to_owned()) }
}

fn hold() -> Deed {
    Deed::Hold { reason: "look at it first".to_owned() }
}

/// With the next beat, and only its word ends it.
pub async fn a_cancelled_job_is_told_to_its_handler_and_ends<S: Stage>(stage: &S) {
    let play = Play::new(stage, "cancelled");
    let id = play.make(new_job(&play.queue)).await;
    let worker = play.worker("w").await;
    let claim = play.claim(&worker, 1).await.remove(0);
    assert!(play.beat(&worker, 1).await.cancel.is_empty());
    assert_eq!(play.deed(cancel(), id).await, Intervened::Done(State::Running));
    assert_eq!(play.deed(cancel(), id).await, Intervened::Already(State::Running));
    assert_eq!(play.beat(&worker, 2).await.cancel, [id]);
    assert!(play.job(id).await.cancel_requested);
    assert_eq!(play.finish(&claim, Order::Cancelled).await, Ending::Applied);
    let ended = play.job(id).await;
    assert_eq!((ended.state, ended.reason.as_deref()), (State::Cancelled, Some("wrong day")));
    assert!(!ended.cancel_requested);
    assert_eq!(play.deed(cancel(), id).await, Intervened::Already(State::Cancelled));
}

/// From every state in which no worker has it.
pub async fn a_cancel_of_a_waiting_job_takes_effect_at_once<S: Stage>(stage: &S) {
    let play = Play::new(stage, "waiting");
    let start = crate::job::Start::In(std::time::Duration::from_secs(3_600));
    let ready = play.make(new_job(&play.queue)).await;
    let held = play.make(new_job(&play.queue)).await;
    let scheduled = play.make(NewJob { start, ..new_job(&play.queue) }).await;
    play.deed(hold(), held).await;
    for id in [ready, held, scheduled] {
        assert_eq!(play.deed(cancel(), id).await, Intervened::Done(State::Cancelled));
        assert_eq!(play.state(id).await, State::Cancelled);
    }
    let worker = play.worker("w").await;
    assert!(play.claim(&worker, 5).await.is_empty());
}

/// Whichever comes first, the other one is told.
pub async fn cancel_against_complete_has_one_winner<S: Stage>(stage: &S) {
    let play = Play::new(stage, "race");
    play.jobs(2).await;
    let worker = play.worker("w").await;
    let claims = play.claim(&worker, 2).await;
    play.finish(&claims[0], Order::Complete).await;
    assert_eq!(play.deed(cancel(), claims[0].job).await, Intervened::Unfit(State::Succeeded));
    assert_eq!(play.deed(cancel(), claims[1].job).await, Intervened::Done(State::Running));
    assert_eq!(play.finish(&claims[1], Order::Complete).await, Ending::Applied);
    assert_eq!(play.state(claims[1].job).await, State::Succeeded);
}

/// Also while it still runs and its handler was told.
pub async fn a_job_cancelled_wrongly_goes_on_from_its_checkpoint<S: Stage>(stage: &S) {
    let play = Play::new(stage, "wrongly");
    let id = play.make(new_job(&play.queue)).await;
    let worker = play.worker("w").await;
    let claim = play.claim(&worker, 1).await.remove(0);
    ok(play.store().checkpoint(id, claim.token, &checkpoint(&claim, 1)).await);
    play.deed(cancel(), id).await;
    assert_eq!(play.deed(Deed::Resume, id).await, Intervened::Done(State::Running));
    assert!(play.beat(&worker, 1).await.cancel.is_empty());
    play.deed(cancel(), id).await;
    play.finish(&claim, Order::Cancelled).await;
    assert_eq!(play.deed(Deed::Resume, id).await, Intervened::Done(State::Ready));
    let again = play.claim(&worker, 1).await.remove(0);
    assert_eq!(again.checkpoints, [checkpoint(&claim, 1)]);
    assert_eq!(play.finish(&again, Order::Complete).await, Ending::Applied);
}

/// A hold does not touch what runs.
pub async fn a_held_job_runs_after_its_release_only<S: Stage>(stage: &S) {
    let play = Play::new(stage, "held");
    let id = play.make(new_job(&play.queue)).await;
    assert_eq!(play.deed(hold(), id).await, Intervened::Done(State::Held));
    assert_eq!(play.job(id).await.reason.as_deref(), Some("look at it first"));
    let worker = play.worker("w").await;
    assert!(play.claim(&worker, 1).await.is_empty());
    assert_eq!(play.deed(Deed::Release, id).await, Intervened::Done(State::Ready));
    let claim = play.claim(&worker, 1).await.remove(0);
    assert_eq!(play.deed(hold(), id).await, Intervened::Unfit(State::Running));
    let reason = "every checkpoint is damaged".to_owned();
    assert_eq!(play.finish(&claim, Order::Hold { reason }).await, Ending::Applied);
    assert_eq!(play.job(id).await.state, State::Held);
    let later = NewJob {
        start: crate::job::Start::In(std::time::Duration::from_secs(3_600)),
        ..new_job(&play.queue)
    };
    let later = play.make(later).await;
    play.deed(hold(), later).await;
    assert_eq!(play.deed(Deed::Release, later).await, Intervened::Done(State::Scheduled));
}

/// Dead letters go back into their queue.
pub async fn a_dead_job_is_retried_with_its_attempts_anew<S: Stage>(stage: &S) {
    let play = Play::new(stage, "retried");
    let id = play.make(NewJob { max_attempts: 1, ..new_job(&play.queue) }).await;
    let worker = play.worker("w").await;
    let claim = play.claim(&worker, 1).await.remove(0);
    play.fail(&claim).await;
    assert_eq!(play.state(id).await, State::Dead);
    assert_eq!(play.deed(Deed::Retry, id).await, Intervened::Done(State::Ready));
    let again = play.claim(&worker, 1).await.remove(0);
    assert_eq!(again.attempt, 1);
    assert_eq!(play.finish(&again, Order::Complete).await, Ending::Applied);
}

/// Else two living jobs would bear one key.
pub async fn a_resumed_job_waits_while_another_bears_its_key<S: Stage>(stage: &S) {
    let play = Play::new(stage, "key-taken");
    let job = NewJob { unique: Some("k".to_owned()), ..new_job(&play.queue) };
    let first = play.make(job.clone()).await;
    play.deed(cancel(), first).await;
    let second = play.make(job).await;
    assert_ne!(first, second);
    assert_eq!(play.deed(Deed::Resume, first).await, Intervened::KeyTaken(second));
    assert_eq!(play.state(first).await, State::Cancelled);
    play.deed(cancel(), second).await;
    assert_eq!(play.deed(Deed::Resume, first).await, Intervened::Done(State::Ready));
}

/// In the order of the request, and nothing is written.
pub async fn deeds_on_what_is_not_there_or_unfit_say_so<S: Stage>(stage: &S) {
    let play = Play::new(stage, "unfit");
    let ids = play.jobs(2).await;
    let worker = play.worker("w").await;
    let claim = play.claim(&worker, 1).await.remove(0);
    let end = Finish { job: claim.job, token: claim.token, order: Order::Complete };
    ok(play.store().finish(&[end]).await);
    let asked = [ids[0], JobId(i64::MAX), ids[1]];
    let answers = ok(play.store().intervene(&INTENDED, &Deed::Retry, &asked, &by()).await);
    let expected =
        [Intervened::Unfit(State::Succeeded), Intervened::Missing, Intervened::Already(State::Ready)];
    assert_eq!(answers, expected);
    let kinds = play.kinds(ids[1]).await;
    assert_eq!(kinds, [EventKind::Enqueued]);
    assert!(ok(play.store().events(JobId(i64::MAX)).await).is_empty());
}
