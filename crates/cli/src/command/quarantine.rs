//! `palisade quarantine`: shut an app, a role or a build out of a database.

use std::path::Path;

use palisade_core::record::Act;
use palisade_core::text::Shown;
use palisade_core::{AppName, Exit};
use palisade_dbguard::quarantine::{
    Caution, Ended, Quarantine, Who, end_connections, lift, order, quarantines, sharing,
};
use palisade_dbguard::stamp::There;
use palisade_postgres::identity::Between;
use palisade_postgres::{Identity, Session};
use serde_json::json;

use crate::args::quarantine::QuarantineArgs;
use crate::command::db::reach_to_write;
use crate::failure::Failure;
use crate::output::{BAD, GOOD, Output, STRONG, styled};
use crate::render::table;
use crate::session::Session as Host;

pub(crate) async fn quarantine(output: Output, args: &QuarantineArgs) -> Result<Exit, Failure> {
    let who = Who { app: args.app.clone(), role: args.role.clone(), build: args.build.clone() };
    if [&who.app, &who.role, &who.build].into_iter().flatten().any(String::is_empty) {
        return Err(Failure::usage("an app, a role or a build without a name means nobody"));
    }
    let (session, identity) = reach_to_write(output, &args.database).await?;
    let there = There::look(&session).await?;
    if !there.schema {
        let table = format!("database {}", identity.database);
        return Err(palisade_dbguard::Error::Unguarded { table }.into());
    }
    if args.list {
        return list(output, &session).await;
    }
    if args.lift {
        return let_in(output, &session, &identity, &who).await;
    }
    if who.role.as_deref() == Some(identity.role.name.as_str()) && who.app.is_none() {
        return Err(Failure::usage(format!("{} is the role of this very connection", identity.role.name))
            .hint("name the app too, or connect as another role"));
    }
    shut_out(output, args, &session, &identity, &who, there).await
}

async fn list(output: Output, session: &Session) -> Result<Exit, Failure> {
    let found = quarantines(session).await?;
    output.document(&found)?;
    if found.is_empty() {
        output.talk("nobody is in quarantine");
    }
    let row = |one: &Quarantine| {
        let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "any".to_owned());
        let Who { app, role, build } = &one.who;
        vec![
            one.id.to_string(),
            part(app),
            part(role),
            part(build),
            one.at.clone(),
            one.by.clone(),
            one.reason.clone(),
        ]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    for line in table::columns(&["id", "app", "role", "build", "since", "by", "reason"], &rows) {
        output.data(line)?;
    }
    Ok(Exit::Done)
}

async fn let_in(output: Output, session: &Session, identity: &Identity, who: &Who) -> Result<Exit, Failure> {
    let begun = Host::open()?.begin(Act::QuarantineLift, &identity.place(), vec![shown(who)])?;
    let lifted = begun.settle(lift(session, who).await, |lifted| vec![format!("{} lifted", lifted.len())])?;
    output.document(&json!({ "result": "lifted", "who": who, "quarantines": lifted }))?;
    if lifted.is_empty() {
        return Err(Failure::new(Exit::Failure, "no quarantine in force has exactly these parts")
            .hint("see who is shut out: palisade quarantine --list"));
    }
    output.data(format!("{} {} is let in again", styled(GOOD, "ok:"), Shown(&shown(who))))?;
    Ok(Exit::Done)
}

fn shown(who: &Who) -> String {
    let part = |word: &str, part: &Option<String>| part.as_ref().map(|part| format!("{word} {part}"));
    let parts = [part("app", &who.app), part("role", &who.role), part("build", &who.build)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

async fn shut_out(
    output: Output,
    args: &QuarantineArgs,
    session: &Session,
    identity: &Identity,
    who: &Who,
    there: There,
) -> Result<Exit, Failure> {
    // Shutting somebody out takes rights away and nothing else: where the journal is what is broken, it goes on.
    let host = Host::open()?;
    let reason = args.reason.as_deref().unwrap_or("no reason given").to_owned();
    let begun = host.begin(Act::Quarantine, &identity.place(), vec![shown(who), reason]);
    let ordered = order(session, who, args.reason.as_deref()).await;
    let id = match begun {
        Ok(begun) => begun.settle(ordered, |id| vec![format!("quarantine {id}")])?,
        Err(failure) => {
            output.talk(format!("not in the journal: {}", failure.message));
            ordered?
        }
    };
    output.progress("refused from now on; looking for its connections");
    let pooled = identity.between == Between::TransactionPooler;
    let caution = Caution { keep: args.keep_connections, pooled, direct: args.direct };
    let ended = end_connections(session, who, caution).await?;
    let shared = sharing(session, who).await?;
    let stop = who.app.as_deref().map(stop_commands).unwrap_or_default();
    output.document(&json!({
        "result": "quarantined", "id": id, "who": who, "guards": there.guards, "connections": ended,
        "shares_role_with": shared, "stop": stop,
    }))?;
    output.data(format!(
        "{} {} is refused at {} guards of {}, in observe too (quarantine {id})",
        styled(BAD, "SHUT OUT:"),
        Shown(&shown(who)),
        there.guards,
        Shown(&identity.database)
    ))?;
    tell(output, &ended, &shared, &stop)?;
    output.talk(format!("to let it in again: palisade quarantine {} --lift", Shown(&words(who))));
    Ok(Exit::Done)
}

/// What became of its connections, who shares its role, and what stops it.
fn tell(
    output: Output,
    ended: &[Ended],
    shared: &[(String, Vec<String>)],
    stop: &[String],
) -> Result<(), Failure> {
    let row = |Ended { connection: one, result }: &Ended| {
        vec![one.pid.to_string(), one.app.clone(), one.role.clone(), one.address.clone(), result.clone()]
    };
    let rows: Vec<_> = ended.iter().map(row).collect();
    for line in table::columns(&["process", "app (claimed)", "role", "from", "connection"], &rows) {
        output.data(format!("  {line}"))?;
    }
    for (role, names) in shared {
        output.data(format!(
            "  {} role {} is also used by {}: a client of that role that hides its name is not told apart",
            styled(STRONG, "look:"),
            Shown(role),
            Shown(&names.join(", "))
        ))?;
    }
    output.data("  it still runs; stop it where it does:")?;
    for line in stop {
        output.data(format!("    {line}"))?;
    }
    Ok(())
}

/// Who is meant, as the command line says it.
fn words(who: &Who) -> String {
    let part = |word: &str, part: &Option<String>| part.as_ref().map(|part| format!("{word}{part}"));
    let parts = [part("", &who.app), part("--role ", &who.role), part("--build ", &who.build)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// What stops an app, by where it may run; what this folder has comes first. A name that a shell could misread gets none.
fn stop_commands(app: &str) -> Vec<String> {
    if AppName::new(app).is_err() {
        return vec!["(its name is no plain word: stop it by hand)".to_owned()];
    }
    let mut commands = vec![
        ("fly.toml", format!("fly scale count 0 --app {app}")),
        (
            "render.yaml",
            "curl -X POST https://api.render.com/v1/services/SERVICE_ID/suspend -H \"Authorization: Bearer $RENDER_API_KEY\""
                .to_owned(),
        ),
        ("ecosystem.config.js", format!("palisade pm2 stop --app {app} --environment ENVIRONMENT   # or: pm2 stop {app}")),
        (".service", format!("systemctl stop {app}.service")),
    ];
    commands.sort_by_key(|(file, _)| !Path::new(file).exists());
    commands.into_iter().map(|(_, command)| command).collect()
}
