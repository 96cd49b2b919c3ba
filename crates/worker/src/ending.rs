//! What becomes of a job when its handler ends, as a rule.

use palisade_jobs::Order;

use crate::hold::Stop;
use crate::report::How;

/// Why a handler did not do its job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It may go better at the next attempt, after the queue's backoff.
    #[error("{0}")]
    Again(String),
    /// Trying again cannot help.
    #[error("{0}")]
    Fatal(String),
    /// A person has to look.
    #[error("{0}")]
    Hold(String),
    /// It was told to stop, and did.
    #[error("stopped")]
    Stopped,
}

impl Failure {
    /// An error after which the job is tried again.
    pub fn again(error: impl std::fmt::Display) -> Self {
        Self::Again(error.to_string())
    }
}

impl From<crate::context::Stopped> for Failure {
    fn from(_: crate::context::Stopped) -> Self {
        Self::Stopped
    }
}

/// How a handler ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Returned {
    /// By itself.
    Result(Result<(), Failure>),
    /// It did not end in time and was dropped.
    Dropped,
}

/// What to write, if anything. A handler that ended cannot do harm any more, so even a fenced attempt is finished: the
/// store refuses it if the claim is spent.
pub(crate) fn order(returned: Returned, stop: Option<Stop>) -> Option<Order> {
    if stop == Some(Stop::Spent) {
        return None;
    }
    let told = stop.is_some();
    Some(match (returned, stop) {
        (Returned::Result(Ok(())), _) => Order::Complete,
        (Returned::Result(Err(Failure::Fatal(error))), _) => Order::Fail { error, fatal: true },
        (Returned::Result(Err(Failure::Hold(reason))), _) => Order::Hold { reason },
        (_, Some(Stop::Cancel)) => Order::Cancelled,
        // What fails after it was told to stop fails because of that.
        (_, Some(_)) => Order::Drain,
        (Returned::Result(Err(Failure::Again(error))), None) => Order::Fail { error, fatal: false },
        (Returned::Result(Err(Failure::Stopped)) | Returned::Dropped, None) => {
            debug_assert!(!told, "covered above");
            Order::Fail { error: "the handler stopped without being told to".to_owned(), fatal: false }
        }
    })
}

/// As what it is reported.
pub(crate) fn how(order: &Order) -> (How, Option<String>) {
    match order {
        Order::Complete => (How::Completed, None),
        Order::Fail { error, .. } => (How::Failed, Some(error.clone())),
        Order::Cancelled => (How::Cancelled, None),
        Order::Drain => (How::Drained, None),
        Order::Hold { reason } => (How::Held, Some(reason.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again() -> Returned {
        Returned::Result(Err(Failure::Again("no".to_owned())))
    }

    #[test]
    fn nothing_is_written_with_a_spent_claim() {
        for returned in [Returned::Result(Ok(())), again(), Returned::Dropped] {
            assert_eq!(order(returned, Some(Stop::Spent)), None);
        }
    }

    #[test]
    fn a_handler_that_finished_is_done_whatever_it_was_told() {
        for stop in [None, Some(Stop::Cancel), Some(Stop::Drain), Some(Stop::Fenced)] {
            assert_eq!(order(Returned::Result(Ok(())), stop), Some(Order::Complete), "{stop:?}");
        }
    }

    #[test]
    fn a_drained_or_fenced_job_goes_back_uncharged_however_its_handler_ended() {
        for stop in [Stop::Drain, Stop::Fenced] {
            for returned in [again(), Returned::Dropped, Returned::Result(Err(Failure::Stopped))] {
                assert_eq!(order(returned, Some(stop)), Some(Order::Drain));
            }
        }
    }

    #[test]
    fn what_a_handler_says_for_good_counts_also_after_it_was_told_to_stop() {
        for stop in [None, Some(Stop::Cancel), Some(Stop::Drain)] {
            let fatal = Returned::Result(Err(Failure::Fatal("broken".to_owned())));
            assert_eq!(order(fatal, stop), Some(Order::Fail { error: "broken".to_owned(), fatal: true }));
            let hold = Returned::Result(Err(Failure::Hold("look".to_owned())));
            assert_eq!(order(hold, stop), Some(Order::Hold { reason: "look".to_owned() }));
        }
    }

    #[test]
    fn a_cancelled_job_is_cancelled_and_a_failed_one_charged() {
        assert_eq!(order(Returned::Dropped, Some(Stop::Cancel)), Some(Order::Cancelled));
        assert_eq!(order(again(), None), Some(Order::Fail { error: "no".to_owned(), fatal: false }));
    }
}
