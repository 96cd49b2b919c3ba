//! `palisade pm2 save` and `flush`: one app's part of PM2's files, and nobody else's.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use palisade_core::policy::Owner;
use palisade_core::record::{Act, Phase};
use palisade_core::text::Shown;
use palisade_core::{Code, Exit, Policy, Scope};
use palisade_host::{clock, files};
use palisade_pm2::dump::{self, DumpError, Merged};
use palisade_pm2::list::Listing;
use palisade_pm2::vigil;
use serde_json::json;

use super::guard;
use crate::args::Pm2Home;
use crate::args::daemon::{FlushArgs, SaveArgs};
use crate::failure::Failure;
use crate::output::{GOOD, Output, styled};
use crate::session::Session;

/// Not following a link: a log that was replaced by one is not emptied.
const NO_FOLLOW: i32 = 0o400_000;

pub(crate) async fn save(session: &Session, output: Output, args: &SaveArgs) -> Result<Exit, Failure> {
    let (home, scope, policy, listing) = look(session, &args.of.scope, &args.of.daemon).await?;
    let old = dump::read(&home)?;
    let is_own = |name: &str| policy.owner_of(name) == Owner::Scope(scope.clone());
    let merged = dump::merge(&listing, &old, is_own);
    if merged.is_empty() {
        return Err(Failure::new(Exit::Refused, "nothing runs and nothing was saved before")
            .code(Code::EmptySelection)
            .hint("start the app first; an empty list is not saved"));
    }
    if !args.of.dry_run {
        write(session, &home, &merged)?;
        let details = vec![format!(
            "{scope}: {} processes, {} of others kept that do not run",
            merged.len(),
            merged.kept.len()
        )];
        guard::record(session, Act::Save, Phase::Done, &home, details)?;
    }
    output.document(&json!({
        "result": "saved",
        "dry_run": args.of.dry_run,
        "home": home,
        "processes": merged.len(),
        "kept": merged.kept,
        "dropped": merged.dropped,
    }))?;
    let word = if args.of.dry_run { "would save" } else { "saved" };
    output.data(format_args!("{} {} processes for the next start", styled(GOOD, word), merged.len()))?;
    for name in &merged.kept {
        output.data(format_args!("  kept, though it does not run: {}", Shown(name)))?;
    }
    for name in &merged.dropped {
        output.data(format_args!("  left out, for it is {scope}'s own and is gone: {}", Shown(name)))?;
    }
    Ok(Exit::Done)
}

/// The home, the scope that is meant, the policy, and the list.
async fn look(
    session: &Session,
    scope: &crate::args::ScopeArgs,
    daemon: &Pm2Home,
) -> Result<(PathBuf, Scope, Policy, Listing), Failure> {
    super::ci::no_stale_job(session)?;
    let scope = session.scope(scope)?;
    let policy = session.policy()?.into_policy();
    if !policy.apps.iter().any(|app| app.scope == scope) {
        return Err(Failure::new(Exit::Refused, format!("the policy has no {scope}"))
            .code(Code::UnknownScope)
            .hint("see `palisade config show` for the apps"));
    }
    let home = guard::home(session, daemon)?;
    let listing = super::list::daemon(session, daemon)?.listing().await?;
    Ok((home, scope, policy, listing))
}

/// Replaces the dump; the one before becomes `dump.pm2.bak`, as with PM2, and a version of our own.
pub(super) fn write(session: &Session, home: &Path, merged: &Merged) -> Result<(), Failure> {
    let path = home.join(dump::DUMP);
    let owner = {
        use std::os::unix::fs::MetadataExt as _;
        let found = home.metadata()?;
        (found.uid(), found.gid())
    };
    let put = |path: &Path, bytes: &[u8]| -> Result<(), Failure> {
        files::write_atomic(path, bytes, 0o600)?;
        if owner.0 != files::own_uid() {
            chown(path, Some(owner.0), Some(owner.1))?;
        }
        Ok(())
    };
    files::private_folder(session.state.root())?;
    if let Ok(old) = files::read_bounded(&path, 64 << 20) {
        vigil::keep(&versions(session), &old, clock::now())?;
        put(&home.join("dump.pm2.bak"), &old)?;
    }
    let bytes = merged.secret_bytes();
    put(&path, &bytes)?;
    // For a guard that watches over the file: this change is known.
    Ok(vigil::note(&versions(session), &bytes)?)
}

/// Where versions of dumps are.
pub(super) fn versions(session: &Session) -> PathBuf {
    session.state.root().join("dumps")
}

pub(crate) async fn flush(session: &Session, output: Output, args: &FlushArgs) -> Result<Exit, Failure> {
    let (home, scope, policy, listing) = look(session, &args.of.scope, &args.of.daemon).await?;
    let is_own = |name: &str| policy.owner_of(name) == Owner::Scope(scope.clone());
    let logs = |own: bool| -> BTreeSet<PathBuf> {
        let entries = listing.entries.iter().filter(|entry| is_own(&entry.process.pin.name) == own);
        entries.flat_map(palisade_pm2::list::Listed::log_files).collect()
    };
    let (own, foreign) = (logs(true), logs(false));
    let shared: Vec<&PathBuf> = own.intersection(&foreign).collect();
    let wanted: Vec<&PathBuf> = own.difference(&foreign).filter(|path| path.is_file()).collect();
    if wanted.is_empty() {
        return Err(Failure::new(Exit::Refused, format!("{scope} has no log file of its own"))
            .code(Code::EmptySelection)
            .hint("see `palisade pm2 list` for what runs"));
    }
    if !args.of.dry_run {
        for path in &wanted {
            let opened = OpenOptions::new().write(true).truncate(true).custom_flags(NO_FOLLOW).open(path);
            opened.map_err(|error| {
                Failure::new(Exit::Failure, format!("cannot empty {}: {error}", path.display()))
            })?;
        }
        let details = vec![format!("{scope}: {} files", wanted.len())];
        guard::record(session, Act::Flush, Phase::Done, &home, details)?;
    }
    output.document(&json!({
        "result": "flushed", "dry_run": args.of.dry_run, "files": wanted, "shared": shared,
    }))?;
    let word = if args.of.dry_run { "would empty" } else { "emptied" };
    for path in &wanted {
        output.data(format_args!("{} {}", styled(GOOD, word), path.display()))?;
    }
    for path in &shared {
        output.data(format_args!("left alone, for another app writes to it too: {}", path.display()))?;
    }
    Ok(Exit::Done)
}

impl From<DumpError> for Failure {
    fn from(error: DumpError) -> Self {
        Self::new(Exit::Failure, error.to_string()).caused_by(&error)
    }
}
