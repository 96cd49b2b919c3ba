//! `palisade pm2 restore`, `snapshot` and `snapshots`.

use std::time::Duration;

use palisade_core::snapshot::SnapshotId;
use palisade_core::{Code, Exit, Operation, Request, Scope, Selection, Snapshot};
use palisade_host::random;
use palisade_pipeline::{Resource as _, snapshots as store};
use palisade_pm2::Pm2;
use palisade_pm2::bundle::{Bundle, Bundles};
use serde_json::json;

use super::operate::{self, Conditions};
use crate::args::{Pm2Home, RestoreArgs};
use crate::failure::Failure;
use crate::output::{GOOD, Output, styled};
use crate::render::table;
use crate::session::Session;

pub(crate) async fn restore(session: &Session, output: Output, args: &RestoreArgs) -> Result<Exit, Failure> {
    let host = session.policy()?;
    if args.names.iter().any(String::is_empty) {
        return Err(
            Failure::usage("a process name is empty").hint("leave --name out to restore what is missing")
        );
    }
    let names = (!args.names.is_empty()).then(|| args.names.clone());
    let (pm2, now) = super::list::look(session, &args.daemon).await?;
    let source = match &args.snapshot {
        Some(id) => named(session, id)?,
        None => newest(session, &now, host.policy().limits.window)?,
    };
    output.talk(format_args!("from snapshot {} of {}", source.id.as_str(), source.taken_at));
    let bundle = bundle(&pm2, &source)?;
    let mut pm2 = pm2.restore_from(bundle);
    let request = Request {
        id: random::operation_id()?,
        operation: Operation::Restore,
        scope: Scope::of_restores(),
        selection: Selection::Missing { snapshot: source.id.clone(), names },
        carries: None,
        source: Some(source),
        tolerates_absence: false,
        confirmed: None,
        actor: session.actor()?,
    };
    let conditions = Conditions { wait: Duration::ZERO, dry_run: args.dry_run, expected: None };
    operate::finish(session, output, &host, &mut pm2, request, conditions).await
}

/// The restore bundle of a snapshot.
fn bundle(pm2: &Pm2, source: &Snapshot) -> Result<Bundle, Failure> {
    let id = source.id.as_str();
    let hash = source.bundle.as_ref().ok_or_else(|| {
        Failure::new(Exit::Failure, format!("snapshot {id} was taken without a restore bundle"))
            .code(Code::SnapshotMissing)
            .hint("choose another of `palisade pm2 snapshots`")
    })?;
    pm2.bundles().read(hash).map_err(|error| {
        Failure::new(Exit::Failure, format!("the restore bundle of snapshot {id} cannot be used: {error}"))
            .caused_by(&error)
            .code(Code::SnapshotMissing)
            .hint("choose another of `palisade pm2 snapshots`")
    })
}

/// The snapshot of that id.
pub(crate) fn named(session: &Session, id: &str) -> Result<Snapshot, Failure> {
    let id = SnapshotId::parse(id).ok_or_else(|| {
        Failure::usage(format!("{id:?} is not the id of a snapshot")).hint("see `palisade pm2 snapshots`")
    })?;
    Ok(store::load(&session.state.snapshots(), &id)?)
}

/// The newest snapshot of which something is missing and whose values are kept.
pub(crate) fn newest_with_a_loss(
    session: &Session,
    now: &Snapshot,
    window: Duration,
) -> Result<Option<Snapshot>, Failure> {
    let bundles = Bundles::new(session.state.bundles());
    let usable = |snapshot: &Snapshot| snapshot.bundle.as_ref().is_some_and(|hash| bundles.contains(hash));
    Ok(store::newest_with_a_loss(&session.state.snapshots(), now, window, usable)?)
}

/// The newest snapshot of which something is missing, else the newest: the judge says that nothing is.
fn newest(session: &Session, now: &Snapshot, window: Duration) -> Result<Snapshot, Failure> {
    let folder = session.state.snapshots();
    if let Some(snapshot) = newest_with_a_loss(session, now, window)? {
        return Ok(snapshot);
    }
    let id = store::list(&folder).pop().ok_or_else(|| {
        Failure::new(Exit::Failure, "no snapshot has been taken on this host")
            .code(Code::SnapshotMissing)
            .hint("every operation takes one; `palisade pm2 snapshot` takes one now")
    })?;
    Ok(store::load(&folder, &id)?)
}

/// Takes a snapshot with its restore bundle.
pub(crate) async fn take(session: &Session, output: Output, daemon: &Pm2Home) -> Result<Exit, Failure> {
    let (mut pm2, mut snapshot) = super::list::look(session, daemon).await?;
    let values = pm2.values(&snapshot);
    store::keep(&session.state.snapshots(), &mut snapshot, values)?;
    output.document(
        &json!({ "result": "taken", "snapshot": snapshot.id, "processes": snapshot.processes.len() }),
    )?;
    output.data(format_args!(
        "{} snapshot {} of {} processes",
        styled(GOOD, "took"),
        snapshot.id.as_str(),
        snapshot.processes.len()
    ))?;
    Ok(Exit::Done)
}

pub(crate) fn snapshots(session: &Session, output: Output) -> Result<Exit, Failure> {
    let folder = session.state.snapshots();
    let bundles = Bundles::new(session.state.bundles());
    let mut rows = Vec::new();
    let mut document = Vec::new();
    for id in store::list(&folder) {
        let snapshot = store::load(&folder, &id)?;
        let restorable = snapshot.bundle.as_ref().is_some_and(|bundle| bundles.contains(bundle));
        rows.push(vec![
            id.as_str().to_owned(),
            snapshot.taken_at.to_string(),
            snapshot.processes.len().to_string(),
            snapshot.daemon.home.clone(),
            if restorable { "yes".to_owned() } else { "no, its bundle was pruned".to_owned() },
        ]);
        document.push(json!({
            "snapshot": id,
            "taken_at": snapshot.taken_at,
            "processes": snapshot.processes.len(),
            "home": snapshot.daemon.home,
            "restorable": restorable,
        }));
    }
    output.document(&document)?;
    for line in table::columns(&["snapshot", "taken", "processes", "home", "restorable"], &rows) {
        output.data(line)?;
    }
    Ok(Exit::Done)
}
