//! One claim in the hand of its worker: what the beats, the handler and the checkpoints of one attempt share.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use palisade_host::clock;
use palisade_jobs::claim::Terms;
use palisade_jobs::{JobId, Token};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::fence::{self, Standing};

/// A beat is looked for so often before a handler starts.
const FRESH: Duration = Duration::from_millis(5);

/// Why an attempt has to stop. A later one in this list prevails over an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// Somebody asked for the end of the job.
    Cancel,
    /// The worker drains: what is handed over now is stored, and the job goes back.
    Drain,
    /// No beat was acknowledged in time, so somebody else may soon be given the job.
    Fenced,
    /// The claim is spent: somebody else may have the job already.
    Spent,
}

impl Stop {
    const ALL: [Self; 4] = [Self::Cancel, Self::Drain, Self::Fenced, Self::Spent];

    /// Whether a write with this claim is still worth trying.
    #[must_use]
    pub const fn may_write(self) -> bool {
        matches!(self, Self::Cancel | Self::Drain)
    }

    /// Its words, as handlers and logs have them.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Drain => "drain",
            Self::Fenced => "fenced",
            Self::Spent => "claim spent",
        }
    }
}

/// When the last acknowledged beat of the worker began, for all of its claims.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged(AtomicU64);

impl Acknowledged {
    pub(crate) fn at(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, began_ms: u64) {
        self.0.fetch_max(began_ms, Ordering::AcqRel);
    }
}

/// The gravest reason to stop that was given, and who waits for one. A handler that is done at once waits for none, and a
/// channel costs more than all the rest of a claim.
#[derive(Debug, Default)]
struct Reason {
    /// Its place in [`Stop::ALL`], from 1; 0 while there is none.
    gravest: AtomicU8,
    watched: OnceLock<watch::Sender<Option<Stop>>>,
}

impl Reason {
    fn get(&self) -> Option<Stop> {
        let place = usize::from(self.gravest.load(Ordering::Acquire));
        Stop::ALL.get(place.checked_sub(1)?).copied()
    }

    fn give(&self, why: Stop) {
        let place = Stop::ALL.iter().zip(1..).find_map(|(stop, place)| (*stop == why).then_some(place));
        self.gravest.fetch_max(place.unwrap_or_default(), Ordering::AcqRel);
        if let Some(watched) = self.watched.get() {
            self.show(watched);
        }
    }

    fn watch(&self) -> watch::Receiver<Option<Stop>> {
        let watched = self.watched.get_or_init(|| watch::Sender::new(None));
        // Changes of one value come one after the other, and each sees what was done before the last: this one sees a reason
        // that was given before it, and a reason that is given after it sees the channel. To read the value would not do.
        self.gravest.fetch_max(0, Ordering::AcqRel);
        self.show(watched);
        watched.subscribe()
    }

    fn show(&self, watched: &watch::Sender<Option<Stop>>) {
        watched.send_if_modified(|shown| {
            let now = self.get();
            std::mem::replace(shown, now) != now
        });
    }
}

/// What a beat has to say of one claim since the last one.
#[derive(Debug, Default)]
struct News {
    trouble: Option<String>,
    /// Beats that were missed while this claim was held: said until its end.
    missed: u32,
    told: Option<String>,
}

/// One claim.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) job: JobId,
    pub(crate) token: Token,
    pub(crate) attempt: u16,
    pub(crate) terms: Terms,
    acknowledged: Arc<Acknowledged>,
    claimed_ms: u64,
    /// Whether its handler may have side effects.
    started: AtomicBool,
    progress: AtomicI64,
    moved: AtomicBool,
    news: Mutex<News>,
    stop: Reason,
    /// Whether its handler is over and its end is being written: the store may have that before anybody here knows.
    ended: AtomicBool,
}

impl Hold {
    pub(crate) fn new(
        (job, token): (JobId, Token),
        attempt: u16,
        terms: Terms,
        acknowledged: Arc<Acknowledged>,
        claimed_ms: u64,
    ) -> Self {
        Self {
            job,
            token,
            attempt,
            terms,
            acknowledged,
            claimed_ms,
            started: AtomicBool::new(false),
            progress: AtomicI64::new(0),
            moved: AtomicBool::new(false),
            news: Mutex::default(),
            stop: Reason::default(),
            ended: AtomicBool::new(false),
        }
    }

    /// Tells everybody who waits; never takes back a graver reason.
    pub(crate) fn stop(&self, why: Stop) {
        self.stop.give(why);
    }

    /// Why it has to stop, judged now: a fence is noticed here even if no task ran since it passed.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.fenced_in();
        self.stop.get()
    }

    /// Waits for a beat that is fresh enough for this claim, then lets the handler start; the reason, where it has to stop
    /// before that. A worker that holds nothing beats seldom, so that its last beat may be older than a short fence; the
    /// claim has made the next one due.
    pub(crate) async fn start(&self) -> Option<Stop> {
        while !self.is_fresh(clock::boot_ms()) {
            if let Some(stop) = self.stopped() {
                return Some(stop);
            }
            tokio::time::sleep(FRESH).await;
        }
        self.started.store(true, Ordering::Release);
        self.stopped()
    }

    /// As [`Self::start`] where nothing has to be waited for: whether the handler may begin at once.
    pub(crate) fn starts_now(&self) -> bool {
        if !self.is_fresh(clock::boot_ms()) {
            return false;
        }
        self.started.store(true, Ordering::Release);
        // What is fresh is not fenced, and beats only make it fresher.
        self.stop.get().is_none()
    }

    /// Its handler is over; whether that is new.
    pub(crate) fn has_ended(&self) -> bool {
        !self.ended.swap(true, Ordering::AcqRel)
    }

    /// Whether its end is being written.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn is_fresh(&self, now_ms: u64) -> bool {
        let standing = fence::standing(now_ms, self.acknowledged.at(), &self.terms);
        matches!(standing, Standing::Sure { left_ms } if left_ms >= self.terms.self_fence_ms / 2)
    }

    /// Milliseconds until this claim is fenced; fences it if none are left. As long as it has not started there is nothing
    /// to fence, and what ends is the wait for a beat.
    pub(crate) fn fenced_in(&self) -> Option<u64> {
        let acknowledged_ms = self.acknowledged.at();
        let since_ms = match self.started.load(Ordering::Acquire) {
            true => acknowledged_ms,
            false => acknowledged_ms.max(self.claimed_ms),
        };
        match fence::standing(clock::boot_ms(), since_ms, &self.terms) {
            Standing::Sure { left_ms } => Some(left_ms),
            Standing::Fenced { .. } => {
                self.stop(Stop::Fenced);
                None
            }
        }
    }

    /// When the last acknowledged beat began.
    pub(crate) fn acknowledged_ms(&self) -> u64 {
        self.acknowledged.at()
    }

    /// Sees every later reason to stop.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Stop>> {
        self.stop.watch()
    }

    pub(crate) fn progress(&self, value: i64) {
        self.progress.store(value, Ordering::Release);
        self.moved.store(true, Ordering::Release);
    }

    /// What moved since the last beat.
    pub(crate) fn take_progress(&self) -> Option<i64> {
        self.moved.swap(false, Ordering::AcqRel).then(|| self.progress.load(Ordering::Acquire))
    }

    /// The beat that carried the progress was lost: the next one carries it again.
    pub(crate) fn give_back_progress(&self) {
        self.moved.store(true, Ordering::Release);
    }

    /// Says what is wrong while the attempt goes on; `None` once it is over.
    pub(crate) fn trouble(&self, trouble: Option<String>) {
        self.news().trouble = trouble;
    }

    /// So many beats were missed before one was acknowledged.
    pub(crate) fn beats_again(&self, missed: u32) {
        let mut news = self.news();
        news.missed = news.missed.saturating_add(missed);
    }

    /// What the next beat says of it, if that is not what the last acknowledged one said.
    pub(crate) fn new_trouble(&self) -> Option<Option<String>> {
        let news = self.news();
        let missed =
            (news.missed > 0).then(|| format!("{} beats were missed during this attempt", news.missed));
        let now = match (&news.trouble, missed) {
            (Some(trouble), Some(missed)) => Some(format!("{trouble}; {missed}")),
            (trouble, missed) => trouble.clone().or(missed),
        };
        (now != news.told).then_some(now)
    }

    /// A beat with this was acknowledged.
    pub(crate) fn told_trouble(&self, told: Option<String>) {
        self.news().told = told;
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(self_fence_ms: u64) -> Hold {
        let acknowledged = Arc::new(Acknowledged::default());
        acknowledged.set(clock::boot_ms());
        let terms = Terms { beat_every_ms: 1, reap_after_ms: self_fence_ms * 2, self_fence_ms };
        Hold::new((JobId(1), Token(1)), 1, terms, acknowledged, clock::boot_ms())
    }

    #[test]
    fn a_graver_reason_to_stop_is_never_taken_back() {
        let hold = hold(60_000);
        assert_eq!(hold.stopped(), None);
        for (why, then) in
            [(Stop::Cancel, Stop::Cancel), (Stop::Spent, Stop::Spent), (Stop::Drain, Stop::Spent)]
        {
            hold.stop(why);
            assert_eq!(hold.stopped(), Some(then));
        }
    }

    #[tokio::test]
    async fn a_reason_reaches_who_waited_for_it_and_who_came_later() {
        let hold = Arc::new(hold(60_000));
        let waits = |mut watched: watch::Receiver<Option<Stop>>, why: Stop| async move {
            watched.wait_for(|stop| *stop == Some(why)).await.is_ok()
        };
        let before = waits(hold.watch(), Stop::Drain);
        hold.stop(Stop::Drain);
        assert!(before.await && waits(hold.watch(), Stop::Drain).await);
        hold.stop(Stop::Cancel);
        assert_eq!(*hold.watch().borrow(), Some(Stop::Drain));
        // Whoever is first: the reason, or who waits for it.
        for _ in 0..1_000 {
            let hold = Arc::new(self::hold(60_000));
            let told = Arc::clone(&hold);
            let tells = std::thread::spawn(move || told.stop(Stop::Spent));
            let watched = hold.watch();
            tells.join().unwrap();
            assert_eq!(*watched.borrow(), Some(Stop::Spent));
        }
    }

    #[test]
    fn a_fence_is_noticed_by_whoever_asks_first() {
        let hold = hold(0);
        assert_eq!(hold.stopped(), Some(Stop::Fenced));
        assert_eq!(*hold.watch().borrow(), Some(Stop::Fenced));
    }

    #[tokio::test]
    async fn a_worker_that_beat_long_ago_beats_once_more_before_its_handler_starts() {
        let hold = hold(5_000);
        let fresh = hold.acknowledged_ms();
        let old = Hold { acknowledged: Arc::new(Acknowledged(AtomicU64::new(fresh - 5_000))), ..hold };
        assert!(old.fenced_in().is_some(), "nothing has begun that could do harm");
        let beat = async {
            tokio::time::sleep(FRESH * 3).await;
            assert!(!old.started.load(Ordering::Acquire), "no beat was acknowledged for this claim");
            old.acknowledged.set(clock::boot_ms());
        };
        let (stop, ()) = tokio::join!(old.start(), beat);
        assert_eq!((stop, old.started.load(Ordering::Acquire)), (None, true));
        old.acknowledged.0.store(fresh - 5_000, Ordering::Release);
        assert_eq!(old.stopped(), Some(Stop::Fenced), "from its start on the fence counts from beats");
    }

    #[tokio::test]
    async fn a_claim_that_waits_for_a_beat_in_vain_never_starts() {
        let hold = Hold { acknowledged: Arc::default(), ..hold(20) };
        assert_eq!(hold.start().await, Some(Stop::Fenced));
        assert!(!hold.started.load(Ordering::Acquire));
    }

    #[test]
    fn trouble_is_told_until_a_beat_with_it_was_acknowledged() {
        let hold = hold(60_000);
        assert_eq!(hold.new_trouble(), None);
        hold.trouble(Some("late".to_owned()));
        assert_eq!(hold.new_trouble(), Some(Some("late".to_owned())));
        hold.told_trouble(Some("late".to_owned()));
        assert_eq!(hold.new_trouble(), None);
        hold.trouble(None);
        assert_eq!(hold.new_trouble(), Some(None));
    }
}
