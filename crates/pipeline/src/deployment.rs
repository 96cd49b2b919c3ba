//! The lease of a scope: held by one deployment at a time, joined by the commands inside it.

use std::time::Duration;

use palisade_core::actor::Tree;
use palisade_core::bypass::Opened;
use palisade_core::policy::PolicyRef;
use palisade_core::record::{DeploymentEnded, DeploymentRefused, DeploymentStarted, Event};
use palisade_core::{Actor, Finding, Progress, Receipt, Request, Scope, Term};
use palisade_host::bypass::Folders;
use palisade_host::environment::Environment;
use palisade_host::lease::{self, Acquired, Holder, Joined, Lease};
use palisade_host::state::StateDirectory;
use palisade_host::{clock, files, random};

use crate::epochs;
use crate::error::Error;
use crate::memory::Memory;
use crate::run::Context;
use crate::writer::Writer;

/// A lease that this operation may act under: its own, or its deployment's.
#[derive(Debug)]
pub(crate) struct Leased {
    pub(crate) term: Term,
    hold: Hold,
}

/// Whose lease it is.
#[derive(Debug)]
enum Hold {
    Own(Lease),
    Deployments(Joined),
}

impl Leased {
    /// The lease to act under. A dry run holds none, and is charged to the deployment that it runs in, as the act itself
    /// would be.
    pub(crate) fn for_run(context: &mut Context<'_>, request: &mut Request) -> Result<Option<Self>, Error> {
        if !context.dry_run {
            return Self::take(context, request).map(Some);
        }
        if let Some(term) = lease::joinable(&context.state.leases(), &request.scope)? {
            request.actor.tree = Tree::deployment(&term.scope, term.number);
        }
        Ok(None)
    }

    /// Takes or joins the lease of the request's scope; a joined request is charged to its deployment.
    fn take(context: &mut Context<'_>, request: &mut Request) -> Result<Self, Error> {
        let progress = &mut context.progress;
        let mut on_wait = |holder: &Holder| progress(Progress::Waiting { holder: holder.to_string() });
        let acquired = acquire(
            context.state,
            &request.scope,
            &request.actor,
            request.operation.as_str(),
            context.wait,
            &mut on_wait,
        )?;
        match acquired {
            Acquired::Held(own) => Ok(Self { term: own.term(), hold: Hold::Own(own) }),
            Acquired::Joined(joined) => {
                let term = joined.term();
                request.actor.tree = Tree::deployment(&term.scope, term.number);
                Ok(Self { term, hold: Hold::Deployments(joined) })
            }
            Acquired::Busy(holder) => Err(Error::LeaseHeld { holder: Box::new(holder) }),
        }
    }

    /// Looks again, right before the act, whether the lease is still there.
    pub(crate) fn confirm(&self) -> Result<(), lease::Error> {
        match &self.hold {
            Hold::Own(own) => own.confirm(),
            Hold::Deployments(joined) => joined.confirm(),
        }
    }
}

fn acquire(
    state: &StateDirectory,
    scope: &Scope,
    actor: &Actor,
    program: &str,
    wait: Duration,
    on_wait: &mut dyn FnMut(&Holder),
) -> Result<Acquired, Error> {
    files::private_folder(state.root())?;
    files::private_folder(&state.leases())?;
    let claimed = &actor.claimed;
    let run = claimed.run_id.as_ref().map(|run| match &claimed.workflow {
        Some(workflow) => format!("{workflow} run {run}"),
        None => format!("run {run}"),
    });
    let applicant = lease::Applicant { program: program.to_owned(), run };
    Ok(lease::acquire_within(&state.leases(), scope, &applicant, wait, on_wait)?)
}

fn writer(host_policy: &PolicyRef, state: &StateDirectory, actor: Actor) -> Result<Writer, Error> {
    let id = random::operation_id()?;
    let memory = Memory::read(&state.journal(), clock::now(), Duration::ZERO)?;
    crate::run::check_revision(host_policy, &memory)?;
    let mut writer = Writer::open(state, id, actor, host_policy.clone())?;
    writer.note_policy(memory.policy())?;
    Ok(writer)
}

fn refuse(
    host_policy: &PolicyRef,
    state: &StateDirectory,
    scope: &Scope,
    actor: Actor,
    program: &str,
    findings: &[Finding],
) -> Result<Receipt, Error> {
    let refused =
        DeploymentRefused { scope: scope.clone(), program: program.to_owned(), findings: findings.to_vec() };
    Ok(writer(host_policy, state, actor)?.append(Event::DeploymentRefused(refused))?)
}

/// Whether a bypass opens the guards of all PM2 daemons: a deployment is not about one of them.
pub(crate) fn is_bypassed() -> bool {
    let uid = rustix::process::geteuid().as_raw();
    Folders::of(&Environment::of_this_process(), uid).opening(&Opened::Pm2).is_some()
}

/// How a deployment began.
#[derive(Debug)]
pub enum Start {
    /// It holds its lease, and its start is recorded.
    Begun(Box<Deployment>),
    /// It was refused before its lease was asked for, and its command must not run.
    Refused {
        /// The grounds.
        findings: Vec<Finding>,
        /// The record of the refusal.
        receipt: Receipt,
    },
}

/// A deployment under way: its scope's lease, and its record.
#[derive(Debug)]
pub struct Deployment {
    term: Term,
    writer: Writer,
    /// `None` when it runs inside another deployment of the same scope.
    _own: Option<Lease>,
}

impl Deployment {
    /// Takes the lease of `scope` and records the start, unless a stale job asks: then that is recorded.
    ///
    /// # Errors
    /// Somebody else holds the lease, or the start cannot be recorded.
    pub fn start(
        host_policy: &PolicyRef,
        state: &StateDirectory,
        scope: &Scope,
        mut actor: Actor,
        program: &str,
        wait: Duration,
        on_wait: &mut dyn FnMut(&Holder),
    ) -> Result<Start, Error> {
        let findings = epochs::grounds(state, &actor, None);
        if !findings.is_empty() && !is_bypassed() {
            let receipt = refuse(host_policy, state, scope, actor, program, &findings)?;
            return Ok(Start::Refused { findings, receipt });
        }
        let acquired = acquire(state, scope, &actor, program, wait, on_wait)?;
        let (term, own) = match acquired {
            Acquired::Held(own) => (own.term(), Some(own)),
            Acquired::Joined(joined) => (joined.term(), None),
            Acquired::Busy(holder) => return Err(Error::LeaseHeld { holder: Box::new(holder) }),
        };
        actor.tree = Tree::deployment(scope, term.number);
        let mut writer = writer(host_policy, state, actor)?;
        let started = DeploymentStarted { term: term.clone(), program: program.to_owned() };
        writer.append(Event::DeploymentStarted(started))?;
        Ok(Start::Begun(Box::new(Self { term, writer, _own: own })))
    }

    /// The term under which it runs.
    #[must_use]
    pub const fn term(&self) -> &Term {
        &self.term
    }

    /// Records the end and frees the lease.
    ///
    /// # Errors
    /// The end cannot be recorded. The lease is freed all the same.
    pub fn end(self, exit: Option<i32>) -> Result<Receipt, Error> {
        self.ended(exit, false)
    }

    /// Records that the command could not be started, and frees the lease.
    ///
    /// # Errors
    /// As [`Deployment::end`].
    pub fn end_without_start(self) -> Result<Receipt, Error> {
        self.ended(None, true)
    }

    fn ended(mut self, exit: Option<i32>, not_started: bool) -> Result<Receipt, Error> {
        let ended = DeploymentEnded { term: self.term.clone(), exit, not_started };
        Ok(self.writer.append(Event::DeploymentEnded(ended))?)
    }
}
