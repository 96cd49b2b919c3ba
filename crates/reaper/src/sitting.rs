//! The lease: waiting for it, keeping it, giving it back.

use std::collections::HashMap;
use std::fmt::Display;
use std::time::Duration;

use palisade_host::clock::Stopwatch;
use palisade_host::random;
use palisade_jobs::reaper::{Held as Brake, Judge, Limits};
use palisade_lease::{Acquired, Held, Holder, LeaseStore, Name, Ttl};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::clerk::{Clerk, News};
use crate::docket::Docket;

/// How long one question to the store may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What a reaper does.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How it judges.
    pub limits: Limits,
    /// What its lease is called.
    pub name: Name,
    /// How long its lease lasts without renewal.
    pub lease: Ttl,
    /// It tells what it would take, and takes nothing.
    pub dry: bool,
    /// Those whom the brake spares at the start are dead indeed.
    pub lift_brake: bool,
}

/// Why there is no reaper.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are no random bits.
    #[error("no holder can be drawn")]
    Random(#[from] random::Error),
    /// A name of ours is none.
    #[error("the lease cannot be named: {0}")]
    Name(#[from] palisade_lease::InvalidName),
}

/// One term: the lease, until when it may be used, and the judge.
pub(crate) struct Term<D: Docket> {
    pub(crate) lease: Held,
    pub(crate) renewed: Stopwatch,
    pub(crate) judge: Judge<D::Key, D::Counter>,
    pub(crate) braked: Option<Brake>,
    /// Of whom it was said that they would be reaped, at that beat.
    pub(crate) told: HashMap<D::Key, D::Counter>,
    /// Somebody else's term has begun.
    pub(crate) over: bool,
}

pub(crate) struct Chair<'a, L, K> {
    pub(crate) settings: Settings,
    pub(crate) leases: &'a L,
    pub(crate) clerk: &'a K,
    pub(crate) holder: Holder,
}

/// Sits until `end` is ready: waits for the lease, judges while it has it, and gives it back. A store that stands still in the
/// middle of that is not waited for: the lease then runs out.
///
/// # Errors
/// [`Error`]. A store that is away is no error: it waits.
pub async fn sit<D, L, K>(
    settings: Settings,
    docket: &mut D,
    leases: &L,
    clerk: &K,
    end: impl Future<Output = ()>,
) -> Result<(), Error>
where
    D: Docket,
    L: LeaseStore,
    L::Error: Display,
    K: Clerk,
{
    let bits = u64::from_le_bytes(random::bytes::<8>()?);
    let holder = Holder::new(&format!("reaper-{}-{bits:016x}", std::process::id()))?;
    let chair = Chair { settings, leases, clerk, holder };
    let (ends, has_ended) = oneshot::channel::<()>();
    let told = async { drop(has_ended.await) };
    let late = async {
        end.await;
        drop(ends);
        sleep(PATIENCE).await;
    };
    tokio::select! {
        () = chair.sit(docket, told) => {}
        () = late => {}
    }
    Ok(())
}

impl<L, K> Chair<'_, L, K>
where
    L: LeaseStore,
    L::Error: Display,
    K: Clerk,
{
    async fn sit<D: Docket>(&self, docket: &mut D, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        let mut term: Option<Term<D>> = None;
        let mut waits = None;
        loop {
            term = match term {
                Some(term) => self.renew(term).await,
                None => self.acquire(docket, &mut waits).await,
            };
            if let Some(term) = &mut term {
                self.sweep(docket, term).await;
            }
            term = term.filter(|term| !term.over);
            tokio::select! {
                () = sleep(self.settings.limits.sweep_every) => {}
                () = &mut end => break,
            }
        }
        if let Some(term) = term {
            // Where it is not given back it runs out.
            drop(timeout(PATIENCE, self.leases.release(&term.lease)).await);
        }
    }

    pub(crate) async fn acquire<D: Docket>(
        &self,
        docket: &mut D,
        waits: &mut Option<u64>,
    ) -> Option<Term<D>> {
        let renewed = Stopwatch::start();
        let asked = self.leases.acquire(&self.settings.name, &self.holder, self.settings.lease);
        let grant = match timeout(PATIENCE, asked).await {
            Ok(Ok(Acquired::Granted(grant))) => grant,
            Ok(Ok(Acquired::Busy(seen))) => {
                let term = seen.term.number();
                if waits.replace(term) != Some(term) {
                    self.clerk.tell(&News::Waiting { holder: seen.holder.as_str().to_owned(), term });
                }
                return None;
            }
            Ok(Err(error)) => return self.no_term(&error),
            Err(_) => return self.no_term(&"no answer to the request for the lease"),
        };
        *waits = None;
        let remembered = match timeout(PATIENCE, docket.begin()).await {
            Ok(Ok(remembered)) => remembered,
            Ok(Err(error)) => return self.no_term(&error),
            Err(_) => return self.no_term(&"no answer in time"),
        };
        let mut judge = Judge::new(self.settings.limits.clone(), remembered);
        if self.settings.lift_brake {
            judge.lift_brake();
        }
        self.clerk.tell(&News::Elected { term: grant.held.term.number() });
        Some(Term { lease: grant.held, renewed, judge, braked: None, told: HashMap::new(), over: false })
    }

    /// The judge's own write, on the way that beats take. Without it a term ends by the judge's own clock.
    async fn renew<D: Docket>(&self, mut term: Term<D>) -> Option<Term<D>> {
        let asked = Stopwatch::start();
        match timeout(PATIENCE, self.leases.renew(&term.lease, self.settings.lease)).await {
            Ok(Ok(true)) => term.renewed = asked,
            Ok(Ok(false)) => {
                self.clerk.tell(&News::TermOver);
                return None;
            }
            Ok(Err(error)) => {
                term.judge.could_not_see();
                self.fault(&error);
            }
            Err(_) => {
                term.judge.could_not_see();
                self.fault(&"no answer to the renewal of the lease");
            }
        }
        (term.renewed.elapsed() < self.settings.lease.span()).then_some(term)
    }

    pub(crate) fn fault(&self, problem: &dyn Display) {
        self.clerk.tell(&News::Fault { problem: problem.to_string() });
    }

    fn no_term<D: Docket>(&self, problem: &dyn Display) -> Option<Term<D>> {
        self.fault(problem);
        None
    }
}
