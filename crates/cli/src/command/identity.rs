//! `palisade db key`, `proof` and `epoch`, and `palisade guard require-identity`.

use std::path::{Path, PathBuf};

use palisade_core::record::Act;
use palisade_core::text::Shown;
use palisade_core::{AppName, Code, EnvironmentName, Exit};
use palisade_dbguard::identity::{App, apps, clear_minimum_epoch, key, require, rotate, set_minimum_epoch};
use palisade_dbguard::proof::AppKey;
use palisade_dbguard::{Table, quote};
use palisade_host::{clock, files};
use palisade_pipeline::act::Begun;
use palisade_postgres::Session;
use serde_json::json;

use crate::args::database::DatabaseArgs;
use crate::args::identity::{
    AppArgs, EpochArgs, EpochCommand, KeyArgs, KeyCommand, ProofArgs, RequireTable, Switch,
};
use crate::command::db::{reach, reach_to_write};
use crate::command::stamp;
use crate::failure::Failure;
use crate::output::{GOOD, Output, styled};
use crate::render::table;
use crate::session::Session as Host;

pub(crate) async fn keys(output: Output, command: &KeyCommand) -> Result<Exit, Failure> {
    match command {
        KeyCommand::Create(args) => {
            let (session, environment, at) = reach_stamped(output, &args.database).await?;
            let path = place(args.file.as_deref(), &args.app, &environment)?;
            let begun = begin(Act::Key, &at, &args.app, &environment, "the key that counts")?;
            let made = begun.settle(key(&session, &args.app, &environment).await, generation)?;
            keep(output, args, &made, &path)
        }
        KeyCommand::Rotate(args) => {
            let (session, environment, at) = reach_stamped(output, &args.key.database).await?;
            let path = place(args.key.file.as_deref(), &args.key.app, &environment)?;
            let begun = begin(Act::Key, &at, &args.key.app, &environment, "another key")?;
            let made = rotate(&session, &args.key.app, &environment, args.grace).await;
            let made = begun.settle(made, generation)?;
            output.talk(format!(
                "the key before counts for another {}",
                humantime::format_duration(args.grace)
            ));
            keep(output, &args.key, &made, &path)
        }
        KeyCommand::List(database) => list(output, database).await,
    }
}

/// Which key it was: nothing of the key itself.
fn generation(made: &AppKey) -> Vec<String> {
    vec![format!("key {} of {}/{}", made.generation, made.app, made.environment)]
}

/// Records what is about to be done for an app.
fn begin(
    act: Act,
    place: &str,
    app: &AppName,
    environment: &EnvironmentName,
    what: &str,
) -> Result<Begun, Failure> {
    Host::open()?.begin(act, place, vec![format!("{app}/{environment}: {what}")])
}

/// A database that bears the stamp of the environment that is named, as its own, and what a record calls it.
async fn reach_stamped(
    output: Output,
    database: &DatabaseArgs,
) -> Result<(Session, EnvironmentName, String), Failure> {
    let environment = stamp::environment(database)?;
    let (session, identity) = reach_to_write(output, database).await?;
    Ok((session, environment, identity.place()))
}

/// Where a key lies; a file that is no key of the same app is never written over.
fn place(file: Option<&Path>, app: &AppName, environment: &EnvironmentName) -> Result<PathBuf, Failure> {
    let path = match file {
        Some(file) => file.to_owned(),
        None => {
            let root = Host::open()?.state.root().to_owned();
            files::private_folder(&root)?;
            let folder = root.join("keys");
            files::private_folder(&folder)?;
            folder.join(format!("{app}@{environment}.key"))
        }
    };
    if path.exists() {
        let there = read(&path)?;
        if (&there.app, &there.environment) != (app, environment) {
            return Err(unusable(&path, &format!("holds a key of {}/{}", there.app, there.environment)));
        }
    }
    Ok(path)
}

pub(crate) fn read(path: &Path) -> Result<AppKey, Failure> {
    let file =
        files::open_private(path).map_err(|error| unusable(path, &error.to_string()).caused_by(&error))?;
    let bytes = files::read_from(file, path, 1 << 16)?;
    let text = String::from_utf8(bytes).map_err(|_| unusable(path, "is no text"))?;
    AppKey::parse(&text).map_err(|error| unusable(path, &error.to_string()))
}

pub(crate) fn unusable(path: &Path, problem: &str) -> Failure {
    Failure::new(Exit::Failure, format!("the key file {}: {problem}", path.display()))
        .code(Code::AppKeyUnusable)
        .hint("name another file with --key, or give the app another key: palisade db key rotate")
}

fn keep(output: Output, args: &KeyArgs, made: &AppKey, path: &Path) -> Result<Exit, Failure> {
    files::write_atomic(path, made.file().as_bytes(), 0o600)?;
    output.document(&json!({
        "result": "written", "file": path, "app": args.app, "environment": made.environment,
        "generation": made.generation, "database": made.database,
    }))?;
    output.data(format!(
        "{} key {} of {}/{} is in {}",
        styled(GOOD, "ok:"),
        made.generation,
        made.app,
        made.environment,
        path.display()
    ))?;
    Ok(Exit::Done)
}

async fn list(output: Output, database: &DatabaseArgs) -> Result<Exit, Failure> {
    let (session, identity) = reach(output, None, database).await?;
    let known = match identity.stamp {
        Some(_) => apps(&session).await?,
        None => Vec::new(),
    };
    output.document(&known)?;
    if known.is_empty() {
        output.talk("this database knows no app: palisade db key create, or db epoch set");
    }
    let row = |app: &App| {
        vec![
            format!("{}/{}", app.app, app.environment),
            if app.generation == 0 { "none".to_owned() } else { app.generation.to_string() },
            app.previous_until.clone().unwrap_or_default(),
            app.minimum_epoch.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string()),
            app.unknown_epoch.to_string(),
            format!("{} by {}", app.changed_at, app.changed_by),
        ]
    };
    let rows: Vec<_> = known.iter().map(row).collect();
    let head = ["app", "key", "key before until", "minimum epoch", "claims without epoch, 7 d", "changed"];
    for line in table::columns(&head, &rows) {
        output.data(line)?;
    }
    Ok(Exit::Done)
}

/// Needs no database: the key file knows which one it is for.
pub(crate) fn proof(output: Output, args: &ProofArgs) -> Result<Exit, Failure> {
    let path = place(args.file.as_deref(), &args.app, &args.environment)?;
    let held = read(&path)?;
    if (&held.app, &held.environment) != (&args.app, &args.environment) {
        return Err(unusable(&path, &format!("holds a key of {}/{}", held.app, held.environment)));
    }
    let at_s = clock::now().unix_ms() / 1000;
    let proof = held.proof(at_s);
    let [app, environment] = [args.app.as_str(), args.environment.as_str()].map(quote::text);
    let sql = format!("SELECT palisade.begin({app}, {environment}, {})", quote::text(&proof));
    output.document(&json!({
        "proof": proof, "sql": sql, "at": at_s, "valid_s": 30, "database": held.database,
    }))?;
    output.data(if args.sql { sql } else { proof })?;
    Ok(Exit::Done)
}

pub(crate) async fn epoch(output: Output, command: &EpochCommand) -> Result<Exit, Failure> {
    match command {
        EpochCommand::Set(EpochArgs { epoch, of }) => set(output, of, Some(*epoch)).await,
        EpochCommand::Clear(of) => set(output, of, None).await,
        EpochCommand::List(database) => list(output, database).await,
    }
}

async fn set(output: Output, of: &AppArgs, minimum: Option<u64>) -> Result<Exit, Failure> {
    let (session, environment, at) = reach_stamped(output, &of.database).await?;
    let what = minimum.map_or_else(|| "none".to_owned(), |minimum| minimum.to_string());
    let begun = begin(Act::Epoch, &at, &of.app, &environment, &what)?;
    let done = match minimum {
        Some(minimum) => set_minimum_epoch(&session, &of.app, &environment, minimum).await,
        None => clear_minimum_epoch(&session, &of.app, &environment).await,
    };
    begun.settle(done, |()| Vec::new())?;
    output.document(&json!({
        "result": "changed", "app": of.app, "environment": environment, "minimum_epoch": minimum,
    }))?;
    let said = minimum.map_or_else(
        || format!("builds of {}/{environment} of any epoch may begin again", of.app),
        |epoch| {
            format!(
                "builds of {}/{environment} below epoch {epoch} claim, cancel and reap nothing here",
                of.app
            )
        },
    );
    output.data(format!("{} {said}", styled(GOOD, "ok:")))?;
    if minimum.is_some() {
        output.talk("builds that say no epoch still pass; palisade db epoch list counts them");
    }
    Ok(Exit::Done)
}

pub(crate) async fn required(output: Output, args: &RequireTable) -> Result<Exit, Failure> {
    let (session, identity) = reach_to_write(output, &args.database).await?;
    let found = Table::find(&session, &args.table).await?;
    if !found.guarded {
        return Err(palisade_dbguard::Error::Unguarded { table: args.table.clone() }.into());
    }
    let on = args.required == Switch::On;
    if on && identity.stamp.is_none() {
        return Err(palisade_postgres::Error::Unstamped { expected: "one".to_owned() }.into());
    }
    let place = format!("{} of {}", found.shown(), identity.place());
    let asked = format!("{on}, lease {}", args.lease.as_deref().unwrap_or("any"));
    let begun = Host::open()?.begin(Act::RequireIdentity, &place, vec![asked])?;
    begun.settle(require(&session, found.id, on, args.lease.as_deref()).await, |()| Vec::new())?;
    output.document(&json!({
        "result": "changed", "table": found.shown(), "identity_required": on, "lease": args.lease,
    }))?;
    let word = if on { "asks for" } else { "does not ask for" };
    output.data(format!("{} {} {word} an identity", styled(GOOD, "ok:"), Shown(&found.shown())))?;
    Ok(Exit::Done)
}
