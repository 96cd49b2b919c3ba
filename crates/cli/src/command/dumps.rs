//! `palisade pm2 dumps`: versions of PM2's dump, and the way back to one.

use palisade_core::Exit;
use palisade_core::Timestamp;
use palisade_core::record::{Act, Phase};
use palisade_core::text::{Shown, escaped};
use palisade_pm2::dump::{self, Entry};
use palisade_pm2::vigil;
use serde_json::json;

use super::guard;
use super::save::{versions, write};
use crate::args::daemon::{DumpRestoreArgs, DumpsArgs, DumpsVerb};
use crate::failure::{Failure, ago};
use crate::output::{GOOD, Output, styled};
use crate::session::Session;

pub(crate) fn dumps(session: &Session, output: Output, args: &DumpsArgs) -> Result<Exit, Failure> {
    match &args.verb {
        None => list(session, output, args),
        Some(DumpsVerb::Restore(args)) => restore(session, output, args),
    }
}

fn names(entries: &[Entry]) -> impl Iterator<Item = &str> {
    entries.iter().map(Entry::name)
}

fn list(session: &Session, output: Output, args: &DumpsArgs) -> Result<Exit, Failure> {
    let now = dump::read(&guard::home(session, &args.daemon)?)?;
    let folder = versions(session);
    let found: Vec<_> = vigil::names(&folder)
        .into_iter()
        .filter_map(|name| {
            let entries = vigil::version(&folder, &name)?;
            let (lacking, at) = (dump::lacking(&now, names(&entries)), name.parse().ok()?);
            Some((name, Timestamp::from_unix_ms(at), entries.len(), lacking))
        })
        .collect();
    let shown = |(name, at, count, lacking): &(String, Timestamp, usize, Vec<String>)| json!({ "version": name, "at": at, "processes": count, "lacking_now": lacking });
    output.document(&found.iter().map(shown).collect::<Vec<_>>())?;
    for (name, at, count, lacking) in &found {
        output.data(format_args!(
            "{name}  until {}  {count} processes",
            ago(*at, palisade_host::clock::now())
        ))?;
        if !lacking.is_empty() {
            output.data(format_args!("    dump.pm2 lacks now: {}", escaped(&lacking.join(", "))))?;
        }
    }
    if found.is_empty() {
        output.data("no version is kept: dump.pm2 was not changed since a guard looks at it")?;
    }
    Ok(Exit::Done)
}

fn restore(session: &Session, output: Output, args: &DumpRestoreArgs) -> Result<Exit, Failure> {
    let home = guard::home(session, &args.daemon)?;
    let Some(earlier) = vigil::version(&versions(session), &args.name) else {
        let message = format!("there is no version {} of dump.pm2", Shown(&args.name));
        return Err(Failure::new(Exit::Usage, message).hint("`palisade pm2 dumps` lists those that are kept"));
    };
    // One that is damaged has nothing to keep: it becomes a version itself.
    let old = dump::read(&home).unwrap_or_default();
    let back = dump::lacking(&old, names(&earlier));
    let merged = dump::put_back(&earlier, &old);
    if !args.dry_run {
        write(session, &home, &merged)?;
        let details = vec![format!("version {} was put back: {} processes", args.name, merged.len())];
        guard::record(session, Act::Save, Phase::Done, &home, details)?;
    }
    output.document(&json!({
        "result": "restored", "dry_run": args.dry_run, "home": home, "processes": merged.len(), "back": back,
        "kept": merged.kept,
    }))?;
    let word = if args.dry_run { "would put back" } else { "put back" };
    output.data(format_args!("{} version {}: {} processes", styled(GOOD, word), args.name, merged.len()))?;
    for name in &back {
        output.data(format_args!("  in dump.pm2 again: {}", Shown(name)))?;
    }
    Ok(Exit::Done)
}
