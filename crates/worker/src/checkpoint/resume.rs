//! From which checkpoint a job goes on.

use palisade_jobs::Checkpoint;

use super::place::{Place, ReadError};

/// One checkpoint that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// Its sequence.
    pub sequence: u64,
    /// What is wrong with it.
    pub problem: String,
}

/// What was found of a job's checkpoints.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// It has none: it starts from the beginning.
    None,
    /// The newest that is what it was.
    Good {
        /// Which one.
        checkpoint: Checkpoint,
        /// Its bytes.
        bytes: Vec<u8>,
        /// Newer ones that cannot be used.
        bad: Vec<Bad>,
    },
    /// It has some, and none can be used: the job is held, for starting from the beginning would lose work in silence.
    AllBad(Vec<Bad>),
    /// The place does not answer, so nothing can be said.
    Unreachable(String),
}

impl Place {
    /// The newest of `checkpoints` (newest first) that is what it was when it was put.
    ///
    /// One counts as bad only when it was read twice with that result, for bytes may also be hurt on their way.
    pub async fn resume(&self, checkpoints: &[Checkpoint]) -> Found {
        let mut bad = Vec::new();
        for checkpoint in checkpoints {
            let mut read = self.read(checkpoint).await;
            if let Err(ReadError::Bad(_)) = read {
                read = self.read(checkpoint).await;
            }
            match read {
                Ok(bytes) => return Found::Good { checkpoint: checkpoint.clone(), bytes, bad },
                Err(ReadError::Bad(problem)) => bad.push(Bad { sequence: checkpoint.sequence, problem }),
                Err(ReadError::Unreachable(problem)) => return Found::Unreachable(problem),
            }
        }
        if bad.is_empty() { Found::None } else { Found::AllBad(bad) }
    }
}
