//! Handlers as async functions, on a real SQLite store.

use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use palisade_host::clock;
use palisade_jobs::claim::Terms;
use palisade_jobs::store::Deed;
use palisade_jobs::{JobStore as _, State};
use palisade_worker::report::How;
use palisade_worker::{Context, Failure, Report, Reports, Settings, Stop, Stowed};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::yard::{TERMS, Yard, run};

#[test]
fn a_handler_does_its_jobs_and_says_how_each_ended() {
    run(async {
        let yard = Yard::new().await;
        let good = yard.enqueue(json!({"do": "it"})).await;
        let bad = yard.enqueue(json!("fatal")).await;
        let panics = yard.enqueue(json!("panic")).await;
        let look = yard.enqueue(json!("hold")).await;
        let handler = |context: Context<Value>| async move {
            context.progress(7)?;
            match context.payload.as_str() {
                Some("fatal") => Err(Failure::Fatal("never".to_owned())),
                Some("hold") => Err(Failure::Hold("look at me".to_owned())),
                Some("panic") => panic!("by design"),
                _ => Ok(()),
            }
        };
        let drive = async {
            for (job, state) in
                [(good, State::Succeeded), (bad, State::Dead), (panics, State::Retrying), (look, State::Held)]
            {
                yard.until_state(job, state).await;
            }
            yard.drain();
        };
        let (told, ()) = tokio::join!(yard.work(yard.place(), handler), drive);
        assert!(told.iter().any(|report| matches!(report, Report::Ended { how: How::Completed, .. })));
        let panicked = yard.store.job(panics).await.unwrap().unwrap();
        assert!(panicked.reason.unwrap().contains("by design"));
        assert_eq!(yard.told(good).await, ["enqueued", "claimed", "completed"]);
        assert!(yard.store.beats().await.unwrap().workers.is_empty(), "the worker has said goodbye");
    });
}

type Working = std::pin::Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// Works until it is told to stop, and hands over what it was told.
fn patient(told: mpsc::UnboundedSender<Stop>) -> impl Fn(Context<Value>) -> Working {
    move |context| {
        let told = told.clone();
        Box::pin(async move {
            context.progress(1)?;
            let why = context.stopped().await;
            told.send(why).unwrap();
            match context.checkpoint(format!("after {}", why.as_str()).into_bytes()).await {
                Ok(Stowed::Stored { .. }) | Err(_) => {}
                Ok(Stowed::Later) => panic!("the folder takes it"),
            }
            Err(Failure::Stopped)
        })
    }
}

#[test]
fn a_cancel_reaches_the_handler_and_the_job_can_be_resumed_from_what_it_handed_over() {
    run(async {
        let yard = Yard::new().await;
        let job = yard.enqueue(json!(null)).await;
        let (told, mut stops) = mpsc::unbounded_channel();
        let drive = async {
            yard.until(job, "it runs", |job| job.progress == Some(1)).await;
            yard.do_to(Deed::Cancel { reason: Some("wrong day".to_owned()) }, job).await;
            yard.until_state(job, State::Cancelled).await;
            assert_eq!(stops.recv().await, Some(Stop::Cancel));
            yard.do_to(Deed::Resume, job).await;
            yard.until(job, "it runs again", |job| job.state == State::Running && job.progress == Some(1))
                .await;
            yard.drain();
            assert_eq!(stops.recv().await, Some(Stop::Drain));
        };
        tokio::join!(yard.work(yard.place(), patient(told)), drive);
        let found = yard.store.job(job).await.unwrap().unwrap();
        assert_eq!((found.state, found.checkpoint.unwrap().sequence), (State::Ready, 2));
    });
}

#[test]
fn a_cancel_reaches_the_handler_with_the_next_beat() {
    run(async {
        let yard = Yard::new().await;
        // So far apart that no second one falls between the handler's end and the count.
        yard.beats(Terms { beat_every_ms: 2_000, reap_after_ms: 16_000, self_fence_ms: 6_000 }).await;
        let job = yard.enqueue(json!(null)).await;
        let (told, mut stops) = mpsc::unbounded_channel();
        let drive = async {
            yard.until(job, "it runs", |job| job.progress == Some(1)).await;
            let beats = async || yard.store.beats().await.unwrap().workers.remove(0).1;
            yard.do_to(Deed::Cancel { reason: None }, job).await;
            let before = beats().await;
            assert_eq!(stops.recv().await, Some(Stop::Cancel));
            let more = beats().await - before;
            assert!(more <= 1, "{more} beats after the cancel");
            yard.until_state(job, State::Cancelled).await;
            yard.drain();
        };
        tokio::join!(yard.work(yard.place(), patient(told)), drive);
    });
}

#[test]
fn what_is_handed_over_in_time_is_stored_at_a_drain_and_what_comes_later_is_not_waited_for() {
    run(async {
        let yard = Yard::new().await;
        let job = yard.enqueue(json!(null)).await;
        let (late, released) = (Arc::new(AtomicU64::new(0)), Arc::new(tokio::sync::Notify::new()));
        let (its_late, its_released) = (Arc::clone(&late), Arc::clone(&released));
        let handler = move |context: Context<Value>| {
            let (late, released) = (Arc::clone(&its_late), Arc::clone(&its_released));
            async move {
                context.progress(1)?;
                assert_eq!(context.stopped().await, Stop::Drain);
                assert_eq!(context.attempt().grace(Stop::Drain), Duration::from_millis(1_500));
                tokio::time::sleep(Duration::from_millis(1_200)).await;
                context.checkpoint(b"in time".to_vec()).await.map_err(Failure::again)?;
                // Nobody releases it before the worker is over.
                released.notified().await;
                late.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        };
        let drive = async {
            yard.until(job, "it runs", |job| job.progress == Some(1)).await;
            yard.drain();
        };
        let (told, ()) = tokio::join!(yard.work(yard.place(), handler), drive);
        released.notify_waiters();
        let back = yard.store.job(job).await.unwrap().unwrap();
        assert_eq!(
            (back.state, back.attempts, late.load(Ordering::SeqCst)),
            (State::Ready, 0, 0),
            "{told:?}"
        );
        assert_eq!(back.checkpoint.unwrap().bytes, 7);
    });
}

#[test]
fn never_more_handlers_run_than_places_while_claims_for_the_next_ones_are_made() {
    const PLACES: u16 = 4;
    run(async {
        let yard = Yard::new().await;
        let mut last = yard.enqueue(json!(0)).await;
        for number in 1..160 {
            last = yard.enqueue(json!(number)).await;
        }
        // Running now, and the most there were.
        let (running, most) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (now, peak) = (Arc::clone(&running), Arc::clone(&most));
        let handler = move |context: Context<Value>| {
            let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
            async move {
                peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Some are done at their first step, some take a while.
                match context.payload.as_u64().unwrap_or(0) % 4 {
                    0 => {}
                    long => tokio::time::sleep(Duration::from_millis(long * 2)).await,
                }
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        };
        let drive = async {
            yard.until_state(last, State::Succeeded).await;
            yard.drain();
        };
        let (reports, _told) = Reports::new();
        let settings = Settings { concurrency: PLACES, ..yard.settings() };
        tokio::join!(yard.work_as(settings, yard.place(), reports, handler), drive);
        assert_eq!((running.load(Ordering::SeqCst), most.load(Ordering::SeqCst)), (0, u64::from(PLACES)));
    });
}

/// A first attempt with a checkpoint, which a drain ends.
async fn run_and_drain(yard: &Yard, job: palisade_jobs::JobId) {
    let (told, _stops) = mpsc::unbounded_channel();
    let drive = async {
        yard.until(job, "it runs", |job| job.progress == Some(1)).await;
        yard.drain();
    };
    tokio::join!(yard.work(yard.place(), patient(told)), drive);
}

#[test]
fn a_drained_job_goes_back_with_its_checkpoint_and_no_attempt_charged() {
    run(async {
        let yard = Yard::new().await;
        let job = yard.enqueue(json!(null)).await;
        run_and_drain(&yard, job).await;
        let back = yard.store.job(job).await.unwrap().unwrap();
        assert_eq!((back.state, back.attempts), (State::Ready, 0));

        yard.work_again();
        let (saw, mut seen) = mpsc::unbounded_channel();
        let resumed = move |context: Context<Value>| {
            saw.send((context.resume.clone(), context.attempt().number())).unwrap();
            async { Ok(()) }
        };
        let drive = async {
            yard.until_state(job, State::Succeeded).await;
            yard.drain();
        };
        tokio::join!(yard.work(yard.place(), resumed), drive);
        assert_eq!(seen.recv().await, Some((Some(b"after drain".to_vec()), 1)));
        // Nothing resumes from a job that is done.
        let left = fs::read_dir(yard.scratch.join(format!("checkpoints/unset/{job}")));
        let files =
            left.into_iter().flatten().flatten().flat_map(|token| fs::read_dir(token.path()).unwrap());
        assert_eq!(files.count(), 0);
    });
}

#[test]
fn a_spent_claim_drops_the_attempt_and_nothing_of_it_is_written() {
    run(async {
        let yard = Yard::new().await;
        let job = yard.enqueue(json!(null)).await;
        let begun = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&begun);
        let handler = move |context: Context<Value>| {
            let first = count.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                if first {
                    context.progress(1)?;
                    std::future::pending::<()>().await;
                }
                Ok(())
            }
        };
        let drive = async {
            yard.until(job, "it runs", |job| job.progress == Some(1)).await;
            yard.reap(job).await;
            yard.until_state(job, State::Succeeded).await;
            yard.drain();
        };
        let (told, ()) = tokio::join!(yard.work(yard.place(), handler), drive);
        assert!(told.iter().any(|report| matches!(report, Report::Lost { .. })), "{told:?}");
        assert_eq!(yard.told(job).await, ["enqueued", "claimed", "reaped", "claimed", "completed"]);
    });
}

#[test]
fn without_an_acknowledged_beat_side_effects_stop_before_anybody_else_may_start() {
    run(async {
        let yard = Yard::new().await;
        let job = yard.enqueue(json!(null)).await;
        let last_effect = Arc::new(AtomicU64::new(0));
        let (effect, (told, mut stops)) = (Arc::clone(&last_effect), mpsc::unbounded_channel());
        let handler = move |context: Context<Value>| {
            let (effect, told) = (Arc::clone(&effect), told.clone());
            async move {
                context.progress(1)?;
                loop {
                    if let Err(stopped) = context.check() {
                        told.send(stopped.0).unwrap();
                        return Err(Failure::Stopped);
                    }
                    effect.store(clock::boot_ms(), Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        };
        let drive = async {
            yard.until(job, "it runs", |job| job.progress == Some(1)).await;
            // Nobody gets the turn to write: beats get no answer, as with a store that hangs.
            let room = File::options().write(true).open(yard.scratch.join("jobs.db-room")).unwrap();
            room.lock().unwrap();
            let silent_from = clock::boot_ms();
            assert_eq!(stops.recv().await, Some(Stop::Fenced));
            let late = last_effect.load(Ordering::SeqCst).saturating_sub(silent_from);
            assert!(late < TERMS.reap_after_ms, "a side effect {late} ms after the last beat that was heard");
            room.unlock().unwrap();
            yard.drain();
        };
        let (told, ()) = tokio::join!(yard.work(yard.place(), handler), drive);
        assert!(told.iter().any(|report| matches!(report, Report::BeatMissed { .. })), "{told:?}");
        // Its handler has ended, so it can be handed back at once, and is not charged.
        let back = yard.store.job(job).await.unwrap().unwrap();
        assert_eq!((back.state, back.attempts), (State::Ready, 0), "{:?}", yard.told(job).await);
    });
}

/// Takes a claim away as a restored backup does: the job waits as before it, and its history knows nothing.
fn set_back(yard: &Yard, job: palisade_jobs::JobId) {
    let beside = rusqlite::Connection::open(yard.store.path()).unwrap();
    beside.busy_timeout(Duration::from_secs(5)).unwrap();
    let back = "UPDATE job SET state = 'ready', incarnation = NULL, token = NULL WHERE id = ?1";
    assert_eq!(beside.execute(back, [job.0]).unwrap(), 1);
}

#[test]
fn after_missed_beats_a_worker_and_its_store_agree_on_what_it_holds() {
    run(async {
        let yard = Yard::new().await;
        let known = yard.enqueue(json!("known")).await;
        let drops = Arc::new(AtomicU64::new(0));
        let dropped = Arc::clone(&drops);
        let handler = move |context: Context<Value>| {
            let dropped = Arc::clone(&dropped);
            async move {
                context.progress(1)?;
                let why = context.stopped().await;
                dropped.fetch_add(u64::from(why != Stop::Drain), Ordering::SeqCst);
                Err(Failure::Stopped)
            }
        };
        let drive = async {
            yard.until(known, "it runs", |job| job.progress == Some(1)).await;
            let first = yard.store.job(known).await.unwrap().unwrap().token;
            // A claim that its worker never heard of, and one that the store does not know any more.
            let lost = yard.enqueue(json!("lost")).await;
            let (incarnation, _) = yard.store.beats().await.unwrap().workers.remove(0);
            let queue = palisade_core::QueueName::new("mail").unwrap();
            let ask = palisade_jobs::claim::Ask { queue, most: 1, incarnation, reap_after: None };
            assert_eq!(yard.store.claim(&ask).await.unwrap()[0].job, lost);
            set_back(&yard, known);
            let room = File::options().write(true).open(yard.scratch.join("jobs.db-room")).unwrap();
            room.lock().unwrap();
            tokio::time::sleep(Duration::from_millis(TERMS.beat_every_ms * 2)).await;
            room.unlock().unwrap();
            yard.until_state(lost, State::Ready).await;
            let again = |job: &palisade_jobs::Job| job.state == State::Running && job.token > first;
            yard.until(known, "it is claimed anew", again).await;
            yard.drain();
        };
        let (told, ()) = tokio::join!(yard.work(yard.place(), handler), drive);
        assert!(told.iter().any(|report| matches!(report, Report::GaveBack { .. })), "{told:?}");
        assert_eq!(
            drops.load(Ordering::SeqCst),
            1,
            "the attempt that the store did not know went on: {told:?}"
        );
    });
}

#[test]
fn a_place_that_is_down_stops_no_job_and_is_seen_in_it() {
    run(async {
        let yard = Yard::new().await;
        let job = yard.enqueue(json!(null)).await;
        let place = yard.place();
        let folder = yard.scratch.join("checkpoints");
        // A file where the environment's folder has to be: nothing can be put.
        fs::write(folder.join("unset"), "").unwrap();
        let handler = |context: Context<Value>| async move {
            let stowed = context.checkpoint(b"first".to_vec()).await.map_err(Failure::again)?;
            assert_eq!(stowed, Stowed::Later);
            context.progress(2)?;
            let stowed = context.checkpoint(b"second".to_vec()).await.map_err(Failure::again)?;
            assert!(matches!(stowed, Stowed::Stored { .. }), "{stowed:?}");
            context.progress(3)?;
            context.stopped().await;
            Err(Failure::Stopped)
        };
        let drive = async {
            let lagging = yard.until(job, "the job shows it", |job| job.trouble.is_some()).await;
            assert!(lagging.trouble.unwrap().contains("checkpoint 1 is not stored"));
            yard.until(job, "the job goes on", |job| job.progress == Some(2)).await;
            fs::remove_file(folder.join("unset")).unwrap();
            let well = yard.until(job, "the newest is stored", |job| job.checkpoint.is_some()).await;
            assert_eq!(well.checkpoint.unwrap().bytes, 6);
            yard.until(job, "the job shows that it is over", |job| job.trouble.is_none()).await;
            yard.drain();
        };
        let (told, ()) = tokio::join!(yard.work(place, handler), drive);
        assert!(told.iter().any(|report| matches!(report, Report::Trouble { .. })), "{told:?}");
        assert!(told.iter().any(|report| matches!(report, Report::Recovered { .. })), "{told:?}");
    });
}

#[test]
fn a_job_of_which_no_checkpoint_is_good_is_held_and_never_starts_anew_in_silence() {
    run(async {
        let yard = Yard::new().await;
        let job = yard.enqueue(json!(null)).await;
        run_and_drain(&yard, job).await;
        let key = yard.store.job(job).await.unwrap().unwrap().checkpoint.unwrap().key;
        fs::write(yard.scratch.join("checkpoints").join(key), "after DRAIN").unwrap();

        yard.work_again();
        let handler = |_: Context<Value>| async { panic!("no handler may see it") };
        let drive = async {
            let held = yard.until_state(job, State::Held).await;
            assert!(held.reason.unwrap().contains("PAL-533"));
            yard.drain();
        };
        tokio::join!(yard.work(yard.place(), handler), drive);
    });
}
