//! `palisade db expect`: who may be connected to a database.

use palisade_audit::{Expectations, Expected};
use palisade_core::Exit;
use palisade_core::text::Shown;
use palisade_dbguard::audit::{self, Change};
use palisade_postgres::Standing;
use serde_json::json;

use crate::args::audit::{ExpectApp, ExpectCommand};
use crate::args::database::DatabaseArgs;
use crate::command::db::{reach, reach_to_write};
use crate::failure::Failure;
use crate::output::{GOOD, Output, styled};
use crate::render::table;

pub(crate) async fn expect(output: Output, command: &ExpectCommand) -> Result<Exit, Failure> {
    match command {
        ExpectCommand::List(database) => list(output, database).await,
        ExpectCommand::App(args) => {
            let said = if args.remove { "is expected no more" } else { "is expected" };
            change(output, &args.database, &app(args), format!("{} {said}", args.app)).await
        }
        ExpectCommand::Environment { name, database } => {
            let said = format!("this database is {name}");
            change(output, database, &Change::Environment(name.clone()), said).await
        }
        ExpectCommand::Pooler { network, remove, database } => {
            let network = network.to_string();
            let said =
                format!("a pooler at {network} is {}", if *remove { "expected no more" } else { "expected" });
            let wanted = if *remove { Change::NoPooler(network) } else { Change::Pooler(network) };
            change(output, database, &wanted, said).await
        }
        ExpectCommand::Forget { confirm, database } => forget(output, confirm.as_deref(), database).await,
    }
}

fn app(args: &ExpectApp) -> Change {
    if args.remove {
        return Change::NoApp(args.app.clone());
    }
    Change::App(Expected {
        app: args.app.clone(),
        roles: args.roles.clone(),
        networks: args.networks.clone(),
        ddl: args.ddl,
        writes: args.writes.clone(),
    })
}

async fn change(
    output: Output,
    database: &DatabaseArgs,
    change: &Change,
    said: String,
) -> Result<Exit, Failure> {
    let (session, identity) = reach_to_write(output, database).await?;
    if let (Change::Environment(expected), Some(stamp)) = (change, &identity.stamp)
        && stamp.standing == Standing::Own
        && stamp.environment != *expected
    {
        let (stamped, expected) = (stamp.environment.clone(), expected.clone());
        return Err(palisade_postgres::Error::Environment { stamped, expected }.into());
    }
    audit::change(&session, change).await?;
    let kept = audit::expectations(&session).await?.unwrap_or_default();
    output.document(&json!({ "result": "changed", "database": identity.id, "expectations": kept }))?;
    output.data(format!("{} {}", styled(GOOD, "ok:"), Shown(&said)))?;
    Ok(Exit::Done)
}

async fn list(output: Output, database: &DatabaseArgs) -> Result<Exit, Failure> {
    let (session, _) = reach(output, None, database).await?;
    let kept = audit::expectations(&session).await?;
    output.document(&kept)?;
    let Some(Expectations { environment, apps, poolers, retired, minimums, .. }) = kept else {
        output.talk("nothing is expected here yet: palisade db expect environment NAME");
        return Ok(Exit::Done);
    };
    output.data(format!("environment  {}", Shown(environment.as_deref().unwrap_or("not said"))))?;
    for pooler in &poolers {
        output.data(format!("pooler       {pooler}"))?;
    }
    for role in &retired {
        output.data(format!("retired      {}", Shown(role)))?;
    }
    for (app, epoch) in &minimums {
        output.data(format!("epoch        {} {epoch} at least", Shown(app)))?;
    }
    let any = |list: &[String]| if list.is_empty() { "any".to_owned() } else { list.join(", ") };
    let row = |app: &Expected| {
        let networks: Vec<_> = app.networks.iter().map(ToString::to_string).collect();
        vec![
            app.app.clone(),
            any(&app.roles),
            any(&networks),
            if app.ddl { "yes".to_owned() } else { "no".to_owned() },
            app.writes.join(", "),
        ]
    };
    let rows: Vec<_> = apps.iter().map(row).collect();
    for line in table::columns(&["app", "roles", "from", "ddl", "writes"], &rows) {
        output.data(line)?;
    }
    Ok(Exit::Done)
}

async fn forget(output: Output, confirm: Option<&str>, database: &DatabaseArgs) -> Result<Exit, Failure> {
    let (session, identity) = reach_to_write(output, database).await?;
    if confirm != Some(identity.database.as_str()) {
        return Err(Failure::new(
            Exit::ConfirmationNeeded,
            "every expectation of this database would be forgotten",
        )
        .hint(format!("add --confirm={}", identity.database)));
    }
    let was = audit::forget(&session).await?;
    output.document(&json!({ "result": if was { "forgotten" } else { "nothing to forget" } }))?;
    output.data(if was { "ok: nothing is expected here any more" } else { "nothing was expected here" })?;
    Ok(Exit::Done)
}
