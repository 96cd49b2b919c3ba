//! How many bytes all connections hold together, and whose turn it is to hold many.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Most bytes that all connections hold for frames that are not whole yet, or not taken yet.
pub(crate) const TOTAL_CAP: usize = 64 * 1024 * 1024;
/// A reply of which more than this has to be held is a large one, and only one of those is under way at a time. Replies
/// from which nothing is left out are passed on in parts, so that they are never held and wait for nobody.
const LARGE: usize = 1024 * 1024;

/// What all connections hold.
#[derive(Debug)]
pub(crate) struct Memory {
    total: AtomicUsize,
    one_large: Arc<Semaphore>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { total: AtomicUsize::new(0), one_large: Arc::new(Semaphore::new(1)) }
    }
}

/// One connection's share. Given back when dropped.
pub(crate) struct Meter {
    memory: Arc<Memory>,
    mine: usize,
    turn: Turn,
}

/// Whether a connection holds a large reply.
enum Turn {
    None,
    Awaited(Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>),
    /// Given back when dropped.
    Taken {
        _permit: OwnedSemaphorePermit,
    },
}

impl Meter {
    pub(crate) const fn new(memory: Arc<Memory>) -> Self {
        Self { memory, mine: 0, turn: Turn::None }
    }

    /// Notes what this connection holds now. `false` if that is too much for all of them together.
    #[must_use]
    pub(crate) fn set(&mut self, bytes: usize) -> bool {
        let before = std::mem::replace(&mut self.mine, bytes);
        if bytes <= before {
            self.memory.total.fetch_sub(before - bytes, Ordering::Relaxed);
            return true;
        }
        self.memory.total.fetch_add(bytes - before, Ordering::Relaxed) + (bytes - before) <= TOTAL_CAP
    }

    /// Notes how much of a reply this connection holds now.
    pub(crate) fn hold_reply(&mut self, bytes: usize) {
        if bytes <= LARGE {
            self.turn = Turn::None;
        } else if matches!(self.turn, Turn::None) {
            self.turn = Turn::Awaited(Box::pin(Arc::clone(&self.memory.one_large).acquire_owned()));
        }
    }

    /// Whether it has to wait for its turn before it reads on.
    pub(crate) const fn waits(&self) -> bool {
        matches!(self.turn, Turn::Awaited(_))
    }

    /// Whether it has its turn, which others may wait for.
    pub(crate) const fn has_turn(&self) -> bool {
        matches!(self.turn, Turn::Taken { .. })
    }

    /// Waits for its turn; for ever where none is awaited.
    pub(crate) async fn turn(&mut self) {
        match &mut self.turn {
            // Nobody closes the semaphore.
            Turn::Awaited(turn) => {
                self.turn = turn.await.map_or(Turn::None, |_permit| Turn::Taken { _permit })
            }
            Turn::None | Turn::Taken { .. } => pending().await,
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.memory.total.fetch_sub(self.mine, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn one_large_reply_is_held_at_a_time_in_the_order_of_asking_and_small_ones_wait_for_nobody() {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let memory = Arc::new(Memory::default());
            let [mut first, mut second, mut third, mut small] =
                std::array::from_fn(|_| Meter::new(Arc::clone(&memory)));
            for meter in [&mut first, &mut second, &mut third] {
                meter.hold_reply(LARGE + 1);
                assert!(meter.waits());
                drop(timeout(std::time::Duration::ZERO, meter.turn()).await);
            }
            small.hold_reply(LARGE);
            assert!(first.has_turn() && second.waits() && third.waits() && !small.waits());
            first.hold_reply(0);
            second.turn().await;
            assert!(second.has_turn() && third.waits());
            drop(second);
            third.turn().await;
            assert!(third.has_turn());
        });
    }
}
