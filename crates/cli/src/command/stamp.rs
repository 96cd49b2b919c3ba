//! `palisade db stamp`: which environment a database belongs to.

use palisade_core::record::Act;
use palisade_core::text::Shown;
use palisade_core::{EnvironmentName, Exit};
use palisade_dbguard::Patience;
use palisade_dbguard::stamp::{New, There, remove, run, write};
use palisade_host::{clock, files};
use palisade_journal::{VerifierKey, public_path};
use palisade_pipeline::sign_text;
use palisade_postgres::{Bound, Identity, Session, Stamp, Standing};
use serde_json::json;

use crate::args::database::DatabaseArgs;
use crate::args::stamp::{AcceptArgs, ShowArgs, StampArgs, StampCommand};
use crate::command::db::{reach, reach_any};
use crate::failure::Failure;
use crate::output::{BAD, GOOD, Output, STRONG, styled};
use crate::session::Session as Host;

/// Beside the host's policy: a verifier key on each line.
const KEYS: &str = "stamp-keys";

pub(crate) async fn stamp(output: Output, args: &StampArgs) -> Result<Exit, Failure> {
    match &args.command {
        None => make(output, &args.database).await,
        Some(StampCommand::Show(args)) => show(output, args).await,
        Some(StampCommand::Accept(args)) => accept(output, args).await,
        Some(StampCommand::Remove(database)) => take_away(output, database).await,
    }
}

pub(crate) fn environment(database: &DatabaseArgs) -> Result<EnvironmentName, Failure> {
    let lacking = || {
        Failure::usage("no environment was given; there is no default environment")
            .hint("add --environment NAME")
    };
    database.environment.clone().ok_or_else(lacking)
}

/// A stamp with a mistyped environment would shut this host's own commands out of the database.
fn known(environment: &EnvironmentName) -> Result<(), Failure> {
    let host = Host::open()?;
    let named = host.environment.text("PALISADE_ENVIRONMENT");
    Ok(palisade_config::expect_environment(&host.policy_path, named.as_deref(), environment)?)
}

async fn make(output: Output, database: &DatabaseArgs) -> Result<Exit, Failure> {
    let environment = environment(database)?;
    known(&environment)?;
    let (session, identity) = reach_any(output, None, database).await?;
    if let Some(stamp) = &identity.stamp {
        stamp.expect(&[environment.as_str()])?;
    }
    put(output, &session, &identity, &environment, false).await
}

async fn accept(output: Output, args: &AcceptArgs) -> Result<Exit, Failure> {
    let environment = environment(&args.database)?;
    known(&environment)?;
    let (session, identity) = reach_any(output, None, &args.database).await?;
    let Some(stamp) = &identity.stamp else {
        let expected = environment.to_string();
        return Err(palisade_postgres::Error::Unstamped { expected }.into());
    };
    if stamp.standing == Standing::Own && stamp.environment == environment.as_str() {
        output.document(&json!({ "result": "unchanged", "database": identity.id, "stamp": stamp }))?;
        output
            .data(format!("{} the stamp is this database's own: nothing to accept", styled(GOOD, "ok:")))?;
        return Ok(Exit::Done);
    }
    if args.keep_keys && (stamp.standing != Standing::Promoted || stamp.environment != environment.as_str()) {
        return Err(Failure::usage("--keep-keys is for a database that was promoted and nothing else")
            .hint("a copy gets keys of its own: leave --keep-keys out"));
    }
    put(output, &session, &identity, &environment, !args.keep_keys).await
}

async fn put(
    output: Output,
    session: &Session,
    identity: &Identity,
    environment: &EnvironmentName,
    rotate: bool,
) -> Result<Exit, Failure> {
    let (bound, key) = written(session, identity, environment, rotate).await?;
    output.document(&json!({
        "result": "stamped", "database": identity.id, "environment": environment, "bound": bound,
        "key": key.to_string(), "keys_rotated": rotate,
    }))?;
    output.data(format!(
        "{} {} ({}) is a database of {}",
        styled(GOOD, "ok:"),
        Shown(&identity.database),
        identity.id,
        styled(STRONG, environment)
    ))?;
    output.data(format!("  signed with {key}"))?;
    if rotate {
        output
            .data("  every key that an app holds stopped counting: palisade db key create makes new ones")?;
    }
    if bound.system_identifier.is_none() {
        output
            .talk("this server does not tell its identifier: a dump that is restored elsewhere may not show");
    }
    output.talk(format!("to let this signature count on a host, put the key into {KEYS} beside its policy"));
    Ok(Exit::Done)
}

/// Signs and writes a stamp.
pub(crate) async fn written(
    session: &Session,
    identity: &Identity,
    environment: &EnvironmentName,
    rotate: bool,
) -> Result<(Bound, VerifierKey), Failure> {
    let bound = Bound::of(&identity.server);
    if identity.server.standby {
        return Err(Failure::new(Exit::Failure, "this is a standby, and a stamp is written on the primary"));
    }
    let at_s = clock::now().unix_ms() / 1000;
    let host = Host::open()?;
    let text = Stamp::text(environment.as_str(), &bound, at_s);
    let (signature, key) = sign_text(&host.state, &host.actor()?, &text)?;
    let there = There::look(session).await?;
    let new = New { environment: environment.clone(), bound, at_s, signature, rotate };
    let details = vec![format!("{environment}{}", if rotate { ", with other keys" } else { "" })];
    let begun = host.begin(Act::Stamp, &identity.place(), details)?;
    let sql = write(there, &new, Patience::default().lock_timeout);
    begun.settle(run(session, "stamp the database", &sql).await, |_| Vec::new())?;
    Ok((new.bound, key))
}

async fn take_away(output: Output, database: &DatabaseArgs) -> Result<Exit, Failure> {
    let (session, identity) = reach(output, None, database).await?;
    let there = There::look(&session).await?;
    if !there.schema || identity.stamp.is_none() && there.guards > 0 {
        return Err(palisade_postgres::Error::Unstamped { expected: "one".to_owned() }.into());
    }
    let begun = Host::open()?.begin(Act::Stamp, &identity.place(), vec!["taken away".to_owned()])?;
    let sql = remove(there, Patience::default().lock_timeout);
    begun.settle(run(&session, "remove the stamp", &sql).await, |_| Vec::new())?;
    if there.superuser && there.guards == 0 {
        // Other databases of this server may still need the role; then the server keeps it.
        drop(session.run("drop the guards' role", palisade_dbguard::script::DROP_OWNER).await);
    }
    output.document(&json!({ "result": "removed", "database": identity.id, "guards": there.guards }))?;
    output.data(format!("{} {} bears no stamp any more", styled(GOOD, "ok:"), Shown(&identity.database)))?;
    Ok(Exit::Done)
}

async fn show(output: Output, args: &ShowArgs) -> Result<Exit, Failure> {
    let (_, identity) = reach(output, args.url.as_deref(), &args.database).await?;
    let signed = identity.stamp.as_ref().map(|stamp| signer(&Host::open()?, stamp)).transpose()?;
    output.document(&json!({ "database": identity.id, "stamp": identity.stamp, "signature": signed }))?;
    let Some(stamp) = &identity.stamp else {
        output.data(format!("{} ({}) bears no stamp", Shown(&identity.database), identity.id))?;
        return Ok(Exit::Done);
    };
    output.data(format!("environment  {}", styled(STRONG, Shown(&stamp.environment))))?;
    let own = if stamp.standing == Standing::Own { GOOD } else { BAD };
    output.data(format!("standing     {}", styled(own, stamp.standing)))?;
    let Bound { system_identifier, database_oid, timeline, branch } = &stamp.bound;
    let system = system_identifier.as_deref().unwrap_or("unknown");
    let timeline = timeline.map_or_else(|| "unknown".to_owned(), |timeline| timeline.to_string());
    output.data(format!("bound to     {system}/{database_oid}, timeline {timeline}, branch {:?}", branch))?;
    output.data(format!("stamped by   role {}", Shown(&stamp.stamped_by)))?;
    output.data(format!("signature    {}", Shown(&signed.unwrap_or_default())))?;
    let beacon = stamp.beacon.as_ref().map_or_else(|| "none".to_owned(), beacon);
    output.data(format!("beacon       {beacon}"))?;
    Ok(if stamp.standing == Standing::Own { Exit::Done } else { Exit::Refused })
}

fn beacon(beacon: &palisade_postgres::stamp::Beacon) -> String {
    let stale = if beacon.is_stale() { format!(", {}", styled(BAD, "stale")) } else { String::new() };
    format!("{} s ago by {}, may be {} s old{stale}", beacon.age_s, Shown(&beacon.agent), beacon.max_age_s)
}

/// The stamp on one line.
pub(crate) fn line(stamp: &Stamp) -> String {
    let stale = stamp.beacon.as_ref().is_some_and(palisade_postgres::stamp::Beacon::is_stale);
    let stale = if stale { ", and its beacon is stale" } else { "" };
    match stamp.standing {
        Standing::Own => format!("{}{stale}", styled(STRONG, Shown(&stamp.environment))),
        other => format!("{}, but {other}{stale}", styled(BAD, Shown(&stamp.environment))),
    }
}

/// Whether that key signed what the stamp says.
pub(crate) fn signed_by(stamp: &Stamp, key: &VerifierKey) -> bool {
    stamp.signature.as_deref().is_some_and(|signature| key.has_signed(&stamp.signed_text(), signature))
}

/// The keys that count on this host, where a file says so.
///
/// The file has to be its owner's alone to write, and the owner root or this user: it decides what is trusted.
pub(crate) fn keys_that_count(host: &Host) -> Result<Option<(String, Vec<VerifierKey>)>, Failure> {
    let path = host.policy_path.with_file_name(KEYS);
    if !path.exists() {
        return Ok(None);
    }
    let shown = path.display().to_string();
    let bad = |problem: &str| {
        Failure::new(Exit::Failure, format!("{shown} {problem}")).hint(
            "a verifier key on each line, as `palisade db stamp` prints it; owner root or you, mode 0644",
        )
    };
    let text = files::read_if_of(&path, &[0, host.uid()], 1 << 16)
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| bad("cannot be trusted or read"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Option<Vec<_>> = lines.map(VerifierKey::parse).collect();
    let keys =
        keys.filter(|keys| !keys.is_empty()).ok_or_else(|| bad("holds a line that is no key, or none"))?;
    Ok(Some((shown, keys)))
}

/// Who signed it, as far as this host can tell.
fn signer(host: &Host, stamp: &Stamp) -> Result<String, Failure> {
    let Some(signature) = &stamp.signature else { return Ok("none".to_owned()) };
    let name = signature.split(' ').next().unwrap_or_default();
    if let Some((file, keys)) = keys_that_count(host)? {
        let by = keys.iter().find(|key| signed_by(stamp, key));
        return Ok(by.map_or_else(
            || format!("NOT by a key of {file}; it names {name}"),
            |key| format!("by {}, a key of {file}", key.name()),
        ));
    }
    let own = VerifierKey::read(&public_path(&host.state.key())).ok();
    Ok(match own {
        Some(key) if signed_by(stamp, &key) => format!("by this host ({})", key.name()),
        _ => format!("names {name}; this host has no key to check it with ({KEYS} beside the policy)"),
    })
}
