//! Whether a deed may be done to so many jobs.

use palisade_core::{Code, Exit, QueueName};

/// What somebody selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selected<'a> {
    /// Each job was named by its number.
    pub named: bool,
    /// Of this queue.
    pub queue: Option<&'a QueueName>,
    /// So many jobs.
    pub count: usize,
    /// At most so many were allowed.
    pub most: usize,
    /// The word that was typed.
    pub confirmed: Option<&'a str>,
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing is selected, which never means everything.
    #[error("no job is selected; an empty selection never means all")]
    Empty,
    /// More than the budget of one command.
    #[error("{count} jobs are selected, and at most {most} may change in one command")]
    Budget {
        /// So many or more.
        count: usize,
        /// The budget.
        most: usize,
    },
    /// A person has to type the name of the queue.
    #[error("{count} jobs of {queue} would change: a person has to confirm that")]
    Unconfirmed {
        /// So many.
        count: usize,
        /// The word to type.
        queue: String,
    },
    /// Jobs of all queues by state alone are too much.
    #[error("a selection by state needs a queue")]
    NoQueue,
}

impl Refusal {
    /// Its code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Empty | Self::NoQueue => Code::EmptySelection,
            Self::Budget { .. } => Code::JobBudget,
            Self::Unconfirmed { .. } => Code::ConfirmationNeeded,
        }
    }

    /// The exit code of a command that ends with it.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Unconfirmed { .. } => Exit::ConfirmationNeeded,
            Self::NoQueue => Exit::Usage,
            Self::Empty | Self::Budget { .. } => Exit::Refused,
        }
    }

    /// How to go on.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::Empty => {
                "look with `palisade job list`, and name jobs, or a queue and states that has some".to_owned()
            }
            Self::Budget { count, .. } => format!("look with --dry-run, then allow it with --most {count}"),
            Self::Unconfirmed { queue, .. } => format!("look with --dry-run, then add --confirm {queue}"),
            Self::NoQueue => "add --queue QUEUE".to_owned(),
        }
    }
}

impl Selected<'_> {
    /// Whether it may be done.
    ///
    /// # Errors
    /// The first rule that says no.
    pub fn judge(&self) -> Result<(), Refusal> {
        let Self { named, queue, count, most, confirmed } = *self;
        if !named && queue.is_none() {
            return Err(Refusal::NoQueue);
        }
        if count == 0 {
            return Err(Refusal::Empty);
        }
        if count > most {
            return Err(Refusal::Budget { count, most });
        }
        match queue.map(QueueName::as_str) {
            Some(queue) if !named && confirmed != Some(queue) => {
                Err(Refusal::Unconfirmed { count, queue: queue.to_owned() })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_jobs_need_a_queue_a_budget_and_its_name_typed() {
        let mail = QueueName::new("mail").unwrap();
        let all = Selected { named: false, queue: Some(&mail), count: 7, most: 1_000, confirmed: None };
        assert_eq!(all.judge(), Err(Refusal::Unconfirmed { count: 7, queue: "mail".to_owned() }));
        assert!(Selected { confirmed: Some("male"), ..all }.judge().is_err());
        assert_eq!(Selected { confirmed: Some("mail"), ..all }.judge(), Ok(()));
        assert_eq!(Selected { count: 0, ..all }.judge(), Err(Refusal::Empty));
        assert_eq!(Selected { queue: None, ..all }.judge(), Err(Refusal::NoQueue));
        let many = Selected { count: 1_001, confirmed: Some("mail"), ..all };
        assert_eq!(many.judge(), Err(Refusal::Budget { count: 1_001, most: 1_000 }));
        assert_eq!(Selected { named: true, queue: None, count: 2, ..all }.judge(), Ok(()));
    }
}
