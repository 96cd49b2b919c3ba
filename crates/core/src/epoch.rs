//! Epochs: a workflow carries the generation that it was written as, and the resource refuses older ones.
//!
//! A runner can execute a version of a workflow that nobody sees in the repository any more: a re-run, a schedule,
//! an old branch, a cache. What the forge says of the job does not tell, for the server and not the checkout hands
//! out what runs. So each workflow carries a literal (`PALISADE_EPOCH: "7"`) in its own variables, which travels
//! with what executes, and the resource keeps a minimum that only rises. That stops old code, not malice: whoever
//! writes a workflow writes its literal.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ablation::{self, Check};
use crate::actor::{Claimed, Forge};
use crate::code::Code;
use crate::text::Shown;
use crate::time::Timestamp;
use crate::verdict::Finding;

/// The variable that carries a workflow's epoch.
pub const VARIABLE: &str = "PALISADE_EPOCH";

/// A generation of a workflow, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Epoch(u32);

impl Epoch {
    /// The first one.
    pub const FIRST: Self = Self(1);

    /// The one after this; `None` after the largest.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text or number is no epoch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is no epoch: an epoch is a whole number from 1 without sign or leading zero, such as 7", Shown(.0))]
pub struct NotAnEpoch(String);

impl FromStr for Epoch {
    type Err = NotAnEpoch;

    fn from_str(text: &str) -> Result<Self, NotAnEpoch> {
        let number = text.parse::<u32>().ok().filter(|number| *number > 0 && number.to_string() == text);
        number.map(Self).ok_or_else(|| NotAnEpoch(format!("{text:?}")))
    }
}

impl TryFrom<u32> for Epoch {
    type Error = NotAnEpoch;
    fn try_from(number: u32) -> Result<Self, NotAnEpoch> {
        if number == 0 { Err(NotAnEpoch("0".to_owned())) } else { Ok(Self(number)) }
    }
}

impl From<Epoch> for u32 {
    fn from(epoch: Epoch) -> Self {
        epoch.0
    }
}

/// What a job claims that an epoch is judged by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Job {
    /// The forge whose runner runs it.
    pub forge: Option<Forge>,
    /// Repository, as `owner/name`.
    pub repository: Option<String>,
    /// Name of the workflow, as the forge says it.
    pub workflow: Option<String>,
    /// Path of the workflow's file.
    pub file: Option<String>,
    /// The text of [`VARIABLE`].
    pub epoch: Option<String>,
    /// Id of the run, which tells two jobs apart.
    pub run: Option<String>,
}

impl Job {
    /// The job that these claims are of; `None` where no forge is claimed.
    #[must_use]
    pub fn of(claimed: &Claimed) -> Option<Self> {
        claimed.forge.map(|forge| Self {
            forge: Some(forge),
            repository: claimed.repository.clone(),
            workflow: claimed.workflow.clone(),
            file: claimed.workflow_file.clone(),
            epoch: claimed.epoch.clone(),
            run: claimed.run_id.clone(),
        })
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let repository = self.repository.as_deref().unwrap_or("a repository without a name");
        match self.workflow.as_deref().or(self.file.as_deref()) {
            Some(workflow) => write!(f, "workflow {} of {}", Shown(workflow), Shown(repository)),
            None => write!(f, "a workflow without a name of {}", Shown(repository)),
        }
    }
}

/// The workflows that a minimum is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Repository, as `owner/name`. Letter case does not count, as on the forges.
    pub repository: String,
    /// The workflow, by its `name:` or its file; `None` for every workflow of the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The path of its file, where that is known besides the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl Subject {
    /// Whether both are about the same workflows.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.is_of(&other.repository) && self.workflow == other.workflow
    }

    fn is_of(&self, repository: &str) -> bool {
        self.repository.eq_ignore_ascii_case(repository)
    }

    /// Whether the job may be one of these. What the job does not name is taken against it.
    fn covers(&self, job: &Job) -> bool {
        if job.repository.as_deref().is_some_and(|repository| !self.is_of(repository)) {
            return false;
        }
        let named = [job.workflow.as_deref(), job.file.as_deref()];
        let ours = [self.workflow.as_deref(), self.file.as_deref()];
        match (ours.iter().flatten().next(), named.iter().flatten().next()) {
            (None, _) | (_, None) => true,
            (Some(_), Some(_)) => {
                ours.iter().flatten().any(|ours| named.iter().flatten().any(|named| is_called(named, ours)))
            }
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.workflow {
            Some(workflow) => write!(f, "{} of {}", Shown(workflow), Shown(&self.repository)),
            None => write!(f, "every workflow of {}", Shown(&self.repository)),
        }
    }
}

/// Whether a workflow that goes by `named` is the one called `ours`: the same text, or the file name alone.
fn is_called(named: &str, ours: &str) -> bool {
    named == ours || (!ours.contains('/') && named.rsplit('/').next() == Some(ours))
}

/// The lowest epoch that is let through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minimum {
    /// Of which workflows.
    #[serde(flatten)]
    pub subject: Subject,
    /// Lower ones are refused.
    pub epoch: Epoch,
    /// When it was last raised.
    pub raised_at: Timestamp,
    /// By whom, in a few words.
    pub raised_by: String,
}

/// All minimums of one resource. They only rise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ratchet(Vec<Minimum>);

/// A minimum never falls.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the minimum for {subject} is {in_force} already and never falls; {asked} is lower")]
pub struct WouldFall {
    /// Of what.
    pub subject: Subject,
    /// The minimum in force.
    pub in_force: Epoch,
    /// What was asked for.
    pub asked: Epoch,
}

impl Ratchet {
    /// The minimums, in the order of their repository and workflow.
    #[must_use]
    pub fn minimums(&self) -> &[Minimum] {
        &self.0
    }

    /// The minimum for exactly this subject.
    #[must_use]
    pub fn minimum(&self, subject: &Subject) -> Option<&Minimum> {
        self.0.iter().find(|minimum| minimum.subject.is_same(subject))
    }

    /// Raises a minimum, and says what it was. The same epoch again changes nothing but who raised it and when.
    ///
    /// # Errors
    /// The minimum in force is higher.
    pub fn raise(&mut self, to: Minimum) -> Result<Option<Epoch>, WouldFall> {
        let Some(known) = self.0.iter_mut().find(|minimum| minimum.subject.is_same(&to.subject)) else {
            self.0.push(to);
            self.0.sort_by_key(|minimum| {
                (minimum.subject.repository.to_ascii_lowercase(), minimum.subject.workflow.clone())
            });
            return Ok(None);
        };
        let before = known.epoch;
        if to.epoch < before {
            return Err(WouldFall { subject: to.subject, in_force: before, asked: to.epoch });
        }
        let file = to.subject.file.clone().or_else(|| known.subject.file.clone());
        *known = Minimum { subject: Subject { file, ..to.subject }, ..to };
        Ok(Some(before))
    }

    /// The highest minimum that applies to the job.
    #[must_use]
    pub fn required(&self, job: &Job) -> Option<&Minimum> {
        let covering = self.0.iter().filter(|minimum| minimum.subject.covers(job));
        covering.max_by_key(|minimum| minimum.epoch)
    }

    /// The ground against a job's changes, if its epoch is older than required, missing or no epoch.
    #[must_use]
    pub fn objection(&self, job: &Job) -> Option<Finding> {
        let minimum = self.required(job).filter(|_| !ablation::is_off(Check::Epoch))?;
        let required = minimum.epoch;
        let carried = match job.epoch.as_deref().map(str::parse::<Epoch>) {
            Some(Ok(epoch)) if epoch >= required => return None,
            Some(Ok(epoch)) => Ok(epoch),
            Some(Err(error)) => Err(error.to_string()),
            None => Err(format!("it has no {VARIABLE}")),
        };
        Some(match carried {
            Ok(epoch) => finding(
                Code::StaleWorkflow,
                format!(
                    "{job} runs with epoch {epoch}, and {required} or more is required: what runs is an older version"
                ),
                format!(
                    "start a new run on the newest commit instead of running an old one again; if it is the newest, \
                     `palisade ci epoch write FILE --to {required}`"
                ),
            ),
            Err(why) => finding(
                Code::NoEpoch,
                format!("{job} must carry epoch {required} or more, and {why}"),
                format!(
                    "`palisade ci epoch write FILE --to {required}` puts it into the workflow; over ssh or sudo hand \
                     {VARIABLE} on"
                ),
            ),
        })
    }
}

/// The ground against a job's changes where the ratchet cannot be read: unknown is not "none".
#[must_use]
pub fn unreadable(job: &Job, why: &str) -> Finding {
    finding(
        Code::EpochsUnreadable,
        format!("{job} cannot be compared with the epochs of this host: {why}"),
        "mend the file that is named; jobs may read meanwhile, and people without a CI job are not held up"
            .to_owned(),
    )
}

fn finding(code: Code, message: String, fix: String) -> Finding {
    Finding { code, message, fix, subjects: Vec::new() }
}
