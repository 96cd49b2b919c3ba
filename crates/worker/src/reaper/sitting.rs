//! The lease: waiting for it, keeping it, giving it back.

use std::fmt::Display;
use std::time::Duration;

use palisade_host::clock::{self, Stopwatch};
use palisade_host::{files, process, random};
use palisade_jobs::reaper::{Held as Brake, Judge, Limits, Place, Remembered, Roll};
use palisade_jobs::store::{Fence, REAPER};
use palisade_jobs::{Error as StoreError, Incarnation, JobStore, Note};
use palisade_lease::{Acquired, Held, Holder, LeaseStore, Name, Ttl};
use tokio::time::{sleep, timeout};

use super::news::{Clerk, News};

/// How long one question to the store may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What a reaper does.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How it judges. Its floor may only lengthen the thresholds of claims.
    pub limits: Limits,
    /// How long its lease lasts without renewal.
    pub lease: Ttl,
    /// Who it is, as reasons name it.
    pub by: Note,
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
    /// The boot of this machine cannot be told.
    #[error("the boot of this machine cannot be told")]
    Boot(#[from] files::Error),
    /// A name of ours is none.
    #[error("the lease cannot be named: {0}")]
    Name(#[from] palisade_lease::InvalidName),
}

/// One term: the lease, until when it may be used, and the judge.
pub(super) struct Term<S> {
    pub(super) store: S,
    pub(super) lease: Held,
    pub(super) renewed: Stopwatch,
    pub(super) judge: Judge<Incarnation, u64>,
    pub(super) roll: Roll,
    pub(super) timeline: String,
    pub(super) run: Option<u64>,
    pub(super) braked: Option<Brake>,
    /// Of whom it was said that they would be reaped, at that beat.
    pub(super) told: Vec<(Incarnation, u64)>,
    /// Somebody else's term has begun.
    pub(super) over: bool,
}

impl<S> Term<S> {
    pub(super) fn fence(&self) -> Fence {
        Fence { term: self.lease.term.number(), holder: self.lease.holder.as_str().to_owned() }
    }
}

pub(super) struct Chair<'a, L, K> {
    pub(super) settings: Settings,
    pub(super) place: Place,
    leases: &'a L,
    pub(super) clerk: &'a K,
    name: Name,
    holder: Holder,
}

/// Sits until `end` is ready: waits for the lease, judges while it has it, and gives it back.
///
/// # Errors
/// [`Error`]. A store that is away is no error: it waits.
pub async fn sit<S, O, C, L, K>(
    settings: Settings,
    open: O,
    leases: &L,
    clerk: &K,
    end: impl Future<Output = ()>,
) -> Result<(), Error>
where
    S: JobStore,
    O: Fn() -> C,
    C: Future<Output = Result<S, StoreError>>,
    L: LeaseStore,
    L::Error: Display,
    K: Clerk,
{
    let bits = u64::from_le_bytes(random::bytes::<8>()?);
    let place = Place {
        machine_id: settings.by.machine_id.clone(),
        boot_id: clock::boot_id()?,
        pid_space: process::number_space(),
    };
    let holder = Holder::new(&format!("reaper-{}-{bits:016x}", std::process::id()))?;
    let chair = Chair { settings, place, leases, clerk, name: Name::new(REAPER)?, holder };
    let mut end = std::pin::pin!(end);
    let mut term: Option<Term<S>> = None;
    let mut waits = None;
    loop {
        term = match term {
            Some(term) => chair.renew(term).await,
            None => chair.acquire(&open, &mut waits).await,
        };
        if let Some(term) = &mut term {
            chair.sweep(term).await;
        }
        term = term.filter(|term| !term.over);
        tokio::select! {
            () = sleep(chair.settings.limits.sweep_every) => {}
            () = &mut end => break,
        }
    }
    if let Some(term) = term {
        // Where it is not given back it runs out.
        drop(timeout(PATIENCE, leases.release(&term.lease)).await);
    }
    Ok(())
}

impl<L, K> Chair<'_, L, K>
where
    L: LeaseStore,
    L::Error: Display,
    K: Clerk,
{
    async fn acquire<S, O, C>(&self, open: &O, waits: &mut Option<u64>) -> Option<Term<S>>
    where
        S: JobStore,
        O: Fn() -> C,
        C: Future<Output = Result<S, StoreError>>,
    {
        let renewed = Stopwatch::start();
        let asked = timeout(PATIENCE, self.leases.acquire(&self.name, &self.holder, self.settings.lease));
        let grant = match asked.await {
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
        let begun = async {
            let store = open().await?;
            let timeline = store.timeline().await?;
            let remembered = store.recall(&timeline).await?;
            Ok::<_, StoreError>((store, timeline, remembered))
        };
        let (store, timeline, remembered) = match timeout(PATIENCE, begun).await {
            Ok(Ok(begun)) => begun,
            Ok(Err(error)) => return self.no_term(&error),
            Err(_) => return self.no_term(&"no answer in time"),
        };
        let remembered = remembered.into_iter().map(|row| Remembered {
            key: row.incarnation,
            counter: row.beat,
            silent: Duration::from_millis(row.silent_ms),
        });
        let mut judge = Judge::new(self.settings.limits.clone(), remembered.collect());
        if self.settings.lift_brake {
            judge.lift_brake();
        }
        self.clerk.tell(&News::Elected { term: grant.held.term.number() });
        Some(Term {
            store,
            lease: grant.held,
            renewed,
            judge,
            roll: Roll::default(),
            timeline,
            run: None,
            braked: None,
            told: Vec::new(),
            over: false,
        })
    }

    /// The judge's own write, on the way that beats take. Without it a term ends by the judge's own clock.
    async fn renew<S>(&self, mut term: Term<S>) -> Option<Term<S>> {
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

    pub(super) fn fault(&self, problem: &dyn Display) {
        self.clerk.tell(&News::Fault { problem: problem.to_string() });
    }

    fn no_term<S>(&self, problem: &dyn Display) -> Option<Term<S>> {
        self.fault(problem);
        None
    }
}
