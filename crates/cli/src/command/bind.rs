//! `palisade db bind`: which role belongs to which environment.

use palisade_core::Exit;
use palisade_core::record::Act;
use palisade_core::text::Shown;
use palisade_dbguard::binding::{self, Binding};
use serde_json::json;

use crate::args::database::BindArgs;
use crate::command::db::{reach, reach_to_write};
use crate::failure::Failure;
use crate::output::{GOOD, Output, styled};
use crate::render::table;
use crate::session::Session as Host;

pub(crate) async fn bind(output: Output, args: &BindArgs) -> Result<Exit, Failure> {
    let Some(role) = &args.role else { return list(output, args).await };
    if args.to.is_none() && !args.remove {
        return Err(Failure::usage(format!("to which environment does {role} belong?"))
            .hint(format!("palisade db bind {role} ENVIRONMENT, or palisade db bind {role} --remove")));
    }
    let (session, identity) = reach_to_write(output, &args.database).await?;
    let to = args.to.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    let begun = Host::open()?.begin(Act::Bind, &identity.place(), vec![format!("{role} to {to}")])?;
    let changed = binding::bind(&session, role, args.to.as_ref()).await;
    let changed = begun.settle(changed, |changed| vec![format!("changed: {changed}")])?;
    let result = if changed { "changed" } else { "unchanged" };
    output.document(&json!({ "result": result, "role": role, "environment": args.to }))?;
    let so = match (&args.to, changed) {
        (Some(to), true) => format!("belongs to {to}"),
        (Some(to), false) => format!("belonged to {to} already"),
        (None, true) => "belongs to no environment".to_owned(),
        (None, false) => "belonged to no environment before".to_owned(),
    };
    output.data(format!("{} the role {} {so}", styled(GOOD, "ok:"), Shown(role)))?;
    Ok(Exit::Done)
}

async fn list(output: Output, args: &BindArgs) -> Result<Exit, Failure> {
    let (session, _) = reach(output, None, &args.database).await?;
    let bindings = binding::bindings(&session).await?;
    output.document(&bindings)?;
    if bindings.is_empty() {
        output.talk("no role of this database is bound to an environment");
        return Ok(Exit::Done);
    }
    let row = |binding: &Binding| {
        vec![binding.role.clone(), binding.environment.clone(), binding.at.clone(), binding.by.clone()]
    };
    let rows: Vec<_> = bindings.iter().map(row).collect();
    for line in table::columns(&["role", "environment", "since", "by"], &rows) {
        output.data(line)?;
    }
    Ok(Exit::Done)
}
