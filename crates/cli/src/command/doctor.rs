//! `palisade doctor`: what is wrong on this host, each finding with its fix.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use palisade_core::policy::Owner;
use palisade_core::text::escaped;
use palisade_core::{Exit, Policy, Snapshot};
use palisade_host::process;
use palisade_pipeline::memory;
use palisade_pm2::{Guarded, Isolation, dump};
use serde::Serialize;

use crate::args::Pm2Home;
use crate::command::ci::health;
use crate::failure::Failure;
use crate::output::{BAD, FAINT, GOOD, Output, STRONG, styled};
use crate::session::Session;

/// PM2 versions that Palisade is tested with, by major.
const TESTED_MAJORS: [&str; 3] = ["5", "6", "7"];

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// Something does not work, or a guard is not what it seems.
    Problem,
    /// Something is open that could be closed.
    Warning,
    /// Worth knowing.
    Note,
}

/// One thing that was found, and how to mend it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Found {
    level: Level,
    what: String,
    fix: String,
}

#[derive(Debug, Default)]
struct Report(Vec<Found>);

impl Report {
    fn add(&mut self, level: Level, what: impl Into<String>, fix: impl Into<String>) {
        let found = Found { level, what: what.into(), fix: fix.into() };
        if !self.0.contains(&found) {
            self.0.push(found);
        }
    }
}

pub(crate) async fn doctor(session: &Session, output: Output, daemon: &Pm2Home) -> Result<Exit, Failure> {
    let mut report = Report::default();
    let policy = policy(session, &mut report);
    daemons(session, &mut report)?;
    match super::list::look(session, daemon).await {
        Ok((_, snapshot)) => daemon_findings(session, &mut report, &snapshot, policy.as_ref()),
        Err(failure) => report.add(Level::Problem, failure.message, failure.hints.join("; ")),
    }
    journal(session, &mut report);
    if let Some((what, fix)) = health::problem(session) {
        report.add(Level::Problem, what, fix);
    }
    for (what, fix) in health::note(session).into_iter().chain(health::runners()) {
        report.add(Level::Note, what, fix);
    }
    report.0.sort_by_key(|found| found.level);
    output.document(&report.0)?;
    for found in &report.0 {
        let (style, word) = match found.level {
            Level::Problem => (BAD, "problem"),
            Level::Warning => (STRONG, "warning"),
            Level::Note => (FAINT, "note"),
        };
        output.data(format_args!("{} {}", styled(style, format_args!("{word:8}")), escaped(&found.what)))?;
        output.data(format_args!("         fix: {}", escaped(&found.fix)))?;
    }
    let problems = report.0.iter().filter(|found| found.level == Level::Problem).count();
    if problems == 0 {
        output.data(styled(GOOD, "no problems"))?;
    }
    Ok(if problems == 0 { Exit::Done } else { Exit::Failure })
}

fn policy(session: &Session, report: &mut Report) -> Option<Policy> {
    match session.policy_if_any() {
        Ok(Some(policy)) => Some(policy),
        Ok(None) => {
            let path = session.policy_path.display();
            report.add(Level::Problem, format!("there is no policy at {path}"), "run `palisade init`");
            None
        }
        Err(failure) => {
            report.add(Level::Problem, failure.message, "run `palisade config check` and mend what it names");
            None
        }
    }
}

/// Every PM2 daemon of this machine, as far as this user can see.
fn daemons(session: &Session, report: &mut Report) -> Result<(), Failure> {
    let found =
        process::find_all(palisade_pm2::locate::TITLE, |title| palisade_pm2::home_of_title(title).is_some())
            .map_err(|error| Failure::new(Exit::Failure, error.to_string()).caused_by(&error))?;
    let mut homes = BTreeSet::new();
    for daemon in &found {
        let Some(home) = palisade_pm2::home_of_title(&daemon.title) else { continue };
        if !homes.insert(home.to_owned()) {
            report.add(
                Level::Problem,
                format!("two PM2 daemons serve {home}"),
                "compare pm2.pid with the socket's owner, end the one that lists no processes, and see PAL-006",
            );
        }
        let whose = if daemon.uid == session.uid() { "this user" } else { "another user" };
        report.add(
            Level::Note,
            format!("PM2 daemon pid {} of {whose} (uid {}) at {home}", daemon.process.pid, daemon.uid),
            "each daemon is a resource of its own: --pm2-home selects one",
        );
    }
    Ok(())
}

fn daemon_findings(session: &Session, report: &mut Report, snapshot: &Snapshot, policy: Option<&Policy>) {
    let daemon = &snapshot.daemon;
    if !TESTED_MAJORS.contains(&daemon.version.split('.').next().unwrap_or_default()) {
        report.add(
            Level::Warning,
            format!("PM2 {} is not among the versions that Palisade is tested with", daemon.version),
            "use PM2 5.4, 6.0 or 7.0, or check `palisade pm2 list` against `pm2 ls` first",
        );
    }
    let home = Path::new(&daemon.home);
    if daemon.uid == session.uid() {
        let (what, fix) = match Guarded::read(home) {
            None => (
                "the daemon runs as this user: a script that calls pm2 itself does not pass through Palisade",
                "put a guard in front of it: palisade guard install pm2",
            ),
            Some(_) => (
                "the guard stands before a daemon of this same user: it stops every stale script, and nobody who means it",
                "palisade guard list says what it does not stop; --isolation separate-uid makes it a boundary",
            ),
        };
        report.add(Level::Warning, what, fix);
    }
    files(report, home, Path::new(&daemon.socket));
    lacking(report, snapshot);
    let Some(policy) = policy else { return };
    let unclaimed: BTreeSet<&str> = snapshot
        .countable()
        .filter(|process| policy.owner_in(&process.pin.name, &process.namespace) == Owner::Unclaimed)
        .map(|process| process.pin.name.as_str())
        .collect();
    if !unclaimed.is_empty() {
        report.add(
            Level::Warning,
            format!("no app claims {}", unclaimed.into_iter().collect::<Vec<_>>().join(", ")),
            "run `palisade init` again, or name them under `processes` of their [[app]]",
        );
    }
    let runs = |pattern: &palisade_core::Pattern| {
        snapshot.countable().any(|process| pattern.matches(&process.pin.name))
    };
    for app in &policy.apps {
        for pattern in app.processes.iter().filter(|pattern| !runs(pattern)) {
            report.add(
                Level::Note,
                format!("{} claims {pattern}, and no such process is listed", app.scope),
                "remove it from the policy if it is gone for good",
            );
        }
    }
}

/// Somebody saved after a loss, or edited the file: the next start would not bring these back.
fn lacking(report: &mut Report, snapshot: &Snapshot) {
    let home = Path::new(&snapshot.daemon.home);
    let running = snapshot.countable().map(|process| process.pin.name.as_str());
    match dump::read(home) {
        Ok(dump) if !dump.is_empty() => {
            let lacking = dump::lacking(&dump, running);
            if !lacking.is_empty() {
                report.add(
                    Level::Warning,
                    format!(
                        "dump.pm2 lacks {}, which a restart of the machine would lose",
                        lacking.join(", ")
                    ),
                    "palisade pm2 save --app APP --environment ENVIRONMENT",
                );
            }
        }
        Ok(_) => {}
        Err(error) => report.add(Level::Problem, error.to_string(), "restore dump.pm2.bak, or save again"),
    }
}

fn files(report: &mut Report, home: &Path, socket: &Path) {
    let mode = |path: &Path| path.metadata().map(|found| found.permissions().mode() & 0o777).ok();
    // With users of their own the group is the guard's, and it is the guard who gives orders there.
    let is_guards =
        |guarded: Guarded| guarded.isolation == Isolation::SeparateUid && guarded.private_rpc == socket;
    if let Some(mode) = mode(socket)
        && mode & 0o022 != 0
        && !Guarded::read(home).is_some_and(is_guards)
        && [Some(home), socket.parent()].into_iter().flatten().all(mode_matters)
    {
        let folder = socket.parent().unwrap_or(home);
        report.add(
            Level::Warning,
            format!("{} has mode {mode:04o}: its group may give the daemon orders", socket.display()),
            format!("chmod 0700 {}", folder.display()),
        );
    }
    let dump = home.join("dump.pm2");
    if let Some(mode) = mode(&dump)
        && mode & 0o077 != 0
    {
        report.add(
            Level::Warning,
            format!("{} has mode {mode:04o} and holds every app's variables, secrets too", dump.display()),
            format!(
                "chmod 0600 {}; PM2 writes it anew on each save, so chmod 0700 {} too",
                dump.display(),
                home.display()
            ),
        );
    }
}

/// A folder that only its owner may enter protects what lies in it.
fn mode_matters(home: &Path) -> bool {
    home.metadata().is_ok_and(|found| found.mode() & 0o077 != 0)
}

fn journal(session: &Session, report: &mut Report) {
    let folder = session.state.journal();
    match palisade_journal::signed_head(&folder) {
        Ok(None) => {
            report.add(Level::Note, "the journal is empty", "nothing to do: the first operation begins it");
            return;
        }
        Ok(Some(_)) => {}
        Err(error) => {
            report.add(Level::Problem, error.to_string(), palisade_pipeline::error::journal_fix(&error))
        }
    }
    let verified = palisade_journal::VerifierKey::read(&palisade_journal::public_path(&session.state.key()))
        .and_then(|key| palisade_journal::verify(&folder, &key, &[]));
    match verified {
        Ok(verified) => report.add(
            Level::Note,
            format!("the journal is intact: {} records", verified.records),
            "keep an anchor elsewhere: palisade journal anchor --out FILE",
        ),
        Err(error) => {
            report.add(Level::Problem, error.to_string(), palisade_pipeline::error::journal_fix(&error))
        }
    }
    match memory::unsettled(&folder, process::is_alive) {
        Ok(open) if !open.is_empty() => report.add(
            Level::Problem,
            format!("{} recorded operations have no known outcome (PAL-803)", open.len()),
            "run `palisade pm2 reconcile`",
        ),
        Ok(_) => {}
        Err(error) => {
            report.add(Level::Problem, error.to_string(), palisade_pipeline::error::journal_fix(&error))
        }
    }
}
