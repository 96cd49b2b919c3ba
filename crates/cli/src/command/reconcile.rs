//! `palisade pm2 reconcile`: settles what was cut off.

use palisade_core::{Exit, Operation};
use palisade_host::process;
use palisade_pipeline::{memory, reconcile as settle};
use serde_json::json;

use crate::args::Pm2Home;
use crate::failure::Failure;
use crate::output::Output;
use crate::render;
use crate::session::Session;

pub(crate) async fn reconcile(session: &Session, output: Output, daemon: &Pm2Home) -> Result<Exit, Failure> {
    let host = session.policy()?;
    let actor = session.actor()?;
    let mut pm2 = super::list::daemon(session, daemon)?;
    let settled = settle::reconcile(&mut pm2, host.reference(), &session.state, &actor).await?;
    let document: Vec<_> = settled
        .iter()
        .map(|one| {
            json!({
                "operation": one.unsettled.record.op,
                "at": one.unsettled.record.at,
                "what": one.unsettled.intent.operation,
                "scope": one.unsettled.intent.scope,
                "outcome": one.outcome,
                "targets": one.targets,
                "snapshot": one.unsettled.intent.snapshot,
            })
        })
        .collect();
    output.document(&document)?;
    let open = memory::unsettled(&session.state.journal(), process::is_alive)?.len();
    if open > 0 {
        output.data(format_args!("{open} still under way: the daemon is at it; ask again in a moment"))?;
    } else if settled.is_empty() {
        output.data("nothing to settle: every recorded intent has its outcome")?;
    }
    for one in &settled {
        let intent = &one.unsettled.intent;
        output.data(format_args!(
            "{} at {}, by {}:",
            render::plan::task(intent.operation, &intent.scope),
            one.unsettled.record.at,
            render::actor::brief(&one.unsettled.record.actor)
        ))?;
        for target in &one.targets {
            output.data(render::outcome::target_line(intent.operation, target))?;
        }
        if intent.operation == Operation::Delete {
            let snapshot = intent.snapshot.as_str();
            output.data(format_args!("  undo:     palisade pm2 restore --snapshot {snapshot}"))?;
        }
    }
    Ok(Exit::Done)
}
