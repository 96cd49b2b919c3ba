//! Bringing processes back, and what differs then.

use std::collections::BTreeMap;

use palisade_core::outcome::{TargetOutcome, TargetResult};
use palisade_core::plan::Target;
use palisade_core::process::Pin;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::execute::{outcome, result_of};
use super::{Pm2, QUESTION_DEADLINE, Seen};
use crate::bundle::{Bundle, Kept};
use palisade_core::verification::{Drift, DriftKind};

use crate::client::{Answer, Reply};
use crate::list::Listing;
use crate::methods::Call;
use crate::restore::{FieldDifference, configuration, differences};

/// One process that was brought back.
struct Restored {
    /// What it is now.
    pin: Pin,
    /// How it differs from what was kept; empty is as it should be.
    differences: Vec<FieldDifference>,
}

impl Pm2 {
    /// Where what the last restore brought back differs from its bundle, or is not there.
    pub(super) fn restored_drift(&self, listing: &Listing) -> Vec<Drift> {
        let compared = self.compared(listing).into_iter();
        compared
            .flat_map(|Restored { pin, differences }| {
                differences.into_iter().map(move |difference| Drift {
                    kind: DriftKind::RestoreDiffers,
                    name: pin.name.clone(),
                    pm_id: pin.pm_id,
                    message: difference.to_string(),
                })
            })
            .collect()
    }

    fn compared(&self, listing: &Listing) -> Vec<Restored> {
        let compare = |(new, old): &(Pin, Pin)| {
            let kept = self.source.as_ref().and_then(|bundle| bundle.find(old));
            let listed = listing.by_pm_id(new.pm_id);
            let entry = |raw: &serde_json::value::RawValue| -> Map<String, Value> {
                serde_json::from_str(raw.get()).unwrap_or_default()
            };
            let then = kept.map(|kept| entry(kept.secret_configuration())).unwrap_or_default();
            let now = listed.map(|listed| entry(listed.secret_configuration())).unwrap_or_default();
            Restored { pin: new.clone(), differences: differences(&then, &now) }
        };
        self.restored.iter().map(compare).collect()
    }
}

/// Starts each target from the bundle, one after another so that they get their numbers in the plan's order. The
/// pins of those that are done are the new ones.
pub(super) async fn bring_back(pm2: &mut Pm2, seen: &mut Seen, targets: &[&Target]) -> Vec<TargetOutcome> {
    let Some(bundle) = &pm2.source else {
        let failed = || TargetResult::Failed("no restore bundle was given".to_owned());
        return targets.iter().map(|target| outcome(target, failed())).collect();
    };
    let mut room = room(bundle, &seen.listing);
    let (mut outcomes, mut restored) = (Vec::new(), Vec::new());
    for target in targets {
        let prepared = match prepared(bundle, &target.pin, &mut room) {
            Ok(configuration) => Call::prepare(configuration),
            Err(result) => {
                outcomes.push(outcome(target, result));
                continue;
            }
        };
        let answer = seen.client.call(&prepared, QUESTION_DEADLINE.saturating_mul(4)).await;
        let (pin, result) = match &answer {
            Answer::Done(reply) => started(reply, &target.pin),
            Answer::Refused(_) | Answer::NoReply(_) | Answer::NotSent(_) => {
                (target.pin.clone(), result_of(&answer))
            }
        };
        if result == TargetResult::Done {
            restored.push((pin.clone(), target.pin.clone()));
        }
        outcomes.push(TargetOutcome { pin, result });
    }
    pm2.restored.extend(restored);
    outcomes
}

/// How many instances of each name the bundle has and the daemon lacks: somebody else may have started some
/// since the plan was drawn.
fn room<'a>(bundle: &'a Bundle, listing: &Listing) -> BTreeMap<&'a str, usize> {
    let mut room = BTreeMap::new();
    for kept in bundle.processes() {
        *room.entry(kept.pin.name.as_str()).or_default() += 1;
    }
    for (name, count) in &mut room {
        let present = listing.entries.iter().filter(|entry| entry.process.pin.name == *name).count();
        *count = usize::saturating_sub(*count, present);
    }
    room
}

fn prepared(
    bundle: &Bundle,
    pin: &Pin,
    room: &mut BTreeMap<&str, usize>,
) -> Result<Map<String, Value>, TargetResult> {
    let kept: &Kept = bundle
        .find(pin)
        .ok_or_else(|| TargetResult::Failed("the restore bundle does not hold it".to_owned()))?;
    match room.get_mut(pin.name.as_str()) {
        Some(left) if *left > 0 => *left -= 1,
        Some(_) | None => return Err(TargetResult::Changed("it is on the daemon again".to_owned())),
    }
    configuration(kept).map_err(|error| TargetResult::Failed(error.to_string()))
}

#[derive(Deserialize)]
struct Started {
    pm2_env: NewPin,
}

#[derive(Deserialize)]
struct NewPin {
    pm_id: u32,
    unique_id: String,
}

/// The new pin, from the daemon's answer: a list with the one instance that was started.
fn started(reply: &Reply, old: &Pin) -> (Pin, TargetResult) {
    match reply.read::<Vec<Started>>().as_deref() {
        Ok([Started { pm2_env }]) => {
            let pin = Pin {
                pm_id: pm2_env.pm_id,
                name: old.name.clone(),
                unique_id: pm2_env.unique_id.clone(),
                process: None,
            };
            (pin, TargetResult::Done)
        }
        Ok(other) => {
            let reason = format!("PM2 says that it started {} instances of it", other.len());
            (old.clone(), TargetResult::Unknown(reason))
        }
        Err(_) => (old.clone(), TargetResult::Unknown("PM2's answer names no process".to_owned())),
    }
}
