//! What a handler has in its hand.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use palisade_jobs::{JobId, Token};
use tokio::sync::{mpsc, oneshot};

use crate::hold::{Hold, Stop};
use crate::writer::{Handed, Stowed};

/// The attempt is over for its handler: side effects have to end now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this attempt has to stop: {}", .0.as_str())]
pub struct Stopped(pub Stop);

/// A checkpoint that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// The claim is spent or fenced: nothing of this attempt is stored any more.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// It can never be stored.
    #[error("{0}")]
    Unfit(String),
}

/// One attempt at one job, for its handler.
#[derive(Debug)]
pub struct Context<P> {
    /// What to do.
    pub payload: P,
    /// Where an earlier attempt got to: bytes of the last good checkpoint.
    pub resume: Option<Vec<u8>>,
    pub(crate) attempt: Attempt,
}

/// The same without payload, cheap to clone, for parts of a handler.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub(crate) hold: Arc<Hold>,
    pub(crate) hand: Arc<Hand>,
    pub(crate) grace: Duration,
}

/// Where a handler hands over its checkpoints. It is made with the first one: most attempts hand over none.
#[derive(Debug, Default)]
pub(crate) struct Hand {
    sender: OnceLock<mpsc::Sender<Handed>>,
    /// Until the writer takes it.
    receiver: Mutex<Option<mpsc::Receiver<Handed>>>,
}

/// So many checkpoints may wait for the writer; only the newest is stored.
const HANDED: usize = 4;

impl Hand {
    fn sender(&self) -> &mpsc::Sender<Handed> {
        self.sender.get_or_init(|| {
            let (sender, receiver) = mpsc::channel(HANDED);
            *self.receiver.lock().unwrap_or_else(PoisonError::into_inner) = Some(receiver);
            sender
        })
    }

    /// Whether anything was handed over.
    pub(crate) fn is_used(&self) -> bool {
        self.sender.get().is_some()
    }

    /// For the writer, once. It ends with the last sender.
    pub(crate) fn receiver(&self) -> Option<mpsc::Receiver<Handed>> {
        self.sender();
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<P> Context<P> {
    /// The part of it that can be cloned.
    #[must_use]
    pub fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// As [`Attempt::check`].
    ///
    /// # Errors
    /// As [`Attempt::check`].
    pub fn check(&self) -> Result<(), Stopped> {
        self.attempt.check()
    }

    /// As [`Attempt::progress`].
    ///
    /// # Errors
    /// As [`Attempt::progress`].
    pub fn progress(&self, value: i64) -> Result<(), Stopped> {
        self.attempt.progress(value)
    }

    /// As [`Attempt::checkpoint`].
    ///
    /// # Errors
    /// As [`Attempt::checkpoint`].
    pub async fn checkpoint(&self, bytes: Vec<u8>) -> Result<Stowed, NotTaken> {
        self.attempt.checkpoint(bytes).await
    }

    /// As [`Attempt::stopped`].
    pub async fn stopped(&self) -> Stop {
        self.attempt.stopped().await
    }
}

impl Attempt {
    /// The job.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.hold.job
    }

    /// The claim: hand it to whatever can check it.
    #[must_use]
    pub fn token(&self) -> Token {
        self.hold.token
    }

    /// Which attempt, from 1.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.hold.attempt
    }

    /// Whether side effects are still allowed, by the boot clock of this moment. Ask before each one.
    ///
    /// # Errors
    /// [`Stopped`] with the reason.
    pub fn check(&self) -> Result<(), Stopped> {
        self.hold.stopped().map_or(Ok(()), |why| Err(Stopped(why)))
    }

    /// Says how far the job is, in units of its own. The next beat carries it.
    ///
    /// # Errors
    /// [`Stopped`] once the claim is spent or fenced. Under a cancel or a drain it is still taken.
    pub fn progress(&self, value: i64) -> Result<(), Stopped> {
        self.may_write()?;
        self.hold.progress(value);
        Ok(())
    }

    /// Hands over a resume point. The newest one counts; a later attempt gets it.
    ///
    /// Waits until it is stored. Where the place or the store is down, it is kept, tried again and answered as
    /// [`Stowed::Later`] after a while, so that the job goes on.
    ///
    /// # Errors
    /// [`NotTaken::Stopped`] once the claim is spent or fenced, [`NotTaken::Unfit`] if it is too large.
    pub async fn checkpoint(&self, bytes: Vec<u8>) -> Result<Stowed, NotTaken> {
        self.may_write()?;
        let (done, answer) = oneshot::channel();
        let gone = |()| NotTaken::Stopped(Stopped(self.hold.stopped().unwrap_or(Stop::Spent)));
        self.hand.sender().send(Handed { bytes, done }).await.map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?
    }

    /// Waits until the attempt has to stop, and says why. A graver reason may follow.
    pub async fn stopped(&self) -> Stop {
        let mut watch = self.hold.watch();
        loop {
            if let Some(why) = *watch.borrow_and_update() {
                return why;
            }
            if watch.changed().await.is_err() {
                // Its worker is over.
                return Stop::Spent;
            }
        }
    }

    /// How long a handler may take to end, counted from the moment at which it was told.
    #[must_use]
    pub fn grace(&self, why: Stop) -> Duration {
        crate::attempt::attempt_grace(&self.hold, self.grace, why)
    }

    /// The moment of the boot clock, in milliseconds, at which this attempt is fenced unless another beat is
    /// acknowledged: for a process that has to stop even if this one cannot tell it.
    #[must_use]
    pub fn fence_at_ms(&self) -> u64 {
        self.hold.acknowledged_ms() + self.hold.terms.self_fence_ms
    }

    fn may_write(&self) -> Result<(), Stopped> {
        match self.hold.stopped() {
            Some(why) if !why.may_write() => Err(Stopped(why)),
            Some(_) | None => Ok(()),
        }
    }
}
