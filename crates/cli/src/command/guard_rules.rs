//! From the words of `palisade guard install table` and a library's profile to columns and rules.

use std::time::Duration;

use palisade_dbguard::columns::{CLAIMED, Elsewhere};
use palisade_dbguard::profile::Profile;
use palisade_dbguard::script::Named;
use palisade_dbguard::{Rules, Table};
use palisade_postgres::Session;

use crate::args::guard_table::InstallTable;
use crate::failure::Failure;

const MIN_AGE: Duration = Duration::from_secs(3600);
const QUIET_AFTER: Duration = Duration::from_secs(120);

/// What was typed, and for the rest what the profile knows. `None` where neither names the columns.
pub(crate) async fn chosen(
    session: &Session,
    args: &InstallTable,
    table: &Table,
) -> Result<Option<(Named, Rules)>, Failure> {
    let profile = args.profile.as_deref().and_then(Profile::named);
    let typed = args.status.clone().or_else(|| args.claimed.clone());
    let Some(status) = typed.or_else(|| profile.map(|profile| profile.status.to_owned())) else {
        return Ok(None);
    };
    let beat = args.heartbeat.clone();
    let Some(beat) = beat.or_else(|| profile.map(|profile| profile.beat(table).to_owned())) else {
        return Ok(None);
    };
    let there = match &args.heartbeat {
        Some(_) => args.heartbeat_in.clone(),
        None => profile.and_then(|profile| profile.elsewhere(table)),
    };
    let elsewhere = match there {
        Some(there) => Some(Elsewhere::find(session, &there).await?),
        None => None,
    };
    let claimed = match (&args.status, &args.claimed) {
        (None, None) => profile.is_some_and(|profile| profile.claimed),
        (_, claimed) => claimed.is_some(),
    };
    let named = Named {
        status,
        claimed,
        beat,
        elsewhere,
        key: args.key.clone(),
        own: list(&args.own_changes, profile.map(|profile| profile.own_columns)),
        reason: args
            .reason_column
            .clone()
            .or_else(|| profile.and_then(|profile| profile.reason).map(str::to_owned)),
        mark: args.user_mark.as_ref().map(|(column, _)| column.clone()),
    };
    Ok(Some((named, rules(args, profile, claimed))))
}

fn rules(args: &InstallTable, profile: Option<&Profile>, claimed: bool) -> Rules {
    let running = match claimed {
        true => vec![CLAIMED.to_owned()],
        false => list(&args.running, profile.map(|profile| profile.running)),
    };
    Rules {
        mode: args.mode.into(),
        running,
        done: list(&args.done, profile.map(|profile| profile.done)),
        own: list(&args.own, profile.map(|profile| profile.own)),
        min_age: args.min_age.unwrap_or_else(|| profile.map_or(MIN_AGE, Profile::min_age)),
        quiet_after: args.quiet_after.unwrap_or_else(|| profile.map_or(QUIET_AFTER, Profile::quiet_after)),
        clock_skew: args.clock_skew,
        reason: args.reason.clone(),
        mark: args.user_mark.as_ref().map(|(_, pattern)| pattern.clone()),
        budget: args.budget,
    }
}

/// What was typed, or else what is known.
fn list(typed: &[String], known: Option<&[&str]>) -> Vec<String> {
    match (typed, known) {
        ([], Some(known)) => known.iter().map(|&name| name.to_owned()).collect(),
        (typed, _) => typed.to_vec(),
    }
}
