//! The reaper of the job engine: on its own, and as a part of `palisade worker`.

use std::time::Duration;

use palisade_core::policy::Mode;
use palisade_core::text::Shown;
use palisade_core::{EnvironmentName, Exit};
use palisade_jobs::store::{REAPER, Silent};
use palisade_jobs::{JobStore as _, Note};
use palisade_lease::{LeaseStore as _, Name, Ttl};
use palisade_reaper::{Clerk as _, News};
use palisade_store::Store;
use palisade_store::lease::Leases;
use palisade_worker::reaper::{Settings, sit};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::clerk::ForPeople;
use super::{holder, limits, until_told};
use crate::args::job::StoreArgs;
use crate::args::reaper::{JudgeArgs, ReaperStatusArgs, RunArgs};
use crate::command::{queue, store};
use crate::failure::Failure;
use crate::output::Output;
use crate::render::table;
use crate::session::Session;

/// A store that is not there yet is looked for so often.
const AGAIN: Duration = Duration::from_secs(2);

/// Sits until it is told to end.
pub(super) async fn run(output: Output, args: &RunArgs) -> Result<Exit, Failure> {
    if args.database.database.is_some() || args.database.expect.is_some() {
        let hint = "without --table the store of the job engine is named: --store URL";
        return Err(Failure::usage("--database and --expect belong to a guarded table").hint(hint));
    }
    let session = Session::open()?;
    let args_of_store = of_store(args.store.as_ref(), args.database.environment.as_ref());
    let (_, by) = store::note(&session, &args_of_store)?;
    let url = store::url(&session, output, &args_of_store)?;
    let settings = settings(&session, &args.judge, args.reap_after, by, args.dry_run)?;
    let store = store::open(&session, output, &args_of_store).await?;
    queue::check_floor(&store, output, args.reap_after).await?;
    let clerk = ForPeople::new(output, &session, store.place(), false);
    if settings.dry && !args.dry_run {
        output.talk(
            "the policy of this host is in observe: what would be reaped is told, and nothing is reaped",
        );
    }
    let stamp = args_of_store.environment.clone().or(settings.by.environment.clone());
    let open = opener(url.clone(), stamp);
    let leases = Leases::of(&url)?;
    drop(store);
    sit(settings, open, &leases, &clerk, until_told()?).await.map_err(failed)?;
    output.talk("ended; the lease is free");
    Ok(Exit::Done)
}

/// Beside a worker, until `end`: waits for the store, then for the lease.
pub(crate) async fn beside(
    settings: Settings,
    url: String,
    clerk: &ForPeople<'_>,
    end: impl Future<Output = ()>,
) {
    let open = opener(url.clone(), settings.by.environment.clone());
    let mut end = std::pin::pin!(end);
    let leases = loop {
        // Opening the store makes the table of its leases.
        let opened = tokio::select! { opened = open() => opened, () = &mut end => return };
        let problem = match opened {
            Ok(_) => match Leases::of(&url) {
                Ok(leases) => break leases,
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        clerk.tell(&News::Fault { problem });
        tokio::select! { () = sleep(AGAIN) => {}, () = &mut end => return }
    };
    if let Err(error) = sit(settings, open, &leases, clerk, end).await {
        clerk.tell(&News::Fault { problem: error.to_string() });
    }
}

fn opener(
    url: String,
    stamp: Option<EnvironmentName>,
) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = Result<Store, palisade_jobs::Error>> + Send>> {
    move || {
        let (url, stamp) = (url.clone(), stamp.clone());
        Box::pin(async move { Store::open_as(&url, stamp.as_ref().map(EnvironmentName::as_str)).await })
    }
}

/// What a reaper does, from flags. It only looks where that was said, or where the host's policy observes.
pub(crate) fn settings(
    session: &Session,
    args: &JudgeArgs,
    reap_after: Option<Duration>,
    by: Note,
    dry: bool,
) -> Result<Settings, Failure> {
    let observes = session.policy_unless_absent()?.is_some_and(|policy| {
        let environment = by.environment.as_ref().and_then(|name| policy.environments.get(name));
        environment.is_some_and(|environment| environment.mode == Mode::Observe)
    });
    Ok(Settings {
        limits: limits(args, reap_after.unwrap_or_default())?,
        lease: Ttl::new(args.lease).map_err(|error| Failure::usage(error.to_string()))?,
        by,
        dry: dry || observes,
        lift_brake: args.lift_brake,
    })
}

pub(crate) fn of_store(store: Option<&String>, environment: Option<&EnvironmentName>) -> StoreArgs {
    StoreArgs { store: store.cloned(), environment: environment.cloned() }
}

fn failed(error: palisade_worker::reaper::Error) -> Failure {
    Failure::new(Exit::Failure, error.to_string()).caused_by(&error)
}

/// Who the reaper is, and who is silent.
pub(super) async fn status(output: Output, args: &ReaperStatusArgs) -> Result<Exit, Failure> {
    let session = Session::open()?;
    let args_of_store = of_store(args.store.as_ref(), args.database.environment.as_ref());
    let store = store::open(&session, output, &args_of_store).await?;
    let leases = Leases::of(&store::url(&session, output, &args_of_store)?)?;
    let name = Name::new(REAPER).map_err(|error| Failure::usage(error.to_string()))?;
    let lease = leases.show(&name).await?;
    let beats = store.beats().await?;
    let silent = store.recall(&store.timeline().await?).await?;
    let still = |row: &&Silent| beats.workers.contains(&(row.incarnation.clone(), row.beat));
    let silent: Vec<&Silent> = silent.iter().filter(still).collect();
    let who: Vec<_> = silent.iter().map(|row| row.incarnation.clone()).collect();
    let held = store.holders(&who).await?;
    let of = |row: &Silent| held.iter().find(|held| held.worker.incarnation == row.incarnation);
    let document: Vec<Value> = silent
        .iter()
        .map(|row| {
            let held = of(row);
            json!({
                "incarnation": row.incarnation, "beat": row.beat, "silent_ms": row.silent_ms,
                "worker": held.map(|held| &held.worker), "jobs": held.map(|held| held.jobs),
                "reap_after_ms": held.and_then(|held| held.least).map(|least| least.reap_after_ms),
            })
        })
        .collect();
    output.document(&json!({
        "store": store.place(), "lease": lease, "workers": beats.workers.len(), "silent": document,
    }))?;
    output.data(format!("reaper of {}: {}", store.place(), holder(lease.as_ref())))?;
    output.data(format!("{} workers, {} of them silent", beats.workers.len(), silent.len()))?;
    let span = |ms: u64| humantime::format_duration(Duration::from_millis(ms)).to_string();
    let row = |row: &&Silent| {
        let held = of(row)?;
        let by = &held.worker.by;
        let after = held.least.map(|least| span(least.reap_after_ms)).unwrap_or_default();
        let place = format!("{}, pid {}", Shown(&by.host), by.pid);
        Some(vec![
            Shown(&held.worker.name).to_string(),
            place,
            held.jobs.to_string(),
            span(row.silent_ms),
            after,
        ])
    };
    let rows: Vec<_> = silent.iter().filter_map(row).collect();
    if !rows.is_empty() {
        for line in table::columns(&["worker", "on", "jobs", "silent", "reaped after"], &rows) {
            output.data(line)?;
        }
    }
    Ok(Exit::Done)
}
