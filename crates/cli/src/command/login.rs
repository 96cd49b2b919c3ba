//! `palisade guard install login` and `remove login`: who logs in to a database, also without its log.

use palisade_core::Exit;
use palisade_dbguard::login;
use serde_json::json;

use crate::args::guard_table::LoginArgs;
use crate::command::db::reach_to_write;
use crate::failure::Failure;
use crate::output::{GOOD, Output, styled};

pub(crate) async fn install(output: Output, args: &LoginArgs) -> Result<Exit, Failure> {
    let (session, identity) = reach_to_write(output, &args.database).await?;
    let sql = login::install_sql(login::fit(&session).await?);
    if args.dry_run {
        return show(output, &sql);
    }
    login::run(&session, &sql).await?;
    output.document(&json!({ "result": "installed", "database": identity.id }))?;
    output
        .data(format!("{} logins to this database are kept, and nobody is refused", styled(GOOD, "ok:")))?;
    output.talk("next: palisade db audit --source trigger");
    Ok(Exit::Done)
}

pub(crate) async fn remove(output: Output, args: &LoginArgs) -> Result<Exit, Failure> {
    let (session, identity) = reach_to_write(output, &args.database).await?;
    if args.dry_run {
        return show(output, login::remove_sql());
    }
    login::run(&session, login::remove_sql()).await?;
    output.document(&json!({ "result": "removed", "database": identity.id }))?;
    output.data(format!("{} logins to this database are not kept any more", styled(GOOD, "ok:")))?;
    Ok(Exit::Done)
}

fn show(output: Output, sql: &str) -> Result<Exit, Failure> {
    output.document(&json!({ "sql": sql }))?;
    output.data(sql.trim_end())?;
    Ok(Exit::Done)
}
