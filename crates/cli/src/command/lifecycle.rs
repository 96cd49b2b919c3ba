//! `palisade pm2 kill` and `update`: the whole daemon, under a lease, with a snapshot, confirmed and looked at afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use palisade_core::actor::ProcessRef;
use palisade_core::process::{DaemonIdentity, Status};
use palisade_core::record::{Act, Phase};
use palisade_core::text::Shown;
use palisade_core::{Code, Exit, Scope, Snapshot};
use palisade_host::lease::{self, Acquired, Applicant, Lease};
use palisade_host::{files, state};
use palisade_install::Found;
use palisade_install::daemon::{self, Pm2Command};
use palisade_pipeline::{Resource as _, snapshots as store};
use palisade_pm2::{Pm2, dump};
use serde_json::json;

use super::guard;
use crate::args::Pm2Home;
use crate::args::daemon::{KillArgs, UpdateArgs};
use crate::failure::Failure;
use crate::output::{BAD, GOOD, Output, styled};
use crate::session::Session;

/// Everything that both acts begin with: nothing has been touched yet.
pub(super) struct Prepared {
    home: PathBuf,
    pub(super) before: Snapshot,
    pub(super) apps: Vec<ProcessRef>,
    _lease: Lease,
}

pub(crate) async fn kill(session: &Session, output: Output, args: &KillArgs) -> Result<Exit, Failure> {
    let prepared = prepare(session, args, "kill").await?;
    let home = prepared.home.clone();
    let details = vec![format!(
        "{} processes, snapshot {}",
        prepared.before.processes.len(),
        prepared.before.id.as_str()
    )];
    guard::record(session, Act::DaemonKill, Phase::Begun, &home, details.clone())?;
    let ended = daemon::end(prepared.before.daemon.process, &prepared.apps);
    let after = Found::at(&home)?;
    let is_verified = ended.is_ok() && after.daemons.is_empty();
    let phase = if is_verified { Phase::Done } else { Phase::Failed };
    let announced = guard::record(session, Act::DaemonKill, phase, &home, details)?;
    ended?;
    output.document(&json!({
        "result": if is_verified { "killed" } else { "failed" },
        "home": home,
        "snapshot": prepared.before.id,
        "ended": prepared.apps.len(),
    }))?;
    let word = if is_verified { styled(GOOD, "ended:") } else { styled(BAD, "not verified:") };
    output.data(format_args!("{word} PM2 at {} with {} processes", home.display(), prepared.apps.len()))?;
    output.data(format_args!("  snapshot: {}", prepared.before.id.as_str()))?;
    output.data(format_args!("  recorded: {}", announced.place()))?;
    output.data("  undo:     start the daemon, then `palisade pm2 restore --snapshot` with that id")?;
    Ok(if is_verified { Exit::Done } else { Exit::VerificationFailed })
}

pub(crate) async fn update(session: &Session, output: Output, args: &UpdateArgs) -> Result<Exit, Failure> {
    let script = match &args.pm2 {
        Some(path) => path.clone(),
        None => guard::in_path(session, "pm2").ok_or_else(|| {
            Failure::usage("there is no `pm2` in PATH").hint("name PM2's own command with --pm2 FILE")
        })?,
    };
    let prepared = prepare(session, &args.kill, "update").await?;
    let (home, before) = (prepared.home.clone(), &prepared.before);
    let command = pm2_command(session, &home, &before.daemon, script)?;
    save_all(session, &home).await?;
    let details = vec![format!("{} processes, snapshot {}", before.processes.len(), before.id.as_str())];
    guard::record(session, Act::DaemonUpdate, Phase::Begun, &home, details.clone())?;
    let log = session.state.root().join("pm2-update.log");
    // The daemon first and alone, so that no app inherits its sockets' variables.
    let done = daemon::end(before.daemon.process, &prepared.apps)
        .and_then(|()| command.run(&["ping"], &log))
        .and_then(|()| command.run(&["resurrect"], &log));
    let problems = match &done {
        Ok(()) => verify(session, &home, before).await?,
        Err(error) => vec![error.to_string()],
    };
    let phase = if problems.is_empty() { Phase::Done } else { Phase::Failed };
    let announced =
        guard::record(session, Act::DaemonUpdate, phase, &home, [details, problems.clone()].concat())?;
    output.document(&json!({
        "result": if problems.is_empty() { "updated" } else { "failed" },
        "home": home,
        "snapshot": before.id,
        "problems": problems,
    }))?;
    let word = if problems.is_empty() { styled(GOOD, "updated:") } else { styled(BAD, "not verified:") };
    output.data(format_args!("{word} PM2 at {}", home.display()))?;
    for problem in &problems {
        output.data(format_args!("  {}", Shown(problem)))?;
    }
    output.data(format_args!("  snapshot: {}", before.id.as_str()))?;
    output.data(format_args!("  recorded: {}", announced.place()))?;
    if !problems.is_empty() {
        output.data(format_args!("  restore:  palisade pm2 restore --snapshot {}", before.id.as_str()))?;
    }
    Ok(if problems.is_empty() { Exit::Done } else { Exit::VerificationFailed })
}

/// Looks, asks for the confirmation, takes the lease, and keeps snapshot and values.
pub(super) async fn prepare(session: &Session, args: &KillArgs, word: &str) -> Result<Prepared, Failure> {
    super::ci::no_stale_job(session)?;
    let home = guard::home(session, &args.daemon)?;
    let named = Pm2Home { pm2_home: Some(home.clone()) };
    let (mut pm2, mut before) = super::list::look(session, &named).await?;
    let own = files::own_uid();
    if own != 0 && own != before.daemon.uid {
        return Err(Failure::new(Exit::Refused, "the daemon belongs to another user")
            .hint("run it as that user, or as root"));
    }
    confirmed(args, &home, &before, word)?;
    let lease = lease(session, args, word)?;
    let values = pm2.values(&before);
    store::keep(&session.state.snapshots(), &mut before, values)?;
    let apps = before.processes.iter().filter_map(|process| process.pin.process).collect();
    Ok(Prepared { home, before, apps, _lease: lease })
}

fn confirmed(args: &KillArgs, home: &Path, before: &Snapshot, word: &str) -> Result<(), Failure> {
    let typed = args.confirm.as_deref().map(|typed| typed.trim_end_matches('/'));
    let wanted = home.display().to_string();
    if typed == Some(wanted.trim_end_matches('/')) {
        return Ok(());
    }
    let words = if word.contains(' ') { word.to_owned() } else { format!("pm2 {word}") };
    let names: Vec<String> = before.countable().map(|process| Shown(&process.pin.name).to_string()).collect();
    let mut failure = Failure::new(
        Exit::ConfirmationNeeded,
        format!("this takes down all {} processes of PM2 at {wanted}: {}", names.len(), names.join(", ")),
    )
    .code(Code::ConfirmationNeeded)
    .hint(format!("if that is meant: palisade {words} --confirm={wanted}"));
    if let Some(typed) = typed {
        failure = failure.hint(format!("{:?} is not the daemon's home", Shown(typed).to_string()));
    }
    Err(failure)
}

/// The lease of acts on the whole daemon; no app may be under deployment meanwhile.
fn lease(session: &Session, args: &KillArgs, word: &str) -> Result<Lease, Failure> {
    files::private_folder(session.state.root())?;
    files::private_folder(&session.state.leases())?;
    let applicant = Applicant { program: format!("palisade pm2 {word}"), run: None };
    let scope = Scope::of_restores();
    let acquired = lease::acquire_within(&session.state.leases(), &scope, &applicant, args.wait, &mut |_| {});
    let held = |holder: &lease::Holder| {
        Failure::new(Exit::LeaseHeld, format!("another deployment holds a lease: {holder}"))
            .code(Code::LeaseHeld)
            .hint("try again when it is done, or wait for it with --wait 60s")
    };
    let own = match acquired.map_err(palisade_pipeline::Error::from)? {
        Acquired::Held(lease) => lease,
        Acquired::Busy(holder) => return Err(held(&holder)),
        Acquired::Joined(_) => {
            return Err(Failure::usage("a daemon is not ended from within a deployment"));
        }
    };
    let others = lease::list(&session.state.leases()).map_err(palisade_pipeline::Error::from)?;
    match others.into_iter().find(|(other, _)| *other != scope) {
        Some((_, holder)) => Err(held(&holder)),
        None => Ok(own),
    }
}

fn pm2_command(
    session: &Session,
    home: &Path,
    daemon: &DaemonIdentity,
    script: PathBuf,
) -> Result<Pm2Command, Failure> {
    let found = Found::at(home)?;
    let own_home = session.environment.absolute_path("HOME").filter(|_| daemon.uid == files::own_uid());
    let user_home = own_home.or_else(|| state::home_of(Path::new("/etc/passwd"), daemon.uid));
    let user_home = user_home.ok_or_else(|| {
        Failure::new(Exit::Failure, format!("user {} has no home folder", daemon.uid)).hint("set HOME")
    })?;
    let places = &found.places;
    let is_guarded = found.is_guarded() || found.started_private;
    Ok(Pm2Command {
        script,
        home: home.to_owned(),
        user_home,
        user: (daemon.uid, found.gid),
        path: session.environment.text("PATH").unwrap_or_default(),
        private: is_guarded.then(|| (places.private_rpc.clone(), places.private_bus.clone())),
    })
}

/// Writes everything that runs into the dump, and keeps what is in it already.
pub(super) async fn save_all(session: &Session, home: &Path) -> Result<(), Failure> {
    let named = Pm2Home { pm2_home: Some(home.to_owned()) };
    let listing = super::list::daemon(session, &named)?.listing().await?;
    let old = dump::read(home).unwrap_or_default();
    super::save::write(session, home, &dump::merge(&listing, &old, |_| false))
}

/// What is not as it was: the apps by name and number of instances, those that ran still run, one daemon, behind its
/// guard.
pub(super) async fn verify(
    session: &Session,
    home: &Path,
    before: &Snapshot,
) -> Result<Vec<String>, Failure> {
    let found = Found::at(home)?;
    let mut problems = Vec::new();
    if found.daemons.len() != 1 {
        problems.push(format!("{} daemons run on this home", found.daemons.len()));
        return Ok(problems);
    }
    if found.is_guarded() && !found.started_private {
        problems.push("the daemon does not listen on its private sockets".to_owned());
    }
    let named = Pm2Home { pm2_home: Some(home.to_owned()) };
    let pm2: Pm2 = super::list::daemon(session, &named)?;
    let now = pm2.list().await?;
    let now = instances(now.iter().filter(|row| !row.module).map(|row| (row.name.as_str(), &row.status)));
    let was = instances(before.countable().map(|process| (process.pin.name.as_str(), &process.status)));
    for (name, (count, up)) in was {
        let (count_now, up_now) = now.get(name).copied().unwrap_or_default();
        if count_now < count || up_now < up {
            problems.push(format!("{name}: {up} of {count} ran, and {up_now} of {count_now} do"));
        }
    }
    Ok(problems)
}

/// By name: how many there are, and how many of them run.
fn instances<'a>(rows: impl Iterator<Item = (&'a str, &'a Status)>) -> BTreeMap<&'a str, (usize, usize)> {
    let mut counts = BTreeMap::<&str, (usize, usize)>::new();
    for (name, status) in rows {
        let count = counts.entry(name).or_default();
        count.0 += 1;
        count.1 += usize::from(status.is_up());
    }
    counts
}
