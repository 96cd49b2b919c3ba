//! What every resource shares of the pipeline: a durable intent, an act that asks for it, an outcome.
//!
//! [`crate::run`] plans and judges whole processes. An act on a database has no such plan: the database judges it in
//! the statement that does it. What stays is the order, and that nothing is done without a record
//! (ADR 0028).

use std::fmt;
use std::time::Duration;

use palisade_core::policy::PolicyRef;
use palisade_core::record::{Act, Administered, Event, Phase};
use palisade_core::request::OperationId;
use palisade_core::{Actor, Intended};
use palisade_host::clock;
use palisade_host::state::StateDirectory;

use crate::error::Error;
use crate::memory::Memory;
use crate::system_log;
use crate::writer::Writer;

/// Who acts, and where that is recorded.
#[derive(Debug, Clone)]
pub struct Site<'a> {
    /// Where the journal is.
    pub state: &'a StateDirectory,
    /// The policy in force; without one, records name the last one that the journal knows, if any.
    pub policy: Option<PolicyRef>,
    /// Who.
    pub actor: Actor,
}

/// An act whose intent is recorded. It ends with its outcome.
#[must_use = "what has begun has an outcome to be recorded"]
#[derive(Debug)]
pub struct Begun {
    writer: Writer,
    intended: Intended,
    act: Act,
    place: String,
}

impl Site<'_> {
    /// Records that `act` is about to begin at `place`, for the reasons and on the evidence of `details`. A host on
    /// which no policy was ever in force has a journal all the same: its records name none.
    ///
    /// # Errors
    /// The journal is damaged or cannot be written. Nothing may be done then.
    pub fn begin(
        &self,
        op: OperationId,
        act: Act,
        place: &str,
        details: Vec<String>,
    ) -> Result<Begun, Error> {
        let said = details.join("; ");
        let mut writer = self.writer(op)?;
        let intended = Intended::by(writer.append(event(act, Phase::Begun, place, details))?);
        log(act, Phase::Begun, place, &said);
        Ok(Begun { writer, intended, act, place: place.to_owned() })
    }

    fn writer(&self, op: OperationId) -> Result<Writer, Error> {
        let memory = Memory::read(&self.state.journal(), clock::now(), Duration::ZERO)?;
        let policy = self.policy.as_ref().or_else(|| memory.policy()).cloned();
        let mut writer = Writer::open(self.state, op, self.actor.clone(), policy)?;
        if self.policy.is_some() {
            writer.note_policy(memory.policy())?;
        }
        Ok(writer)
    }
}

impl Begun {
    /// What the act asks for.
    pub const fn intended(&self) -> &Intended {
        &self.intended
    }

    /// Records how it ended. That it cannot be recorded any more changes nothing about what was done: the intent stands
    /// without outcome, and the system log has the line.
    pub fn end(mut self, phase: Phase, details: Vec<String>) {
        log(self.act, phase, &self.place, &details.join("; "));
        let event = event(self.act, phase, &self.place, details);
        drop(self.writer.append(event));
    }

    /// Records how it ended, by its result, which is handed on.
    ///
    /// # Errors
    /// Those of `result`.
    pub fn settle<T, E: fmt::Display>(
        self,
        result: Result<T, E>,
        told: impl FnOnce(&T) -> Vec<String>,
    ) -> Result<T, E> {
        match &result {
            Ok(done) => self.end(Phase::Done, told(done)),
            Err(error) => self.end(Phase::Failed, vec![error.to_string()]),
        }
        result
    }
}

impl AsRef<Intended> for Begun {
    fn as_ref(&self) -> &Intended {
        &self.intended
    }
}

fn event(act: Act, phase: Phase, place: &str, details: Vec<String>) -> Event {
    Event::Administered(Administered { act, phase, home: place.to_owned(), details })
}

/// For others on the host. It is no condition: the journal is.
fn log(act: Act, phase: Phase, place: &str, said: &str) {
    system_log::write(&format!("{} at {place}: {phase:?} {said}", act.said())).unwrap_or_default();
}
