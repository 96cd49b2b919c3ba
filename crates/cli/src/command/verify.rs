//! `palisade verify history`: what is recorded against what was promised.

use palisade_core::text::Shown;
use palisade_core::{Code, Exit};
use palisade_dbguard::history;
use palisade_jobs::history::{Audit, Auditor};
use palisade_jobs::store::Filter;
use palisade_jobs::{JobId, JobStore as _};
use palisade_store::Store;
use serde_json::json;

use crate::args::database::DatabaseArgs;
use crate::args::reaper::{ReaperStatusArgs, VerifyCommand};
use crate::command::db::reach;
use crate::command::store;
use crate::command::undo::guard_of;
use crate::failure::Failure;
use crate::output::{BAD, GOOD, Output, styled};
use crate::session::Session;

/// So many jobs are read at once.
const PAGE: u32 = 1_000;

pub(crate) async fn verify(output: Output, command: &VerifyCommand) -> Result<Exit, Failure> {
    let VerifyCommand::History(args) = command;
    match &args.table {
        Some(table) => of_table(output, &args.database, table).await,
        None => of_engine(output, args).await,
    }
}

async fn of_engine(output: Output, args: &ReaperStatusArgs) -> Result<Exit, Failure> {
    let session = Session::open()?;
    let named = super::reaper::engine::of_store(args.store.as_ref(), args.database.environment.as_ref());
    let store = store::open(&session, output, &named).await?;
    let audit = audit(&store).await?;
    let code = (!audit.broken.is_empty()).then_some(Code::HistoryBroken);
    output.document(&json!({ "store": store.place(), "audit": audit, "code": code }))?;
    for broken in &audit.broken {
        let event = broken.event.map(|event| format!(", event {event}")).unwrap_or_default();
        let promise = styled(BAD, broken.promise.as_str());
        output.data(format!("{promise} job {}{event}: {}", broken.job, Shown(&broken.said)))?;
    }
    let Audit { jobs, events, reaps, .. } = audit;
    if audit.broken.is_empty() {
        let said = format!("{jobs} jobs, {events} events and {reaps} reaps keep what was promised");
        output.data(format!("{} {said}", styled(GOOD, "ok:")))?;
        return Ok(Exit::Done);
    }
    output.talk(format!(
        "{} {} promises broken in {jobs} jobs, {events} events, {reaps} reaps",
        Code::HistoryBroken,
        audit.broken.len()
    ));
    Ok(Exit::VerificationFailed)
}

/// A job may end while it is looked at: what seems broken is looked at once more.
async fn audit(store: &Store) -> Result<Audit, Failure> {
    let misplaced = twice_misplaced(store).await?;
    let mut auditor = Auditor::default();
    store.doubled().await?.iter().for_each(|doubled| auditor.doubled(doubled));
    let mut after = None;
    loop {
        let page = store.jobs(&Filter { after, most: PAGE, ..Filter::default() }).await?;
        let Some(last) = page.last() else { return Ok(auditor.end_of_all()) };
        after = Some(last.id);
        for job in page {
            let places = misplaced.iter().find(|(id, _)| *id == job.id).map_or(1, |(_, places)| *places);
            let events = store.events(job.id).await?;
            if !auditor.look(&job, &events, places) {
                continue;
            }
            // Its state was read before its events.
            if let Some(now) = store.job(job.id).await? {
                auditor.look_again(&now, &store.events(job.id).await?, places);
            }
        }
    }
}

/// Out of place in two looks: in one it may have been on its way.
async fn twice_misplaced(store: &Store) -> Result<Vec<(JobId, u64)>, Failure> {
    let first = store.misplaced().await?;
    if first.is_empty() {
        return Ok(first);
    }
    let second = store.misplaced().await?;
    Ok(first.into_iter().filter(|one| second.contains(one)).collect())
}

async fn of_table(output: Output, database: &DatabaseArgs, table: &str) -> Result<Exit, Failure> {
    let (session, _) = reach(output, None, database).await?;
    let (table, guard) = guard_of(&session, table).await?;
    let exits = history::exits(&session, &guard).await?;
    let rule = i64::try_from(guard.rules.min_age.as_millis()).unwrap_or(i64::MAX);
    let broken = history::check(&exits, rule);
    output.document(&json!({ "table": table.shown(), "exits": exits.len(), "broken": broken }))?;
    for one in &broken {
        output.data(format!(
            "{} {} job {}: {}",
            styled(BAD, one.property),
            one.at,
            Shown(&one.key),
            Shown(&one.said)
        ))?;
    }
    if broken.is_empty() {
        output.data(format!("{} {} exits keep what was promised", styled(GOOD, "ok:"), exits.len()))?;
        return Ok(Exit::Done);
    }
    Ok(Exit::VerificationFailed)
}
