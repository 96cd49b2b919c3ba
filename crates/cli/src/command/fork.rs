//! `palisade db fork` and `palisade db beacon`.

use palisade_core::record::{Act, Phase};
use palisade_core::text::Shown;
use palisade_core::{Code, Exit, canonical};
use palisade_dbguard::fork::{Fork, make, may_enter_original, unmake};
use palisade_dbguard::stamp::{end_beacon, renew};
use palisade_host::{files, random};
use palisade_postgres::{Identity, Session, Standing, Target, identify};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::args::quarantine::{BeaconArgs, ForkArgs};
use crate::command::db::{reach_any, reach_to_write, target};
use crate::command::stamp::{environment, written};
use crate::failure::Failure;
use crate::output::{GOOD, Output, STRONG, styled};
use crate::session::Session as Host;

pub(crate) async fn fork(output: Output, args: &ForkArgs) -> Result<Exit, Failure> {
    let environment = environment(&args.database)?;
    let (session, identity) = reach_any(output, None, &args.database).await?;
    let barred = |problem: String| Failure::new(Exit::Failure, problem).code(Code::ForkBarred);
    if identity.stamp.as_ref().is_some_and(|stamp| stamp.environment == environment.as_str()) {
        return Err(barred(format!("the original is a database of {environment} itself"))
            .hint("a fork is of another environment: --environment test"));
    }
    if let Some(file) = args.url_file.as_ref().filter(|file| file.exists()) {
        return Err(barred(format!("{} is there already", file.display())).hint("name another file"));
    }
    let password = canonical::hex(&random::bytes::<24>()?);
    let role = args.role.clone().unwrap_or_else(|| args.name.clone());
    let wanted = Fork { database: &args.name, role: &role, password: &password, salt: random::bytes()? };
    let original = target(output, args.database.database.as_deref())?;
    let url = original.url_of(&role, &password, &args.name);
    let wants = vec![format!("database {} of {environment}, role {role}", args.name)];
    let begun = Host::open()?.begin(Act::Fork, &identity.place(), wants)?;
    let made = match make(&session, wanted).await {
        Err(error) => Err(not_made(error)),
        Ok(()) => match finish(args, &original.with_database(&args.name), &url, &environment).await {
            Err(failure) => unmake(&session, wanted).await.map_err(Failure::from).and(Err(failure)),
            made => made,
        },
    };
    match &made {
        Ok(new) => begun.end(Phase::Done, vec![format!("made {}", new.id)]),
        Err(failure) => begun.end(Phase::Failed, vec![failure.message.clone()]),
    }
    let new = made?;
    tell(output, args, &session, (&identity, &new), (&role, &url)).await
}

/// What a fork needs is another right than those that a guard needs.
fn not_made(error: palisade_dbguard::Error) -> Failure {
    let forbidden = matches!(error, palisade_dbguard::Error::Forbidden { .. });
    let mut failure = Failure::from(error);
    if forbidden {
        failure.hints = vec!["connect as a role with CREATEROLE and CREATEDB; nothing was made".to_owned()];
    }
    failure
}

/// Stamps the new database and keeps its URL; returns who it is.
async fn finish(
    args: &ForkArgs,
    new: &Target,
    url: &str,
    environment: &palisade_core::EnvironmentName,
) -> Result<Identity, Failure> {
    let (session, identity) = identify(new).await?;
    written(&session, &identity, environment, true).await?;
    if let Some(file) = &args.url_file {
        files::write_atomic(file, format!("{url}\n").as_bytes(), 0o600)?;
    }
    Ok(identity)
}

async fn tell(
    output: Output,
    args: &ForkArgs,
    session: &Session,
    (original, new): (&Identity, &Identity),
    (role, url): (&str, &str),
) -> Result<Exit, Failure> {
    let enters = may_enter_original(session, role).await?;
    let shown = args.url_file.is_none().then_some(url);
    output.document(&json!({
        "result": "forked", "database": new.id, "name": args.name, "role": role, "environment": args.database.environment,
        "url": shown, "url_file": args.url_file, "shares_compute_with": original.id, "role_may_enter_original": enters,
    }))?;
    output.data(format!(
        "{} {} ({}) is an empty database of {}, owned by the role {}",
        styled(GOOD, "ok:"),
        Shown(&args.name),
        new.id,
        styled(STRONG, args.database.environment.as_ref().map_or("?", |environment| environment.as_str())),
        Shown(role)
    ))?;
    match &args.url_file {
        Some(file) => output.data(format!("  its URL is in {}", file.display()))?,
        None => output.data(format!("  {url}"))?,
    }
    output.talk(format!(
        "it shares the server with {}: its load, its connections and its disk are the original's too",
        Shown(&original.database)
    ));
    if enters {
        output.talk(format!(
            "the role {} may also log in to the original, where it has what PUBLIC has: \
             REVOKE CONNECT ON DATABASE ... FROM PUBLIC ends that, for every role that was not granted it",
            Shown(role)
        ));
    }
    if args.url_file.is_none() {
        output.talk("the password is shown this once: keep it, or fork again with --url-file");
    }
    output
        .talk("next: run your migrations with that URL; guards and keys of apps are the new database's own");
    Ok(Exit::Done)
}

pub(crate) async fn beacon(output: Output, args: &BeaconArgs) -> Result<Exit, Failure> {
    if args.every.as_secs() < 1 {
        return Err(Failure::usage("--every is at least a second"));
    }
    if args.end {
        let (session, identity) = reach_to_write(output, &args.database).await?;
        stamped(&identity)?;
        end_beacon(&session).await?;
        output.document(&json!({ "result": "ended", "database": identity.id }))?;
        output.data(format!("{} nobody is expected to renew the beacon any more", styled(GOOD, "ok:")))?;
        return Ok(Exit::Done);
    }
    // The first one has to work: what is wrong from the start is told at once.
    let first = send(output, args).await?;
    output.document(
        &json!({ "result": "renewed", "database": first, "max_age_s": 5 * args.every.as_secs() }),
    )?;
    output.data(format!("{} the beacon of {first} is renewed", styled(GOOD, "ok:")))?;
    if args.once {
        return Ok(Exit::Done);
    }
    let mut told = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    let [interrupt, terminate] = &mut told;
    let mut ticks = interval(args.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(Exit::Done),
            _ = terminate.recv() => return Ok(Exit::Done),
            _ = ticks.tick() => {}
        }
        match send(output, args).await {
            Ok(_) => {}
            // Another environment or a copy is not to be kept alive; anything else may pass.
            Err(failure) if failure.exit == Exit::Refused => return Err(failure),
            Err(failure) => output.talk(format!("not renewed: {}", failure.message)),
        }
    }
}

/// One beacon, over a connection of its own, so that a provider may suspend the database in between.
async fn send(output: Output, args: &BeaconArgs) -> Result<String, Failure> {
    let (session, identity) = reach_to_write(output.silent(), &args.database).await?;
    stamped(&identity)?;
    let agent = Host::open()?.actor()?.observed.host;
    renew(&session, args.every * 5, &agent).await?;
    Ok(identity.id)
}

/// A database that bears a stamp of its own: a copy gets no beacon.
fn stamped(identity: &Identity) -> Result<(), Failure> {
    match &identity.stamp {
        None => Err(palisade_postgres::Error::Unstamped { expected: "one".to_owned() }.into()),
        Some(stamp) if stamp.standing != Standing::Own => {
            let environment = stamp.environment.clone();
            Err(palisade_postgres::Error::Copy { environment, standing: stamp.standing }.into())
        }
        Some(_) => Ok(()),
    }
}
