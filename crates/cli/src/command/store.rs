//! Where jobs live, who acts on them, and the record of what a person does.

use std::fs;

use palisade_core::record::{Event, JobsChanged, Phase};
use palisade_core::{Actor, AppName, EnvironmentName, Intended};
use palisade_host::random;
use palisade_jobs::Note;
use palisade_pipeline::announce::{Announced, announce};
use palisade_store::Store;

use crate::args::job::StoreArgs;
use crate::failure::Failure;
use crate::output::Output;
use crate::session::Session;

/// The file of jobs where nothing else is named.
const FILE: &str = "jobs.db";

/// Opens the store that was named: by flag, by variable, else the file in the state folder.
pub(crate) async fn open(session: &Session, output: Output, args: &StoreArgs) -> Result<Store, Failure> {
    let url = url(session, output, args)?;
    let environment = environment(session, args)?;
    let environment = environment.as_ref().map(EnvironmentName::as_str);
    Ok(Store::open_as(&url, environment).await?)
}

/// The environment that the caller acts for, by flag or variable.
pub(crate) fn environment(session: &Session, args: &StoreArgs) -> Result<Option<EnvironmentName>, Failure> {
    let named = session.environment.text("PALISADE_ENVIRONMENT").filter(|name| !name.is_empty());
    match (&args.environment, named) {
        (Some(environment), _) => Ok(Some(environment.clone())),
        (None, Some(name)) => {
            EnvironmentName::new(&name).map(Some).map_err(|error| Failure::usage(error.to_string()))
        }
        (None, None) => Ok(None),
    }
}

/// Which store was named.
pub(crate) fn url(session: &Session, output: Output, args: &StoreArgs) -> Result<String, Failure> {
    let variable = |name: &str| session.environment.text(name).filter(|value| !value.is_empty());
    let Some(source) = &args.store else {
        if let Some(url) = variable("DATABASE_URL") {
            return Ok(url);
        }
        let folder = session.state.root();
        palisade_host::files::private_folder(folder)?;
        return Ok(format!("sqlite:{}", folder.join(FILE).display()));
    };
    match (source.strip_prefix("env:"), source.strip_prefix('@')) {
        (Some(name), _) => variable(name).ok_or_else(|| {
            Failure::usage(format!("no store is named: ${name} is not set"))
                .hint("set it, or give --store URL")
        }),
        (None, Some(file)) => {
            let text =
                fs::read_to_string(file).map_err(|error| Failure::unreadable(file.as_ref(), &error))?;
            Ok(text.trim().to_owned())
        }
        (None, None) => {
            let holds_password =
                palisade_postgres::Target::parse(source).is_ok_and(|target| target.has_password());
            if holds_password {
                output.talk(
                    "a password on a command line is seen by every user of this machine: use @FILE or env:NAME",
                );
            }
            Ok(source.clone())
        }
    }
}

/// Who acts, as a store writes it down.
pub(crate) fn note(session: &Session, args: &StoreArgs) -> Result<(Actor, Note), Failure> {
    let actor = session.actor()?;
    let app = session.environment.text("PALISADE_APP").filter(|name| !name.is_empty());
    let app = app.map(|name| AppName::new(&name)).transpose();
    let observed = &actor.observed;
    let note = Note {
        app: app.map_err(|error| Failure::usage(error.to_string()))?,
        environment: environment(session, args)?,
        version: Some(concat!("palisade ", env!("CARGO_PKG_VERSION")).to_owned()),
        host: observed.host.clone(),
        pid: observed.process.pid,
        machine_id: observed.machine_id.clone().unwrap_or_else(|| observed.host.clone()),
    };
    Ok((actor, note))
}

/// The records of one thing that a person does: one before, one after.
pub(crate) struct Ledger<'a> {
    session: &'a Session,
    actor: Actor,
    op: palisade_core::request::OperationId,
    entry: JobsChanged,
    intended: Intended,
}

impl<'a> Ledger<'a> {
    /// Writes down that it is about to begin. A host on which no policy was ever in force has a journal all the same.
    ///
    /// # Errors
    /// The journal is damaged or cannot be written: nothing may be done then.
    pub(crate) fn begin(session: &'a Session, actor: Actor, entry: JobsChanged) -> Result<Self, Failure> {
        let mut ledger = Self::anew(session, actor, entry)?;
        match ledger.write(Phase::Begun, Vec::new()).journal {
            Ok(receipt) => ledger.intended = Intended::by(receipt),
            Err(error) => return Err(Failure::from(error).hint("nothing was changed")),
        }
        Ok(ledger)
    }

    /// As [`Self::begin`], for what only keeps jobs from starting, as a pause does: that has to be possible on the day on
    /// which the journal's disk is full.
    pub(crate) fn begin_anyway(
        session: &'a Session,
        output: Output,
        actor: Actor,
        entry: JobsChanged,
    ) -> Result<Self, Failure> {
        let ledger = Self::anew(session, actor, entry)?;
        let announced = ledger.write(Phase::Begun, Vec::new());
        if announced.journal.is_err() {
            output.talk(format_args!("recorded in {}", announced.place()));
        }
        Ok(ledger)
    }

    fn anew(session: &'a Session, actor: Actor, entry: JobsChanged) -> Result<Self, Failure> {
        let op = random::operation_id()?;
        Ok(Self { session, actor, op, entry, intended: Intended::without_journal() })
    }

    /// What changes jobs asks for this.
    pub(crate) const fn intended(&self) -> &Intended {
        &self.intended
    }

    /// Writes down how it ended, and says where.
    pub(crate) fn end(&self, phase: Phase, details: Vec<String>) -> String {
        self.write(phase, details).place()
    }

    fn write(&self, phase: Phase, details: Vec<String>) -> Announced {
        let JobsChanged { deed, store, queue, jobs, .. } = &self.entry;
        let of = queue.as_ref().map(|queue| format!(" of {queue}")).unwrap_or_default();
        let line = format!("{deed} {jobs} jobs{of} in {store}: {phase:?}");
        let details = if details.is_empty() { self.entry.details.clone() } else { details };
        let event = Event::JobsChanged(JobsChanged { phase, details, ..self.entry.clone() });
        let policy = self.session.policy().ok().map(|host| host.reference().clone());
        let (op, actor) = (self.op.clone(), self.actor.clone());
        announce(&self.session.state, policy.as_ref(), op, actor, event, &line)
    }
}
