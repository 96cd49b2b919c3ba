//! When a job may leave its running state.

use std::fmt;
use std::time::Duration;

use palisade_postgres::Session;
use serde::Serialize;

use crate::error::Error;
use crate::script;

/// What happens to a statement that breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It passes and is recorded.
    Observe,
    /// It is refused.
    Enforce,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        })
    }
}

/// So many jobs within so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// How many; none at all is 0.
    pub jobs: u16,
    /// Within what time.
    pub window: Duration,
}

/// The rules of one table. Durations are checked by [`Rules::check`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rules {
    /// Refuse or only record.
    pub mode: Mode,
    /// States in which a job runs.
    pub running: Vec<String>,
    /// States into which a job may always go; `DELETE` is the row's deletion.
    pub done: Vec<String>,
    /// States into which a worker puts its own job while it beats, without a budget.
    pub own: Vec<String>,
    /// From this silence on a job may be taken by anybody.
    pub min_age: Duration,
    /// Up to this silence a job counts as alive, and its own worker may do what it wants.
    pub quiet_after: Duration,
    /// How far a beat may be set back or lie in the future.
    pub clock_skew: Duration,
    /// What the reason of an exit between the two looks like (a regular expression).
    pub reason: Option<String>,
    /// What a user's mark looks like (a regular expression).
    pub mark: Option<String>,
    /// How many exits that only look right may happen.
    pub budget: Budget,
}

impl Rules {
    /// What can be wrong with rules by themselves.
    ///
    /// # Errors
    /// [`Error::Rules`].
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |problem: &str| Err(Error::Rules { problem: problem.to_owned() });
        let states = || self.running.iter().chain(&self.done).chain(&self.own);
        if self.running.is_empty() || states().any(String::is_empty) {
            return wrong("a running state is needed, and no state is empty");
        }
        if let Some(state) =
            self.running.iter().find(|state| self.done.contains(state) || self.own.contains(state))
        {
            return Err(Error::Rules { problem: format!("{state:?} cannot be a running state and an end") });
        }
        if states().any(|state| state.contains(script::QUOTE)) {
            return wrong("a state holds what encloses the guard's own functions");
        }
        if self.quiet_after < Duration::from_secs(120) {
            return wrong("--quiet-after is at least 2 minutes: a worker that misses a few beats is alive");
        }
        if self.min_age <= self.quiet_after {
            return wrong("--min-age has to be longer than --quiet-after");
        }
        if self.min_age > Duration::from_secs(30 * 86_400) {
            return wrong("--min-age is at most 30 days: history is not kept longer");
        }
        if self.budget.window.is_zero() {
            return wrong("the budget's window is empty");
        }
        Ok(())
    }

    /// Whether the server takes the regular expressions: a wrong one would make each judgement fail.
    ///
    /// # Errors
    /// [`Error::Rules`], or what the database says.
    pub async fn check_patterns(&self, session: &Session) -> Result<(), Error> {
        for pattern in self.reason.iter().chain(&self.mark) {
            let asked = session.ask("try the pattern", "SELECT ('' ~ $1)::text", &[Some(pattern)]).await;
            match asked {
                Ok(rows) if rows.first().and_then(|row| row[0].as_deref()) == Some("true") => {
                    return Err(Error::Rules {
                        problem: format!("the pattern {pattern:?} fits everything, even nothing"),
                    });
                }
                Ok(_) => {}
                Err(error) if error.sqlstate() == Some("2201B") => {
                    return Err(Error::Rules {
                        problem: format!("{pattern:?} is no regular expression: {error}"),
                    });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            mode: Mode::Enforce,
            running: vec!["running".to_owned()],
            done: vec!["completed".to_owned()],
            own: Vec::new(),
            min_age: Duration::from_secs(3600),
            quiet_after: Duration::from_secs(120),
            clock_skew: Duration::from_secs(60),
            reason: None,
            mark: None,
            budget: Budget { jobs: 3, window: Duration::from_secs(600) },
        }
    }

    #[test]
    fn rules_that_would_guard_nothing_are_refused() {
        assert!(rules().check().is_ok());
        let cases: [fn(&mut Rules); 6] = [
            |rules| rules.running.clear(),
            |rules| rules.running.push(String::new()),
            |rules| rules.done.push("running".to_owned()),
            |rules| rules.quiet_after = Duration::from_secs(119),
            |rules| rules.min_age = rules.quiet_after,
            |rules| rules.budget.window = Duration::ZERO,
        ];
        for change in cases {
            let mut rules = rules();
            change(&mut rules);
            assert!(rules.check().is_err(), "{rules:?}");
        }
    }
}
