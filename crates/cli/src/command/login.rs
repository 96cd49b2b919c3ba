//! `palisade guard install login` and `remove login`: who logs in to a database, also without its log.

use palisade_core::Exit;
use palisade_core::record::Act;
use palisade_core::text::Shown;
use palisade_dbguard::Mode;
use palisade_dbguard::login::{self, Unwelcome};
use serde_json::json;

use crate::args::guard_table::{InstallLogin, LoginArgs};
use crate::command::db::reach_to_write;
use crate::failure::Failure;
use crate::output::{GOOD, Output, styled};
use crate::session::Session as Host;

pub(crate) async fn install(output: Output, args: &InstallLogin) -> Result<Exit, Failure> {
    let mode = Mode::from(args.mode);
    let (session, identity) = reach_to_write(output, &args.login.database).await?;
    let sql = login::install_sql(login::fit(&session, mode).await?, mode);
    let unwelcome = login::unwelcome(&session).await?;
    for Unwelcome { app, role, address, code, times } in &unwelcome {
        output.talk(format!(
            "of the last seven days: {} as role {} from {address}, {times} times, [PAL-{code}]",
            Shown(if app.is_empty() { "a client without a name" } else { app }),
            Shown(role),
        ));
    }
    if args.login.dry_run {
        return show(output, &sql);
    }
    let begun = Host::open()?.begin(Act::LoginTrigger, &identity.place(), vec![format!("mode {mode}")])?;
    begun.settle(login::run(&session, &sql).await, |()| vec!["installed".to_owned()])?;
    output.document(&json!({
        "result": "installed", "database": identity.id, "mode": mode.to_string(), "unwelcome": unwelcome,
    }))?;
    let said = match mode {
        Mode::Observe => "nobody is refused",
        Mode::Enforce => "whom the rules keep out is refused; superusers always get in",
    };
    output.data(format!("{} logins to this database are kept, and {said}", styled(GOOD, "ok:")))?;
    output.talk("next: palisade db audit --source trigger");
    Ok(Exit::Done)
}

pub(crate) async fn remove(output: Output, args: &LoginArgs) -> Result<Exit, Failure> {
    let (session, identity) = reach_to_write(output, &args.database).await?;
    if args.dry_run {
        return show(output, login::remove_sql());
    }
    let begun = Host::open()?.begin(Act::LoginTrigger, &identity.place(), vec!["remove".to_owned()])?;
    begun.settle(login::run(&session, login::remove_sql()).await, |()| vec!["removed".to_owned()])?;
    output.document(&json!({ "result": "removed", "database": identity.id }))?;
    output.data(format!("{} logins to this database are not kept any more", styled(GOOD, "ok:")))?;
    Ok(Exit::Done)
}

fn show(output: Output, sql: &str) -> Result<Exit, Failure> {
    output.document(&json!({ "sql": sql }))?;
    output.data(sql.trim_end())?;
    Ok(Exit::Done)
}
