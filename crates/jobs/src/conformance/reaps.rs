//! What a reaper sees and takes.

use super::ends::checkpoint;
use super::stage::{HOLDER, Play, Stage, by, new_job, ok};
use crate::claim::{Beat, Claim, Ending, Evidence, Order};
use crate::id::Incarnation;
use crate::job::NewJob;
use crate::queue::{OnSilence, OnStuck};
use crate::reaper::{Idle, Step, reap_of_stuck};
use crate::store::{Deed, Fence, HeldClaim, Reap, Reaped, Silent};
use crate::{EventKind, JobStore as _, State};

const TERM: u64 = 1_000;

/// As the stage has made it the one in force.
fn under(term: u64) -> Fence {
    Fence { term, holder: HOLDER.to_owned() }
}

fn reap(claim: &Claim, who: &Incarnation, last_beat: u64, proof: Option<&str>) -> Reap {
    Reap {
        job: claim.job,
        token: claim.token,
        incarnation: who.clone(),
        evidence: Evidence {
            proof: proof.map(str::to_owned),
            ..Evidence::new(TERM, last_beat, 10_100, 10_000)
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
    let reaped = ok(play.store().reap(&under(TERM), &[reap(&claim, &silent, 4, None)]).await);
    assert_eq!(reaped, [Reaped::Taken(State::Handover)]);
    assert!(play.claim(&other, 1).await.is_empty());
    play.until_ready(id).await;
    let again = play.claim(&other, 1).await.remove(0);
    assert_eq!((again.attempt, &again.checkpoints[..]), (2, &[checkpoint(&claim, 1)][..]));
    assert_eq!(play.beat(&silent, 5).await.spent, [(id, claim.token)]);
    assert_eq!(play.finish(&claim, Order::Complete).await, Ending::Spent);
    assert_eq!(
        ok(play.store().reap(&under(TERM), &[reap(&claim, &silent, 5, None)]).await),
        [Reaped::Refuted]
    );
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
        let reaped = ok(play.store().reap(&under(TERM), &[reap(&claim, &worker, last_beat, None)]).await);
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
    let other_holder = Fence { holder: "another".to_owned(), ..under(TERM) };
    for fence in [under(TERM - 1), under(TERM + 1), other_holder] {
        let late = reap(&claim, &worker, 0, None);
        assert_eq!(ok(play.store().reap(&fence, &[late]).await), [Reaped::TermOver]);
    }
    assert_eq!(play.state(id).await, State::Running);
    assert_eq!(play.finish(&claim, Order::Complete).await, Ending::Applied);
}

/// Whatever else it could become: what the queue says, and what somebody asked for.
pub async fn a_reap_does_what_the_queue_says<S: Stage>(stage: &S) {
    stage.set_term(TERM).await;
    let cases = [
        (OnSilence::Hold, false, State::Held),
        (OnSilence::Cancel, false, State::Cancelled),
        (OnSilence::Requeue, true, State::Cancelled),
        (OnSilence::Requeue, false, State::Handover),
    ];
    for (on_silence, asked, expected) in cases {
        let play = Play::new(stage, "on-silence");
        play.rules(|queue| (queue.on_silence, queue.handover_delay_ms) = (on_silence, 60_000)).await;
        let id = play.make(NewJob { unique: Some("one".to_owned()), ..new_job(&play.queue) }).await;
        let worker = play.worker("w").await;
        let claim = play.claim(&worker, 1).await.remove(0);
        if asked {
            play.deed(Deed::Cancel { reason: None }, id).await;
        }
        let taken = ok(play.store().reap(&under(TERM), &[reap(&claim, &worker, 0, None)]).await);
        assert_eq!(taken, [Reaped::Taken(expected)], "{on_silence:?}");
        let found = play.job(id).await;
        assert_eq!((found.state, found.attempts), (expected, 1));
        assert!(found.reason.is_some_and(|reason| reason.contains("silent")), "{on_silence:?}");
        // The key is free once the job has ended.
        let again = NewJob { unique: Some("one".to_owned()), ..new_job(&play.queue) };
        let made = ok(play.store().enqueue(&[again]).await)[0];
        assert_eq!(made.new, expected.is_final(), "{on_silence:?}");
    }
}

/// Of two workers, one of which beats meanwhile; each claim for itself.
pub async fn many_are_reaped_at_once<S: Stage>(stage: &S) {
    let play = Play::new(stage, "many");
    play.rules(|queue| queue.handover_delay_ms = 0).await;
    stage.set_term(TERM).await;
    play.jobs(30).await;
    let (dead, alive) = (play.worker("dead").await, play.worker("alive").await);
    let (mine, other) = (play.claim(&dead, 20).await, play.claim(&alive, 10).await);
    let of = |claims: &[Claim], who: &Incarnation| -> Vec<Reap> {
        claims.iter().map(|claim| reap(claim, who, 0, None)).collect()
    };
    play.beat(&alive, 1).await;
    play.finish(&mine[7], Order::Complete).await;
    let both = [of(&mine, &dead), of(&other, &alive)].concat();
    let answers = ok(play.store().reap(&under(TERM), &both).await);
    for (at, answer) in answers.iter().enumerate() {
        let expected = if at < 20 && at != 7 { Reaped::Taken(State::Ready) } else { Reaped::Refuted };
        assert_eq!(*answer, expected, "{at}");
    }
    let spent: Vec<_> = mine
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != 7)
        .map(|(_, claim)| (claim.job, claim.token))
        .collect();
    assert_eq!(play.beat(&dead, 1).await.spent, spent);
}

/// Nobody is left who would have to be given time.
pub async fn a_proven_death_hands_over_at_once<S: Stage>(stage: &S) {
    let play = Play::new(stage, "proven");
    play.rules(|queue| queue.handover_delay_ms = 3_600_000).await;
    stage.set_term(TERM).await;
    let id = play.make(new_job(&play.queue)).await;
    let worker = play.worker("w").await;
    let claim = play.claim(&worker, 1).await.remove(0);
    let taken = ok(play.store().reap(&under(TERM), &[reap(&claim, &worker, 0, Some("process gone"))]).await);
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
    let taken = ok(play.store().reap(&under(TERM), &[reap(&claim, &worker, 0, None)]).await);
    assert_eq!(taken, [Reaped::Taken(State::Held)]);
    assert_eq!(play.state(id).await, State::Held);
}

/// Whoever registered and did not say goodbye, whether it holds anything or not; and what that is, summed up.
pub async fn a_sweep_sees_beats_and_sums<S: Stage>(stage: &S) {
    let play = Play::new(stage, "swept");
    play.rules(|_| {}).await;
    play.jobs(3).await;
    let (busy, idle, gone) =
        (play.worker("busy").await, play.worker("idle").await, play.worker("gone").await);
    let claims = play.claim(&busy, 3).await;
    play.beat(&busy, 9).await;
    ok(play.store().goodbye(&gone).await);
    let first = ok(play.store().beats().await);
    let of = |who: &Incarnation| first.workers.iter().find(|(one, _)| one == who).map(|(_, beat)| *beat);
    assert_eq!((of(&busy), of(&idle), of(&gone)), (Some(9), Some(0), None));
    let second = ok(play.store().beats().await);
    assert!(second.now_us > first.now_us && second.run == first.run);
    assert_eq!(ok(play.store().timeline().await), ok(play.store().timeline().await));

    let unknown = Incarnation::from_bits(1);
    let held = ok(play.store().holders(&[busy.clone(), idle.clone(), unknown.clone()]).await);
    let of = |who: &Incarnation| held.iter().find(|held| held.worker.incarnation == *who);
    assert_eq!(of(&busy).map(|held| (held.jobs, held.least)), Some((3, Some(claims[0].terms))));
    assert_eq!(of(&idle).map(|held| (held.jobs, held.least)), Some((0, None)));
    assert!(of(&unknown).is_none());

    let mut all = ok(play.store().claims_of(&busy, 10).await);
    all.sort_by_key(|held| held.job);
    let expected = claims.iter().map(|claim| HeldClaim {
        job: claim.job,
        token: claim.token,
        terms: claim.terms,
        queue: play.queue.clone(),
        revision: 2,
    });
    assert_eq!(all, expected.collect::<Vec<_>>());
    assert_eq!(ok(play.store().claims_of(&busy, 2).await).len(), 2);
}

/// With the deadline that its queue had when it was claimed, whatever its worker's beats say, and as the queue says now.
pub async fn a_stuck_job_is_taken_only_while_it_makes_no_step<S: Stage>(stage: &S) {
    stage.set_term(TERM).await;
    let cases = [
        (OnStuck::Alert, None),
        (OnStuck::Hold, Some(State::Held)),
        (OnStuck::Requeue, Some(State::Handover)),
    ];
    for (on_stuck, expected) in cases {
        let play = Play::new(stage, "stuck");
        let rules = |queue: &mut crate::Queue| {
            (queue.on_stuck, queue.progress_deadline_ms) = (on_stuck, Some(7_000));
            (queue.on_silence, queue.handover_delay_ms) = (OnSilence::Cancel, 60_000);
        };
        play.rules(rules).await;
        let id = play.make(new_job(&play.queue)).await;
        let worker = play.worker("w").await;
        let claim = play.claim(&worker, 1).await.remove(0);
        let paced = ok(play.store().paced().await).into_iter().find(|paced| paced.job == id);
        let paced = paced.expect("it has a deadline");
        assert_eq!((paced.token, &paced.incarnation, paced.step), (claim.token, &worker, Step::default()));
        assert_eq!((paced.deadline.as_millis(), paced.on_stuck, paced.revision), (7_000, on_stuck, 2));
        let take = |step| {
            let (idle, under) = (Idle { idle_ms: 7_000, deadline_ms: 7_000, step }, under(TERM));
            let reaps = [reap_of_stuck(&paced, idle, &by(), &under)];
            let store = play.store();
            async move { ok(store.reap(&under, &reaps).await)[0] }
        };
        play.beat(&worker, 1).await;
        let moved = Beat {
            incarnation: worker.clone(),
            sequence: 2,
            progress: vec![(id, claim.token, 5)],
            trouble: vec![],
        };
        ok(play.store().beat(&moved).await);
        assert_eq!(take(Step::default()).await, Reaped::Refuted, "it has made progress");
        ok(play.store().checkpoint(id, claim.token, &checkpoint(&claim, 1)).await);
        assert_eq!(
            take(Step { progress: Some(5), checkpoint: 0 }).await,
            Reaped::Refuted,
            "it has a checkpoint"
        );
        let taken = take(Step { progress: Some(5), checkpoint: 1 }).await;
        assert_eq!(taken, expected.map_or(Reaped::Refuted, Reaped::Taken), "{on_stuck:?}");
        let Some(state) = expected else { continue };
        let found = play.job(id).await;
        assert_eq!(found.state, state);
        assert!(
            found.reason.is_some_and(|reason| reason.contains("without progress for 7s")),
            "{on_stuck:?}"
        );
        assert_eq!(play.beat(&worker, 3).await.spent, [(id, claim.token)], "its worker lets go");
    }
}

/// In that history of the store only; and a suspect worker learns it with its next beat.
pub async fn silences_are_kept_for_the_next_term<S: Stage>(stage: &S) {
    let play = Play::new(stage, "silences");
    let (one, other) = (play.worker("one").await, play.worker("other").await);
    let silent = |who: &Incarnation, silent_ms, suspect| Silent {
        incarnation: who.clone(),
        beat: 0,
        silent_ms,
        suspect,
    };
    let rows = [silent(&one, 7_000, true), silent(&other, 3_000, false)];
    ok(play.store().remember("here", &rows, &[]).await);
    let longer = silent(&other, 4_000, false);
    ok(play.store().remember("here", std::slice::from_ref(&longer), std::slice::from_ref(&one)).await);
    let mine = |kept: Vec<Silent>| -> Vec<Silent> {
        kept.into_iter().filter(|row| [&one, &other].contains(&&row.incarnation)).collect()
    };
    assert_eq!(mine(ok(play.store().recall("here").await)), [longer]);
    assert!(mine(ok(play.store().recall("elsewhere").await)).is_empty());
    assert!(play.beat(&one, 1).await.suspect, "it was told");
    assert!(!play.beat(&one, 2).await.suspect);
    assert!(!play.beat(&other, 1).await.suspect);
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
    ok(play.store().reap(&under(TERM), std::slice::from_ref(&taken)).await);
    play.finish(&claim, Order::Complete).await;
    let events = ok(play.store().events(id).await);
    assert!(events.is_sorted_by(|one, two| one.number < two.number && one.at <= two.at), "{events:#?}");
    let kinds: Vec<_> = events.iter().map(|event| event.kind.clone()).collect();
    let expected = [
        EventKind::Enqueued,
        EventKind::Claimed { attempt: 1, worker: "w".to_owned(), reap_after_ms: 10_000 },
        EventKind::Checkpoint { sequence: 1 },
        EventKind::Reaped { evidence: taken.evidence, reason: taken.reason },
        EventKind::Refused { what: "complete".to_owned() },
    ];
    assert_eq!(kinds, expected);
    assert!(events[1..].iter().all(|event| event.token == Some(claim.token)));
    assert_eq!(events.iter().filter(|event| event.by == Some(by())).count(), 3);
}
