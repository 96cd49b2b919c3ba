//! `palisade guard prune table`: old days of the history.

use palisade_core::Exit;
use palisade_core::text::Shown;
use palisade_dbguard::prune::{Pruned, prune};
use serde_json::json;

use crate::args::guard_table::PruneTable;
use crate::command::db::{reach, reach_to_write};
use crate::failure::Failure;
use crate::output::Output;
use crate::render::table;

pub(crate) async fn history(output: Output, args: &PruneTable) -> Result<Exit, Failure> {
    let (session, _) = match args.dry_run {
        true => reach(output, None, &args.database).await?,
        false => reach_to_write(output, &args.database).await?,
    };
    let pruned = prune(&session, args.keep, args.dry_run).await?;
    output.document(&json!({ "dry_run": args.dry_run, "days": pruned }))?;
    if pruned.is_empty() {
        output.data(format!("nothing is older than {}", humantime::format_duration(args.keep)))?;
        return Ok(Exit::Done);
    }
    let row = |day: &Pruned| {
        vec![day.day.clone(), day.until.clone(), format!("{} KiB", day.bytes / 1024), day.done.clone()]
    };
    let rows: Vec<_> = pruned.iter().map(row).collect();
    for line in table::columns(&["day", "newest row", "size", "so"], &rows) {
        output.data(Shown(&line).to_string())?;
    }
    Ok(Exit::Done)
}
