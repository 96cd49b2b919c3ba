//! Writes records with the header that they all share.

use std::path::Path;

use palisade_core::policy::PolicyRef;
use palisade_core::record::{self, Event, PolicyChanged};
use palisade_core::request::OperationId;
use palisade_core::{Actor, Receipt, Record};
use palisade_host::state::StateDirectory;
use palisade_host::{clock, files};
use palisade_journal::{self as journal, Journal, VerifierKey};

use crate::error::Error;

/// The journal, opened for one operation by one actor under one policy.
#[derive(Debug)]
pub struct Writer {
    journal: Journal,
    op: OperationId,
    actor: Actor,
    policy: Option<PolicyRef>,
    boot_id: String,
}

impl Writer {
    /// Opens the journal of `state`, and tells it of a torn last record that was cut off. Records name `policy`: none
    /// where none was ever in force.
    ///
    /// # Errors
    /// The journal is damaged or cannot be written.
    pub fn open(
        state: &StateDirectory,
        op: OperationId,
        actor: Actor,
        policy: impl Into<Option<PolicyRef>>,
    ) -> Result<Self, Error> {
        let journal = open(state, &actor)?;
        let mut writer = Self { journal, op, actor, policy: policy.into(), boot_id: clock::boot_id()? };
        writer.tell_of_torn_record()?;
        Ok(writer)
    }

    /// The journal's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.journal.dir()
    }

    /// From here on, records name this caller.
    pub fn set_actor(&mut self, actor: Actor) {
        self.actor = actor;
    }

    /// Records a policy that differs from the last one recorded.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn note_policy(&mut self, recorded: Option<&PolicyRef>) -> Result<(), journal::Error> {
        let Some(policy) = self.policy.as_ref().filter(|policy| recorded != Some(*policy)) else {
            return Ok(());
        };
        let event = PolicyChanged { from: recorded.cloned(), to: policy.clone() };
        self.append(Event::PolicyChanged(event)).map(|_receipt| ())
    }

    /// Appends one record, durably.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn append(&mut self, event: Event) -> Result<Receipt, journal::Error> {
        let record = self.record(event);
        let receipt = self.journal.append(&record)?;
        self.tell_of_torn_record()?;
        Ok(receipt)
    }

    /// Records that a torn last record was cut off; another process may have died while this one ran.
    fn tell_of_torn_record(&mut self) -> Result<(), journal::Error> {
        match self.journal.recovered() {
            Some(recovered) => {
                let record = self.record(Event::Recovered(recovered));
                self.journal.append(&record).map(|_receipt| ())
            }
            None => Ok(()),
        }
    }

    /// Appends a record of another operation: for settling it.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn append_for(&mut self, op: OperationId, event: Event) -> Result<Receipt, journal::Error> {
        let record = Record { op, ..self.record(event) };
        self.journal.append(&record)
    }

    /// The record that `event` would be written as, now.
    #[must_use]
    pub fn record(&self, event: Event) -> Record {
        Record {
            v: record::FORMAT,
            at: clock::now(),
            boot_ms: clock::boot_ms(),
            boot_id: self.boot_id.clone(),
            op: self.op.clone(),
            actor: self.actor.clone(),
            policy: self.policy.clone(),
            event,
        }
    }
}

/// Opens the journal of `state`, or makes one with its key.
fn open(state: &StateDirectory, actor: &Actor) -> Result<Journal, Error> {
    files::private_folder(state.root())?;
    let folder = state.journal();
    // A first journal is named after this host; later the host may change its name, the journal does not.
    let origin = journal::signed_head(&folder)?
        .map_or_else(|| format!("palisade/{}", actor.observed.host), |head| head.origin().to_owned());
    Ok(Journal::open(&folder, &state.key(), &origin)?)
}

/// Signs a text with the journal's key: `NAME BASE64`, and the key that verifies it.
///
/// # Errors
/// The journal is damaged or cannot be written.
pub fn sign_text(state: &StateDirectory, actor: &Actor, text: &str) -> Result<(String, VerifierKey), Error> {
    let journal = open(state, actor)?;
    Ok((journal.sign_text(text), journal.verifier()))
}
