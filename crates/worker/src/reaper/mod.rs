//! The reaper of a store: elected, one at a time, beside workers or on its own.
//!
//! [`sit`] is the loop of [`palisade_reaper`] over [`Workers`]: their beats, and the jobs that they hold. It has a store
//! of its own, so that no worker waits for it and no beat does.

mod workers;

use std::fmt::Display;

use palisade_host::{clock, files, process};
use palisade_jobs::reaper::{Limits, Place};
use palisade_jobs::store::REAPER;
use palisade_jobs::{Error as StoreError, JobStore, Note};
use palisade_lease::{LeaseStore, Name, Ttl};
use palisade_reaper::Clerk;

pub use workers::Workers;

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
    /// The boot of this machine cannot be told.
    #[error("the boot of this machine cannot be told")]
    Boot(#[from] files::Error),
    /// It cannot stand for election.
    #[error(transparent)]
    Reaper(#[from] palisade_reaper::Error),
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
    O: Fn() -> C + Send,
    C: Future<Output = Result<S, StoreError>> + Send,
    L: LeaseStore,
    L::Error: Display,
    K: Clerk,
{
    let Settings { limits, lease, by, dry, lift_brake } = settings;
    let place = Place {
        machine_id: by.machine_id.clone(),
        boot_id: clock::boot_id()?,
        pid_space: process::number_space(),
    };
    let mut workers = Workers::new(open, limits.clone(), place, by);
    let name = Name::new(REAPER).map_err(palisade_reaper::Error::from)?;
    let settings = palisade_reaper::Settings { limits, name, lease, dry, lift_brake };
    Ok(palisade_reaper::sit(settings, &mut workers, leases, clerk, end).await?)
}
