//! What became of each target.

use serde::{Deserialize, Serialize};

use crate::process::Pin;

/// What became of one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetOutcome {
    /// Which target.
    pub pin: Pin,
    /// What became of it.
    pub result: TargetResult,
}

/// Result of the act on one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "result", content = "reason")]
pub enum TargetResult {
    /// The daemon says that it was done.
    Done,
    /// Not touched: it was no longer the process that the plan names.
    Changed(String),
    /// The daemon refused or failed.
    Failed(String),
    /// Sent, and no answer came: it may or may not have happened.
    Unknown(String),
}

/// What the whole act came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every target.
    Done,
    /// Some targets; the others are named with their reason.
    Partial,
    /// No target.
    Failed,
    /// At least one target's fate is not known. Settled by reconcile, never assumed.
    Unknown,
}

impl Outcome {
    /// Sums up. No targets at all is a failure: nothing was done.
    #[must_use]
    pub fn of(targets: &[TargetOutcome]) -> Self {
        let done = targets.iter().filter(|target| target.result == TargetResult::Done).count();
        if targets.iter().any(|target| matches!(target.result, TargetResult::Unknown(_))) {
            Self::Unknown
        } else if done == 0 {
            Self::Failed
        } else if done < targets.len() {
            Self::Partial
        } else {
            Self::Done
        }
    }
}
