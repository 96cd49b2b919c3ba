//! `palisade guard upgrade table`: guards that an earlier build installed become those of this one.

use palisade_core::Exit;
use palisade_core::record::Act;
use palisade_core::text::Shown;
use palisade_dbguard::Patience;
use palisade_dbguard::upgrade::{plan, upgrade};
use serde_json::json;

use crate::args::guard_table::UpgradeTable;
use crate::command::db::{reach, reach_to_write};
use crate::failure::Failure;
use crate::output::{GOOD, Output, styled};
use crate::session::Session as Host;

pub(crate) async fn guards(output: Output, args: &UpgradeTable) -> Result<Exit, Failure> {
    let (session, identity) = match args.dry_run {
        true => reach(output, None, &args.database).await?,
        false => reach_to_write(output, &args.database).await?,
    };
    let patience = Patience::default();
    let planned = plan(&session, patience.lock_timeout).await?;
    if args.dry_run {
        output.document(&planned)?;
        output.data(planned.sql.trim_end())?;
        return Ok(Exit::Done);
    }
    let formats = format!("format {} to {}", planned.from, planned.to);
    let begun = Host::open()?.begin(Act::TableUpgrade, &identity.place(), vec![formats.clone()])?;
    let done = upgrade(&session, &planned, patience).await;
    let done = begun.settle(done, |done| vec![format!("{formats}; finished: {}", done.finished)])?;
    output.document(&json!({
        "result": if planned.sql.is_empty() { "unchanged" } else { "upgraded" }, "database": identity.id,
        "from": planned.from, "to": planned.to, "tables": planned.tables, "left": planned.left,
        "attempts": done.attempts, "finished": done.finished,
    }))?;
    let count = planned.tables.len();
    output.data(match planned.sql.is_empty() {
        true => format!("{} the guards are of format {} already", styled(GOOD, "ok:"), planned.to),
        false => format!("{} {count} guarded tables: {formats}", styled(GOOD, "ok:")),
    })?;
    for table in &planned.left {
        output.talk(format!(
            "look: {} lacks a column that its guard reads, and keeps the functions of before: install its guard again, \
             then run this once more",
            Shown(table)
        ));
    }
    if !done.finished && planned.left.is_empty() {
        output.talk(
            "look: a transaction that began before is still open; what was replaced stays until this is run once more",
        );
    }
    Ok(Exit::Done)
}
