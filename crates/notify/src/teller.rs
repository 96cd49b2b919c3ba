//! Telling without ever waiting: for a guard.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use palisade_core::notice::{Kind, Notice, Receivers};

use crate::start::{Delivery, Told, tell};

/// Notices that may wait for the disk; further ones are left out, and the journal has their records.
const QUEUE: usize = 64;
/// How often its end is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// A thread that keeps notices, so that a slow disk holds up nobody who tells.
#[derive(Debug)]
pub struct Teller {
    queue: Option<SyncSender<Box<(Receivers, Notice)>>>,
    thread: Option<JoinHandle<()>>,
}

impl Teller {
    /// Starts it for the state folder at `state`. `failed` hears, on that thread, what was not kept or is not delivered.
    #[must_use]
    pub fn start(state: PathBuf, delivery: Delivery, failed: impl Fn(&Told) + Send + 'static) -> Self {
        let (queue, notices) = sync_channel(QUEUE);
        let thread = std::thread::spawn(move || keep(&state, delivery, &notices, &failed));
        Self { queue: Some(queue), thread: Some(thread) }
    }

    /// Tells, and returns at once: `false` if so many wait that this one is left out.
    pub fn tell(&self, receivers: &Receivers, kind: Kind, notice: impl FnOnce() -> Notice) -> bool {
        if !receivers.want(kind) {
            return true;
        }
        let told = Box::new((receivers.clone(), notice()));
        self.queue.as_ref().is_some_and(|queue| queue.try_send(told).is_ok())
    }

    /// Ends when everything that was told is kept, or after `within`.
    pub fn end(mut self, within: Duration) {
        drop(self.queue.take());
        let Some(thread) = self.thread.take() else { return };
        let mut waited = Duration::ZERO;
        while !thread.is_finished() && waited < within {
            std::thread::sleep(LOOK);
            waited += LOOK;
        }
    }
}

fn keep(
    state: &Path,
    delivery: Delivery,
    notices: &Receiver<Box<(Receivers, Notice)>>,
    failed: &impl Fn(&Told),
) {
    while let Ok(told) = notices.recv() {
        let (receivers, notice) = *told;
        match tell(state, &receivers, notice, delivery) {
            Told::Kept | Told::Nobody => {}
            told @ (Told::Lost(_) | Told::Undelivered(_)) => failed(&told),
        }
    }
}
