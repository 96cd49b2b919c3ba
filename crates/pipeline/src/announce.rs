//! Records what an administrator does beside judged operations: in the journal where it can be written, and in the
//! system log in any case, for it is what others on the host should hear of.

use std::time::Duration;

use palisade_core::policy::PolicyRef;
use palisade_core::record::Event;
use palisade_core::request::OperationId;
use palisade_core::{Actor, Receipt};
use palisade_host::clock;
use palisade_host::state::StateDirectory;

use crate::error::Error;
use crate::memory::Memory;
use crate::system_log;
use crate::writer::Writer;

/// Where an announcement went.
#[derive(Debug)]
pub struct Announced {
    /// The journal's record; else why there is none.
    pub journal: Result<Receipt, Error>,
    /// Whether the system log took the line.
    pub logged: bool,
}

impl Announced {
    /// Where, in a few words.
    #[must_use]
    pub fn place(&self) -> String {
        Self::at(self.journal.as_ref().ok(), self.logged)
    }

    fn at(journal: Option<&Receipt>, logged: bool) -> String {
        match (journal.and_then(Receipt::sequence), logged) {
            (Some(sequence), true) => format!("journal record {sequence} and the system log"),
            (Some(sequence), false) => format!("journal record {sequence}"),
            (None, true) => "the system log only".to_owned(),
            (None, false) => "NOWHERE: neither the journal nor the system log took it".to_owned(),
        }
    }
}

/// Writes `line` to the system log, where no journal can be found; says where it went.
#[must_use]
pub fn log_only(line: &str) -> String {
    Announced::at(None, system_log::write(line).is_ok())
}

/// Writes `line` to the system log and `event` to the journal. Without a policy, records name the last one that the
/// journal knows, if any.
pub fn announce(
    state: &StateDirectory,
    policy: Option<&PolicyRef>,
    op: OperationId,
    actor: Actor,
    event: Event,
    line: &str,
) -> Announced {
    let logged = system_log::write(line).is_ok();
    Announced { journal: write(state, policy, op, actor, event), logged }
}

/// Writes `event` to the journal.
///
/// # Errors
/// The journal is damaged or cannot be written.
fn write(
    state: &StateDirectory,
    policy: Option<&PolicyRef>,
    op: OperationId,
    actor: Actor,
    event: Event,
) -> Result<Receipt, Error> {
    let memory = Memory::read(&state.journal(), clock::now(), Duration::ZERO)?;
    let reference = policy.or_else(|| memory.policy()).cloned();
    let mut writer = Writer::open(state, op, actor, reference)?;
    if policy.is_some() {
        writer.note_policy(memory.policy())?;
    }
    Ok(writer.append(event)?)
}
