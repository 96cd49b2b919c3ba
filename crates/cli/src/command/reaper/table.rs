//! The reaper of a guarded table.

use std::path::Path;
use std::time::Duration;

use palisade_core::Exit;
use palisade_core::text::Shown;
use palisade_dbguard::proof::AppKey;
use palisade_dbguard::reap;
use palisade_dbguard::reaper::{Jobs, Settings, name_of};
use palisade_lease::{InvalidName, LeaseStore as _, Ttl};
use palisade_postgres::Identity;
use palisade_store::lease::PostgresLeases;
use serde_json::json;

use super::clerk::ForPeople;
use super::engine::of_store;
use super::{holder, limits, until_told};
use crate::args::database::DatabaseArgs;
use crate::args::reaper::RunArgs;
use crate::command::db::{reach, reach_to_write, target};
use crate::command::identity::{read, unusable};
use crate::command::store;
use crate::command::undo::guard_of;
use crate::failure::Failure;
use crate::output::Output;
use crate::session::Session as Host;

/// The schema in which a guard keeps its leases.
const SCHEMA: &str = "palisade";

/// Sits until it is told to end.
pub(super) async fn run(output: Output, args: &RunArgs, table: &str) -> Result<Exit, Failure> {
    if args.requeue_to.is_none() && !args.dry_run {
        let hint = "give --requeue-to STATE, or --dry-run to look only";
        return Err(Failure::usage("to which state is a reaped job of this table given back?").hint(hint));
    }
    let (session, identity) = reach_to_write(output, &args.database).await?;
    let host = Host::open()?;
    let key = args.key_file.as_deref().map(|path| key_for(path, &identity)).transpose()?;
    let target = target(output, args.database.database.as_deref())?;
    let judged = judged(&host, args, table, key)?;
    let mut jobs = Jobs::find(target.clone(), session, &identity, judged).await?;
    if let Err(error) = jobs.prepare().await {
        output.talk(format!("each term begins from nothing: {error}"));
    }
    if jobs.is_observed() && !args.dry_run {
        output.talk("the guard is in observe: what would be reaped is told, and nothing is reaped");
    }
    let settings = palisade_reaper::Settings {
        limits: limits(&args.judge, Duration::ZERO)?,
        name: name_of(jobs.table()).map_err(nameless)?,
        lease: Ttl::new(args.judge.lease).map_err(|error| Failure::usage(error.to_string()))?,
        dry: args.dry_run,
        lift_brake: args.judge.lift_brake,
    };
    let clerk = ForPeople::new(output, &host, jobs.to_string(), false);
    let leases = PostgresLeases::new(target, SCHEMA);
    let sat = palisade_reaper::sit(settings, &mut jobs, &leases, &clerk, until_told()?).await;
    sat.map_err(|error| Failure::new(Exit::Failure, error.to_string()).caused_by(&error))?;
    output.talk("ended; the lease is free");
    Ok(Exit::Done)
}

/// A key of this database: with another one every reap would be refused.
fn key_for(path: &Path, identity: &Identity) -> Result<AppKey, Failure> {
    let key = read(path)?;
    match key.database == identity.id {
        true => Ok(key),
        false => {
            Err(unusable(path, &format!("is for database {}, and this is {}", key.database, identity.id)))
        }
    }
}

/// Who judges: as its key says, else as the variables do.
fn judged(host: &Host, args: &RunArgs, table: &str, key: Option<AppKey>) -> Result<Settings, Failure> {
    let (_, mut by) = store::note(host, &of_store(None, args.database.environment.as_ref()))?;
    if let Some(key) = &key {
        (by.app, by.environment) = (Some(key.app.clone()), Some(key.environment.clone()));
    }
    Ok(Settings {
        table: table.to_owned(),
        reap_after: args.reap_after,
        beat_every: args.beat_every,
        to: args.requeue_to.clone(),
        key,
        by,
    })
}

fn nameless(error: InvalidName) -> Failure {
    Failure::usage(error.to_string())
}

/// Who the reaper is, and how many run.
pub(super) async fn status(output: Output, database: &DatabaseArgs, table: &str) -> Result<Exit, Failure> {
    let (session, _) = reach(output, None, database).await?;
    let (table, guard) = guard_of(&session, table).await?;
    let columns = reap::columns(&guard, &table)?;
    let look = reap::look(&session, &guard, &table, &columns).await?;
    let leases = PostgresLeases::new(target(output, database.database.as_deref())?, SCHEMA);
    let lease = leases.show(&name_of(&table).map_err(nameless)?).await?;
    let after = humantime::format_duration(guard.rules.min_age).to_string();
    output.document(&json!({
        "table": table.shown(), "running": look.running.len(), "reap_after": after, "policy": look.policy,
        "lease": lease,
    }))?;
    output.data(format!(
        "{}: {} running, reaped after {after}",
        Shown(&table.shown()),
        look.running.len()
    ))?;
    output.data(format!("reaper: {}", holder(lease.as_ref())))?;
    Ok(Exit::Done)
}
