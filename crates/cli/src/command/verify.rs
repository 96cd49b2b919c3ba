//! `palisade verify history`: a table's history against what was promised.

use palisade_core::Exit;
use palisade_core::text::Shown;
use palisade_dbguard::history;
use serde_json::json;

use crate::args::reaper::VerifyCommand;
use crate::command::db::reach;
use crate::command::undo::guard_of;
use crate::failure::Failure;
use crate::output::{BAD, GOOD, Output, styled};

pub(crate) async fn verify(output: Output, command: &VerifyCommand) -> Result<Exit, Failure> {
    let VerifyCommand::History(args) = command;
    let (session, _) = reach(output, None, &args.database).await?;
    let (table, guard) = guard_of(&session, &args.table).await?;
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
