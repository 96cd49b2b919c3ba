//! Carrying out a plan, batch by batch.
//!
//! Before each batch the list is asked for, over the connection that identified the daemon where it still lives.
//! Within a batch everything goes side
//! by side, for a daemon takes at least 100 ms to end a process however it is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use palisade_core::Plan;
use palisade_core::ablation::{self, Check};
use palisade_core::outcome::{TargetOutcome, TargetResult};
use palisade_core::plan::Target;
use palisade_core::process::Pin;
use palisade_core::request::Operation;
use palisade_core::text::escaped;
use serde_json::{Map, Value};

use super::{Pm2, Seen, restored};
use crate::client::{Answer, Client, IN_FLIGHT, Lost};
use crate::list::{Listed, Listing, UNIQUE_ID};
use crate::methods::{Call, CarriedEnv, Watched};

/// What a batch may take beside the time that its processes have to end and come up.
const ACT_DEADLINE: Duration = Duration::from_secs(10);

/// One outcome for each target, in the plan's order.
pub(super) async fn execute(pm2: &mut Pm2, plan: &Plan) -> Vec<TargetOutcome> {
    let mut results: Vec<Option<TargetOutcome>> = plan.targets.iter().map(|_| None).collect();
    pm2.restored.clear();
    for batch in batches(plan) {
        let targets: Vec<&Target> = batch.iter().map(|place| &plan.targets[*place]).collect();
        let outcomes = match look(pm2, plan).await {
            Ok(mut seen) => {
                let outcomes = match plan.operation {
                    Operation::Restore => restored::bring_back(pm2, &mut seen, &targets).await,
                    Operation::Delete | Operation::Stop | Operation::Restart | Operation::Reload => {
                        act(pm2, &mut seen, plan, &targets).await
                    }
                };
                pm2.open = Some((seen.client, seen.daemon));
                outcomes
            }
            Err(result) => targets.iter().map(|target| outcome(target, result.clone())).collect(),
        };
        for (place, outcome) in batch.into_iter().zip(outcomes) {
            results[place] = Some(outcome);
        }
    }
    let left_out = || TargetResult::Failed("it was in no batch".to_owned());
    let fill = |(result, target): (Option<TargetOutcome>, &Target)| {
        result.unwrap_or_else(|| outcome(target, left_out()))
    };
    results.into_iter().zip(&plan.targets).map(fill).collect()
}

pub(super) fn outcome(target: &Target, result: TargetResult) -> TargetOutcome {
    TargetOutcome { pin: target.pin.clone(), result }
}

/// Places of targets in `plan.targets`, at most [`IN_FLIGHT`] at once. A reload takes one instance of each app at
/// a time, for an app whose instances are all replaced at once is down for that moment.
fn batches(plan: &Plan) -> Vec<Vec<usize>> {
    let all: Vec<usize> = (0..plan.targets.len()).collect();
    if plan.operation != Operation::Reload {
        return all.chunks(IN_FLIGHT).map(<[usize]>::to_vec).collect();
    }
    let mut rounds = Vec::<Vec<usize>>::new();
    let mut taken = BTreeMap::<&str, usize>::new();
    for place in all {
        let round = taken.entry(&plan.targets[place].pin.name).or_default();
        if rounds.len() == *round {
            rounds.push(Vec::new());
        }
        rounds[*round].push(place);
        *round += 1;
    }
    rounds.iter().flat_map(|round| round.chunks(IN_FLIGHT).map(<[usize]>::to_vec)).collect()
}

/// The daemon and its list, right before a batch. Anything else than the plan's daemon changes nothing.
async fn look(pm2: &mut Pm2, plan: &Plan) -> Result<Seen, TargetResult> {
    let failed = |fault: palisade_pipeline::Fault| TargetResult::Failed(fault.message);
    let seen = pm2.look(None).await.map_err(failed)?;
    if !ablation::is_off(Check::DaemonPin) && !seen.daemon.is_same_daemon(&plan.daemon) {
        return Err(TargetResult::Changed(format!(
            "the daemon was pid {} and is pid {}",
            plan.daemon.process.pid, seen.daemon.process.pid
        )));
    }
    Ok(seen)
}

async fn act(pm2: &Pm2, seen: &mut Seen, plan: &Plan, targets: &[&Target]) -> Vec<TargetOutcome> {
    let mut results: Vec<Option<TargetResult>> =
        targets.iter().map(|target| changed(&target.pin, &seen.listing).map(TargetResult::Changed)).collect();
    let deadline = ACT_DEADLINE.saturating_add(patience(&seen.listing, targets));
    if let Some(before) = watched_by(plan.operation) {
        let call = |listed: Option<&Listed>, target: &Target| {
            let watch = listed.is_none_or(|listed| listed.process.watch);
            watch.then(|| Call::stop_watch(before, target.pin.pm_id))
        };
        // A watch that ended is a step on the way and no result; one that did not end bars the act.
        let refused = step(seen, targets, &results, deadline, call).await;
        for (place, result) in refused {
            if result != TargetResult::Done {
                results[place] = Some(result);
            }
        }
    }
    let carried = if plan.carries_variables { pm2.carried.clone() } else { CarriedEnv::new() };
    let call = |listed: Option<&Listed>, target: &Target| {
        let id = target.pin.pm_id;
        let env = || listed.map_or_else(CarriedEnv::new, |listed| carriable(&carried, listed));
        match plan.operation {
            Operation::Delete => Some(Call::delete(id)),
            Operation::Stop => Some(Call::stop(id)),
            Operation::Restart => Some(Call::restart(id, &env())),
            Operation::Reload => Some(Call::reload(id, &env())),
            Operation::Restore => None,
        }
    };
    for (place, result) in step(seen, targets, &results, deadline, call).await {
        results[place] = Some(result);
    }
    let left = || TargetResult::Failed("nothing was sent for it".to_owned());
    targets.iter().zip(results).map(|(target, result)| outcome(target, result.unwrap_or_else(left))).collect()
}

/// Sends one call for each target that has no result yet, side by side; gives the places and what came of them.
async fn step(
    seen: &mut Seen,
    targets: &[&Target],
    results: &[Option<TargetResult>],
    deadline: Duration,
    call: impl Fn(Option<&Listed>, &Target) -> Option<Call>,
) -> Vec<(usize, TargetResult)> {
    let Seen { client, listing, .. } = seen;
    let open = (0..targets.len()).filter(|place| results[*place].is_none());
    let calls = open.filter_map(|place| {
        let target = targets[place];
        Some((place, call(listing.by_pm_id(target.pin.pm_id), target)?))
    });
    let (places, calls): (Vec<usize>, Vec<Call>) = calls.unzip();
    let answers = send(client, &calls, deadline).await;
    places.into_iter().zip(answers).collect()
}

async fn send(client: &mut Client, calls: &[Call], deadline: Duration) -> Vec<TargetResult> {
    client.batch(calls, deadline).await.iter().map(result_of).collect()
}

/// What an answer says of a target.
pub(super) fn result_of(answer: &Answer) -> TargetResult {
    match answer {
        Answer::Done(_) => TargetResult::Done,
        Answer::Refused(message) => TargetResult::Failed(escaped(message).into_owned()),
        Answer::NotSent(lost) => TargetResult::Failed(format!("not sent: {}", reason(lost))),
        Answer::NoReply(lost) => TargetResult::Unknown(format!("sent, and then: {}", reason(lost))),
    }
}

fn reason(lost: &Lost) -> String {
    escaped(&lost.to_string()).into_owned()
}

const fn watched_by(operation: Operation) -> Option<Watched> {
    match operation {
        Operation::Delete => Some(Watched::Delete),
        Operation::Stop => Some(Watched::Stop),
        Operation::Restart | Operation::Reload | Operation::Restore => None,
    }
}

/// Why the process that `pin` names is no longer there, or `None` if it is.
fn changed(pin: &Pin, listing: &Listing) -> Option<String> {
    if ablation::is_off(Check::TargetPin) {
        return None;
    }
    let Some(now) = listing.by_pm_id(pin.pm_id).map(|entry| &entry.process.pin) else {
        return Some(format!("PM2's list has no process {} any more", pin.pm_id));
    };
    if now.name != pin.name {
        return Some(format!("PM2's number {} is {} now", pin.pm_id, escaped(&now.name)));
    }
    if now.unique_id != pin.unique_id {
        return Some("it was deleted and started again: it has another unique_id".to_owned());
    }
    let pid =
        |pin: &Pin| pin.process.map_or_else(|| "not running".to_owned(), |at| format!("pid {}", at.pid));
    (now.process != pin.process).then(|| format!("it was {} and is {}", pid(pin), pid(now)))
}

/// The longest time that one of the targets may take by its settings.
fn patience(listing: &Listing, targets: &[&Target]) -> Duration {
    let ids: BTreeSet<u32> = targets.iter().map(|target| target.pin.pm_id).collect();
    let theirs = listing.entries.iter().filter(|entry| ids.contains(&entry.process.pin.pm_id));
    theirs.map(|entry| entry.patience).max().unwrap_or_default()
}

/// The variables of `carried` that do not change PM2's own settings of `listed`.
///
/// What a restart carries is written over the entry itself, so a variable called `kill_timeout` or `status` would
/// be taken for PM2's own.
fn carriable(carried: &CarriedEnv, listed: &Listed) -> CarriedEnv {
    let entry: Map<String, Value> =
        serde_json::from_str(listed.secret_configuration().get()).unwrap_or_default();
    let variables = entry.get("env").and_then(Value::as_object);
    let is_variable = |name: &str| variables.is_some_and(|variables| variables.contains_key(name));
    let is_setting =
        |name: &str| SETTINGS.contains(&name) || (entry.contains_key(name) && !is_variable(name));
    carried
        .iter()
        .filter(|(name, _)| !is_setting(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// PM2's own names that an entry may lack until they are set.
const SETTINGS: [&str; 16] = [
    UNIQUE_ID,
    "current_conf",
    "env",
    "id",
    "pm_id",
    "name",
    "namespace",
    "status",
    "instances",
    "watch",
    "args",
    "cron_restart",
    "max_memory_restart",
    "kill_timeout",
    "uid",
    "gid",
];
