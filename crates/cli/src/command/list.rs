//! `palisade pm2 list`.

use std::path::Path;

use palisade_core::policy::Owner;
use palisade_core::snapshot::SnapshotId;
use palisade_core::{Exit, Policy, Scope, Snapshot};
use palisade_host::{clock, random};
use palisade_pipeline::Resource as _;
use palisade_pm2::acquainted::Acquainted;
use palisade_pm2::bundle::Bundles;
use palisade_pm2::locate::Origin;
use palisade_pm2::overview::Overview;
use palisade_pm2::{Location, Pm2};

use crate::args::Pm2Home;
use crate::failure::Failure;
use crate::output::Output;
use crate::render::table;
use crate::session::Session;

/// The daemon that was asked for. Connected to when first used; never started.
pub(crate) fn daemon(session: &Session, daemon: &Pm2Home) -> Result<Pm2, Failure> {
    let location = Location::find(daemon.pm2_home.as_deref(), &session.environment).map_err(|error| {
        Failure::usage(error.to_string()).hint("name the daemon's home with --pm2-home FOLDER")
    })?;
    let pm2 = Pm2::new(location.behind_guard(), Bundles::new(session.state.bundles()));
    Ok(pm2.acquainted(Acquainted::new(session.state.daemons())))
}

/// The daemon of that home at that very socket.
pub(crate) fn daemon_at(session: &Session, home: &Path, socket: &Path) -> Pm2 {
    let location = Location { home: home.to_owned(), socket: socket.to_owned(), origin: Origin::Explicit };
    Pm2::new(location, Bundles::new(session.state.bundles()))
}

/// Connects and takes a snapshot in memory.
pub(crate) async fn look(session: &Session, daemon: &Pm2Home) -> Result<(Pm2, Snapshot), Failure> {
    let mut pm2 = self::daemon(session, daemon)?;
    pm2.identify().await?;
    let (id, at) = (random::operation_id()?, clock::now());
    let snapshot = pm2.snapshot(SnapshotId::new(at, id.as_str()), at).await?;
    Ok((pm2, snapshot))
}

/// A process and whose it is, for scripts. A list may be long, hence no tree of values.
#[derive(serde::Serialize)]
struct Row<'a> {
    owner: Option<Scope>,
    process: &'a Overview,
}

pub(crate) async fn list(session: &Session, output: Output, daemon: &Pm2Home) -> Result<Exit, Failure> {
    let pm2 = self::daemon(session, daemon)?;
    let mut policy = None;
    let rows = pm2.list_and_meanwhile(&mut |_daemon| policy = Some(session.policy_if_any())).await;
    let (policy, rows) = (policy.unwrap_or_else(|| session.policy_if_any())?, rows?);
    let owner =
        |row: &Overview| policy.as_ref().map(|policy: &Policy| policy.owner_in(&row.name, &row.namespace));
    if output.json {
        let owned = |row: &Overview| match owner(row) {
            Some(Owner::Scope(scope)) => Some(scope),
            Some(Owner::Unclaimed) | None => None,
        };
        let document: Vec<_> = rows.iter().map(|row| Row { owner: owned(row), process: row }).collect();
        output.document(&document)?;
        return Ok(Exit::Done);
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.pm_id.to_string(),
                row.name.clone(),
                row.status.to_string(),
                row.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
                row.restarts.to_string(),
                format!("{:.1} MiB", row.memory_bytes as f64 / 1_048_576.0),
                owner(row).map_or_else(|| "-".to_owned(), |owner| owner.to_string()),
            ]
        })
        .collect();
    for line in table::columns(&["pm_id", "name", "status", "pid", "restarts", "memory", "owner"], &cells) {
        output.data(line)?;
    }
    if policy.is_none() {
        output.talk("no policy yet, so no owners: run `palisade init`");
    }
    Ok(Exit::Done)
}
