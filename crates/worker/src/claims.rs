//! What the store has as a worker's, beside what runs in it.
//!
//! They differ where the answer to a claim was lost, and after a store was restored from a backup: it has claims again that
//! were given back since, and does not know those that were made since.

use std::collections::BTreeSet;
use std::sync::Arc;

use palisade_jobs::store::HeldClaim;
use palisade_jobs::{Error, Finish, Incarnation, JobId, JobStore, Order, Token};

use crate::hold::{Hold, Stop};
use crate::holds::Holding;

/// Far more than a worker can hold: what it holds is looked at whole.
const MOST: u32 = 100_000;

/// Gives back what the worker does not work on, for its beats would keep that for ever, and ends what the store does not
/// know. Gives what went back.
pub(crate) async fn settle<S: JobStore>(
    store: &S,
    who: &Incarnation,
    holding: &Holding,
) -> Result<Vec<(JobId, Token)>, Error> {
    // Before the store is asked: what ends meanwhile is taken out here, and may still be in the answer.
    let held = holding.all();
    let claims = store.claims_of(who, MOST).await?;
    unknown(&claims, &held).for_each(|hold| hold.stop(Stop::Spent));
    let held: BTreeSet<Token> = held.iter().map(|hold| hold.token).collect();
    let idle = claims.iter().filter(|claim| !held.contains(&claim.token));
    let back: Vec<(JobId, Token)> = idle.map(|claim| (claim.job, claim.token)).collect();
    if !back.is_empty() {
        let drain = |&(job, token): &(JobId, Token)| Finish { job, token, order: Order::Drain };
        store.finish(&back.iter().map(drain).collect::<Vec<_>>()).await?;
    }
    Ok(back)
}

/// What is worked on here and is no claim of the store's. One whose end is being written may just have become so.
fn unknown<'a>(claims: &[HeldClaim], holds: &'a [Arc<Hold>]) -> impl Iterator<Item = &'a Arc<Hold>> {
    let whole = claims.len() < MOST as usize;
    let known: BTreeSet<Token> = claims.iter().map(|claim| claim.token).collect();
    holds.iter().filter(move |hold| whole && !known.contains(&hold.token) && !hold.is_ended())
}
