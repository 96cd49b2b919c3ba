//! Whether a deed may be done to so many jobs.

use std::time::Duration;

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
    /// What its caller's deeds may come to, where this deed counts.
    pub budget: Option<Budget>,
    /// The sum that was typed.
    pub total: Option<u64>,
}

/// What the deeds of one caller may come to within a sliding window, over all of its commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// So many jobs it has set out to change within the window.
    pub before: u64,
    /// At most so many it may come to.
    pub most: u64,
    /// The policy has that number, so that nobody goes over it. Else a person does who types the sum.
    pub is_set: bool,
    /// The window.
    pub window: Duration,
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
    /// More than the budget of one caller over several commands.
    #[error(
        "this caller has changed {} jobs by hand within {}, and this would make it {sum}: the limit is {}",
        budget.before,
        humantime::format_duration(budget.window),
        budget.most
    )]
    Spent {
        /// The budget.
        budget: Budget,
        /// What it would come to.
        sum: u64,
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
            Self::Budget { .. } | Self::Spent { .. } => Code::JobBudget,
            Self::Unconfirmed { .. } => Code::ConfirmationNeeded,
        }
    }

    /// The exit code of a command that ends with it.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Unconfirmed { .. } => Exit::ConfirmationNeeded,
            Self::Spent { budget, .. } if !budget.is_set => Exit::ConfirmationNeeded,
            Self::NoQueue => Exit::Usage,
            Self::Empty | Self::Budget { .. } | Self::Spent { .. } => Exit::Refused,
        }
    }

    /// How to go on.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::Empty => {
                "look with `palisade job list`, and name jobs, or a queue and states that have some"
                    .to_owned()
            }
            Self::Budget { count, .. } => format!("look with --dry-run, then allow it with --most {count}"),
            Self::Spent { budget, .. } if budget.is_set => {
                "look with --dry-run, then wait, or raise limits.job_budget in the host's policy".to_owned()
            }
            Self::Spent { sum, .. } => format!("look with --dry-run, then type the sum: --total {sum}"),
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
        let Self { named, queue, count, most, confirmed, .. } = *self;
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
            _ => self.within_budget(),
        }
    }

    /// What one command changes is for the rules above; without a number of its own this one is about what adds up.
    fn within_budget(&self) -> Result<(), Refusal> {
        let Some(budget) = self.budget else { return Ok(()) };
        let sum = budget.before.saturating_add(u64::try_from(self.count).unwrap_or(u64::MAX));
        let adds_up = budget.before > 0 || budget.is_set;
        let was_typed = !budget.is_set && self.total == Some(sum);
        if sum <= budget.most || !adds_up || was_typed { Ok(()) } else { Err(Refusal::Spent { budget, sum }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_jobs_need_a_queue_a_budget_and_its_name_typed() {
        let mail = QueueName::new("mail").unwrap();
        let all = Selected {
            named: false,
            queue: Some(&mail),
            count: 7,
            most: 1_000,
            confirmed: None,
            budget: None,
            total: None,
        };
        assert_eq!(all.judge(), Err(Refusal::Unconfirmed { count: 7, queue: "mail".to_owned() }));
        assert!(Selected { confirmed: Some("male"), ..all }.judge().is_err());
        assert_eq!(Selected { confirmed: Some("mail"), ..all }.judge(), Ok(()));
        assert_eq!(Selected { count: 0, ..all }.judge(), Err(Refusal::Empty));
        assert_eq!(Selected { queue: None, ..all }.judge(), Err(Refusal::NoQueue));
        let many = Selected { count: 1_001, confirmed: Some("mail"), ..all };
        assert_eq!(many.judge(), Err(Refusal::Budget { count: 1_001, most: 1_000 }));
        assert_eq!(Selected { named: true, queue: None, count: 2, ..all }.judge(), Ok(()));
    }

    #[test]
    fn deeds_one_by_one_add_up_and_a_person_who_types_the_sum_goes_on() {
        let window = Duration::from_secs(600);
        let nobody_set = Budget { before: 999, most: 1_000, is_set: false, window };
        let one = Selected {
            named: true,
            queue: None,
            count: 1,
            most: 1_000,
            confirmed: None,
            budget: Some(nobody_set),
            total: None,
        };
        assert_eq!(one.judge(), Ok(()));
        let over = Selected { budget: Some(Budget { before: 1_000, ..nobody_set }), ..one };
        let refused = over.judge().unwrap_err();
        let said = "this caller has changed 1000 jobs by hand within 10m, and this would make it 1001: the limit is 1000";
        assert_eq!((refused.to_string().as_str(), refused.exit()), (said, Exit::ConfirmationNeeded));
        assert!(refused.fix().contains("--total 1001"), "{}", refused.fix());
        assert!(Selected { total: Some(1_000), ..over }.judge().is_err(), "the sum of another command");
        assert_eq!(Selected { total: Some(1_001), ..over }.judge(), Ok(()));
        // What one command takes is what --most and the typed queue are for.
        let first =
            Selected { count: 5_000, most: 5_000, budget: Some(Budget { before: 0, ..nobody_set }), ..one };
        assert_eq!(first.judge(), Ok(()));
        // A number of the policy counts for each command, and nobody types it away.
        let set = Budget { before: 0, most: 4, is_set: true, window };
        let five = Selected { count: 5, budget: Some(set), total: Some(5), ..one };
        let refused = five.judge().unwrap_err();
        assert_eq!((refused.code(), refused.exit()), (Code::JobBudget, Exit::Refused));
        assert!(refused.fix().contains("limits.job_budget"), "{}", refused.fix());
        assert_eq!(Selected { count: 4, ..five }.judge(), Ok(()));
    }
}
