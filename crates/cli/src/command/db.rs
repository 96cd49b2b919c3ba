//! `palisade db`: whom did I reach.

use std::fs;

use palisade_core::Exit;
use palisade_core::text::Shown;
use palisade_host::environment::Environment;
use palisade_journal::VerifierKey;
use palisade_postgres::{Identity, Level, Session, Stamp, Standing, Target, identify};

use crate::args::database::{DatabaseArgs, DbCommand, IdentifyArgs};
use crate::command::{audit, bind, expect, fork, identity, rotate, stamp, undo};
use crate::failure::Failure;
use crate::output::{Output, STRONG, styled};
use crate::render::table;
use crate::session::Session as Host;

/// Where a URL is looked for when none is given.
pub(crate) const DEFAULT: &str = "PALISADE_DATABASE_URL";

pub(crate) async fn db(output: Output, command: &DbCommand) -> Result<Exit, Failure> {
    match command {
        DbCommand::Identify(args) => ask(output, args).await,
        DbCommand::Stamp(args) => stamp::stamp(output, args).await,
        DbCommand::Key(command) => identity::keys(output, command).await,
        DbCommand::Beacon(args) => fork::beacon(output, args).await,
        DbCommand::Fork(args) => fork::fork(output, args).await,
        DbCommand::Proof(args) => identity::proof(output, args),
        DbCommand::Epoch(command) => identity::epoch(output, command).await,
        DbCommand::Bind(args) => bind::bind(output, args).await,
        DbCommand::Undo(args) => undo::give_back(output, args).await,
        DbCommand::Audit(args) => audit::audit(output, args).await,
        DbCommand::Expect(command) => expect::expect(output, command).await,
        DbCommand::Rotate(command) => rotate::rotate(output, command).await,
    }
}

async fn ask(output: Output, args: &IdentifyArgs) -> Result<Exit, Failure> {
    let IdentifyArgs { url, database } = args;
    let (_, identity) = reach(output, url.as_deref(), database).await?;
    output.document(&identity)?;
    show(output, &identity)?;
    Ok(Exit::Done)
}

/// Connects, asks who answers, and ends with exit 3 where that is not who was meant. Nothing is written before.
pub(crate) async fn reach(
    output: Output,
    url: Option<&str>,
    database: &DatabaseArgs,
) -> Result<(Session, Identity), Failure> {
    let (session, identity) = reach_any(output, url, database).await?;
    if let Some(environment) = &database.environment {
        identity.expect_environment(environment.as_str())?;
    }
    Ok((session, identity))
}

/// As [`reach`], whatever environment the database says that it is of: for what says it.
pub(crate) async fn reach_any(
    output: Output,
    url: Option<&str>,
    database: &DatabaseArgs,
) -> Result<(Session, Identity), Failure> {
    let target = target(output, url.or(database.database.as_deref()))?;
    output.progress(format!("asking {target} who it is"));
    let (session, identity) = identify(&target).await?;
    identity.expect(database.expect.as_deref())?;
    Ok((session, identity))
}

/// As [`reach`], for what writes: the stamp, where there is one, also has to be one of the environment that
/// PALISADE_ENVIRONMENT names, or else of those that this host's policy knows, and signed by a key that counts here.
pub(crate) async fn reach_to_write(
    output: Output,
    database: &DatabaseArgs,
) -> Result<(Session, Identity), Failure> {
    let (session, identity) = reach(output, None, database).await?;
    if let Some(stamp) = &identity.stamp {
        Surroundings::look()?.judge(output, database, stamp)?;
    }
    Ok((session, identity))
}

/// What this host holds against a stamp.
struct Surroundings {
    /// Which environments a database may be of; empty where nothing says so.
    environments: Vec<String>,
    /// The file of keys whose signature counts, and the keys; none where there is no such file.
    keys: Option<(String, Vec<VerifierKey>)>,
}

impl Surroundings {
    fn look() -> Result<Self, Failure> {
        let session = Host::open()?;
        let named = session.environment.text("PALISADE_ENVIRONMENT").filter(|name| !name.is_empty());
        let environments = match named {
            Some(name) => vec![name],
            None if session.policy_path.exists() => {
                let policy = session.host_policy()?;
                policy.policy().environments.keys().map(ToString::to_string).collect()
            }
            None => Vec::new(),
        };
        Ok(Self { environments, keys: stamp::keys_that_count(&session)? })
    }

    fn judge(&self, output: Output, database: &DatabaseArgs, stamp: &Stamp) -> Result<(), Failure> {
        let environments: Vec<_> = self.environments.iter().map(String::as_str).collect();
        if !environments.is_empty() {
            stamp.expect(&environments)?;
        } else if database.environment.is_none() && stamp.standing != Standing::Own {
            output.talk(format!(
                "look: this database bears the stamp of {} and is not it: {}",
                Shown(&stamp.environment),
                stamp.standing
            ));
        }
        if let Some((file, keys)) = &self.keys
            && !keys.iter().any(|key| stamp::signed_by(stamp, key))
        {
            let environment = stamp.environment.clone();
            return Err(palisade_postgres::Error::Unsigned { environment, keys: file.clone() }.into());
        }
        Ok(())
    }
}

/// What a URL, `@FILE` or `env:NAME` stands for.
pub(crate) fn text_of(source: &str) -> Result<String, Failure> {
    match (source.strip_prefix("env:"), source.strip_prefix('@')) {
        (Some(name), _) => variable(name),
        (None, Some(file)) => fs::read_to_string(file)
            .map(|text| text.trim().to_owned())
            .map_err(|error| Failure::unreadable(file.as_ref(), &error)),
        (None, None) => Ok(source.to_owned()),
    }
}

fn variable(name: &str) -> Result<String, Failure> {
    let missing = || {
        Failure::usage(format!("no database is named: ${name} is not set"))
            .hint(format!("give a URL, @FILE or env:NAME, or set {DEFAULT}"))
    };
    Environment::of_this_process().text(name).ok_or_else(missing)
}

pub(crate) fn target(output: Output, source: Option<&str>) -> Result<Target, Failure> {
    let url = match source {
        None => variable(DEFAULT)?,
        Some(source) => text_of(source)?,
    };
    let target = Target::parse(&url)?;
    if source == Some(url.as_str()) && target.has_password() {
        output.talk(
            "a password on a command line is seen by every user of this machine: use @FILE or env:NAME",
        );
    }
    Ok(target.or_password(Environment::of_this_process().text("PGPASSWORD")))
}

fn show(output: Output, identity: &Identity) -> Result<(), Failure> {
    let Identity { server, role, .. } = identity;
    let mut facts = vec![
        ("database", format!("{} ({})", styled(STRONG, Shown(&identity.database)), identity.id)),
        ("server", server_line(identity)),
        ("known by", bound_line(identity)),
    ];
    if let Some(provider) = server.provider {
        facts.push(("provider", provider.to_owned()));
    }
    facts.extend(server.provider_ids.iter().map(|(name, value)| (name.as_str(), Shown(value).to_string())));
    facts.push(("started", server.started.clone()));
    let may = [
        (role.superuser, "superuser"),
        (role.create_role, "may make roles"),
        (role.create_schema, "may make schemas"),
        (role.sees_sessions, "sees all sessions"),
        (role.reads_log, "may read the log"),
    ];
    let may: Vec<_> = may.iter().filter(|(may, _)| *may).map(|(_, what)| *what).collect();
    let may = if may.is_empty() { "no special rights".to_owned() } else { may.join(", ") };
    facts.push(("role", format!("{}: {may}; owns {} tables", Shown(&role.name), role.tables_owned)));
    facts.push(("between", identity.between.to_string()));
    let encryption = match identity.encryption {
        "verified" => "TLS, certificate verified",
        "unverified" => "TLS, certificate NOT verified (sslmode=no-verify)",
        _ => "none",
    };
    facts.push(("encryption", encryption.to_owned()));
    facts.push(("stamp", identity.stamp.as_ref().map_or_else(|| "none".to_owned(), stamp::line)));
    let guarded = identity.guarded.iter().map(|name| Shown(name).to_string()).collect::<Vec<_>>().join(", ");
    facts.push(("guarded", if guarded.is_empty() { "no table".to_owned() } else { guarded }));
    for (name, value) in facts {
        output.data(format!("{name:<11} {value}"))?;
    }
    output.data("")?;
    let row = |ability: &palisade_postgres::Ability| {
        vec![ability.feature.to_owned(), level(ability.level), ability.reason.to_owned()]
    };
    let rows: Vec<_> = identity.abilities.iter().map(row).collect();
    for line in table::columns(&["here Palisade can", "", "because"], &rows) {
        output.data(line)?;
    }
    Ok(())
}

fn server_line(identity: &Identity) -> String {
    let server = &identity.server;
    let standby = if server.standby { ", a standby" } else { "" };
    let address = server.address.as_ref().map(|address| format!(" at {address}")).unwrap_or_default();
    format!("PostgreSQL {}{address}{standby}", Shown(&server.version))
}

/// What a copy does not have, each by its name.
fn bound_line(identity: &Identity) -> String {
    let server = &identity.server;
    let system = server.system_identifier.as_deref().unwrap_or("unknown: this role may not see it");
    let timeline = server.timeline.map_or_else(|| "unknown".to_owned(), |timeline| timeline.to_string());
    format!("system identifier {system}, oid {}, timeline {timeline}", server.database_oid)
}

fn level(level: Level) -> String {
    let word = match level {
        Level::Full => "full",
        Level::Partial => "partial",
        Level::None => "none",
    };
    word.to_owned()
}
