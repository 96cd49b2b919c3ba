//! `palisade pm2 restore`, `snapshot` and `snapshots`.

use std::time::Duration;

use palisade_core::snapshot::SnapshotId;
use palisade_core::{Exit, Operation, Request, Scope, Selection};
use palisade_host::random;
use palisade_pipeline::{Resource as _, snapshots as store};
use palisade_pm2::bundle::Bundles;
use palisade_pm2::restore::Source;
use serde_json::json;

use super::hand_over;
use super::operate::{self, Conditions};
use crate::args::Pm2Home;
use crate::args::pm2::RestoreArgs;
use crate::failure::Failure;
use crate::output::{GOOD, Output, styled};
use crate::render::table;
use crate::session::Session;

pub(crate) async fn restore(session: &Session, output: Output, args: &RestoreArgs) -> Result<Exit, Failure> {
    if args.names.iter().any(String::is_empty) {
        return Err(
            Failure::usage("a process name is empty").hint("leave --name out to restore what is missing")
        );
    }
    if let Some(control) = hand_over::control(session, &args.daemon) {
        return hand_over::restore(session, output, args, &control);
    }
    let host = session.policy()?;
    let wanted = args.snapshot.as_deref().map(snapshot_id).transpose()?;
    let names = (!args.names.is_empty()).then(|| args.names.clone());
    let (pm2, now) = super::list::look(session, &args.daemon).await?;
    let window = host.policy().limits.window;
    let Source { snapshot, bundle } = Source::find(&session.state, wanted.as_ref(), &now, window)?;
    output.talk(format_args!("from snapshot {} of {}", snapshot.id.as_str(), snapshot.taken_at));
    let mut pm2 = pm2.restore_from(bundle);
    let request = Request {
        id: random::operation_id()?,
        operation: Operation::Restore,
        scope: Scope::of_restores(),
        selection: Selection::Missing { snapshot: snapshot.id.clone(), names },
        carries: None,
        source: Some(snapshot),
        tolerates_absence: false,
        confirmed: None,
        actor: session.actor()?,
    };
    let conditions = Conditions { wait: Duration::ZERO, dry_run: args.dry_run, expected: None };
    operate::finish(session, output, &host, &mut pm2, request, conditions).await
}

/// The id of a snapshot, as a person types it.
pub(super) fn snapshot_id(text: &str) -> Result<SnapshotId, Failure> {
    SnapshotId::parse(text).ok_or_else(|| {
        Failure::usage(format!("{text:?} is not the id of a snapshot")).hint("see `palisade pm2 snapshots`")
    })
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
