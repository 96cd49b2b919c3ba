//! `palisade db undo` and `palisade explain row`: from what a table's guard recorded.

use palisade_core::Exit;
use palisade_core::record::Act;
use palisade_core::text::Shown;
use palisade_dbguard::story::Event;
use palisade_dbguard::undo::{Now, Target, Wanted, undo, undoable};
use palisade_dbguard::{Installed, Table, story};
use palisade_postgres::Session;
use serde_json::json;

use crate::args::database::{RowArgs, UndoArgs};
use crate::command::db::{reach, reach_to_write};
use crate::failure::Failure;
use crate::output::{GOOD, Output, STRONG, styled};
use crate::render::table;
use crate::session::Session as Host;

pub(crate) async fn row(output: Output, args: &RowArgs) -> Result<Exit, Failure> {
    let (session, _) = reach(output, None, &args.database).await?;
    let (_, guard) = guard_of(&session, &args.table).await?;
    let events = story(&session, &guard, &args.key).await?;
    output.document(&json!({ "table": guard.table, "key": args.key, "events": events }))?;
    let Some(exit) = events.iter().find(|event| event.event == "exit") else {
        output.data(format!("job {} of {}: no exit is recorded", Shown(&args.key), Shown(&guard.table)))?;
        return Ok(Exit::Done);
    };
    tell(output, &guard, args, exit)?;
    output.data("")?;
    let rows: Vec<_> = events.iter().rev().map(line).collect();
    for line in
        table::columns(&["at", "event", "change", "beat's age", "ground", "app (claimed)", "role"], &rows)
    {
        output.data(line)?;
    }
    Ok(Exit::Done)
}

/// The guard of a table that somebody typed.
pub(crate) async fn guard_of(session: &Session, name: &str) -> Result<(Table, Installed), Failure> {
    Ok(palisade_dbguard::guard_of(session, name).await?)
}

fn change(event: &Event) -> String {
    let state = |state: &Option<String>| state.clone().unwrap_or_else(|| "nothing".to_owned());
    format!("{} -> {}", state(&event.was), state(&event.became))
}

fn line(event: &Event) -> Vec<String> {
    let ground = match event.code {
        Some(code) => format!("PAL-{code}, observed"),
        None => event.ground.clone().unwrap_or_default(),
    };
    let age = event.age.clone().unwrap_or_default();
    vec![
        event.at.clone(),
        event.event.clone(),
        change(event),
        age,
        ground,
        event.app.clone(),
        event.role.clone(),
    ]
}

fn tell(output: Output, guard: &Installed, args: &RowArgs, exit: &Event) -> Result<(), Failure> {
    let rules = &guard.rules;
    output.data(format!("{} {}", styled(STRONG, "last exit:"), Shown(&change(exit))))?;
    let app = if exit.app.is_empty() { "no name".to_owned() } else { format!("{:?}", exit.app) };
    output.data(format!("  when:      {}", exit.at))?;
    output.data(format!("  who:       {} (claimed), role {}", Shown(&app), Shown(&exit.role)))?;
    output.data(format!(
        "  from:      {}, server process {}, transaction {}",
        exit.address, exit.backend, exit.transaction
    ))?;
    let epoch = exit.epoch.as_ref().map(|epoch| format!(", build of epoch {epoch}")).unwrap_or_default();
    output.data(format!(
        "  proved:    {}, holding {}{epoch}",
        Shown(exit.identity.as_deref().unwrap_or("nothing")),
        Shown(exit.term.as_deref().unwrap_or("no term"))
    ))?;
    let age = exit.age.as_deref().unwrap_or("of unknown age");
    output.data(format!(
        "  beat:      {age} old; alive up to {}, to be taken from {} on",
        humantime::format_duration(rules.quiet_after),
        humantime::format_duration(rules.min_age)
    ))?;
    let verdict = match (exit.code, exit.ground.as_deref()) {
        (Some(code), _) => format!("broke PAL-{code}; the guard only observed"),
        (None, ground) => format!("passed as {}", ground.unwrap_or("unknown")),
    };
    output.data(format!("  rule:      {verdict}"))?;
    output.data(format!("  reason:    {}", Shown(exit.reason.as_deref().unwrap_or("none"))))?;
    if let Some(statement) = &exit.statement {
        output.data(format!("  statement: {}", Shown(statement)))?;
    }
    if exit.code.is_some() {
        output.talk(format!("next: palisade guard mode table {} enforce", Shown(&args.table)));
    }
    if exit.ground.as_deref() != Some("done") {
        output.talk(format!(
            "undo: palisade db undo {} --since 24h --op {} --dry-run",
            Shown(&args.table),
            exit.transaction
        ));
    }
    Ok(())
}

pub(crate) async fn give_back(output: Output, args: &UndoArgs) -> Result<Exit, Failure> {
    let (session, identity) = match args.dry_run {
        true => reach(output, None, &args.database).await?,
        false => reach_to_write(output, &args.database).await?,
    };
    let (found, guard) = guard_of(&session, &args.table).await?;
    let wanted =
        Wanted { since: args.since, app: args.by.clone(), transaction: args.op.clone(), to: args.to.clone() };
    let targets = undoable(&session, &guard, &found, &wanted).await?;
    let given = match args.dry_run {
        true => Vec::new(),
        false => {
            let place = format!("{} of {}", found.shown(), identity.place());
            let keys = |keys: &[String]| format!("jobs {}", keys.join(", "));
            let untouched = targets.iter().filter(|target| target.now == Now::Untouched);
            let asked: Vec<_> = untouched.map(|target| target.key.clone()).collect();
            let begun = Host::open()?.begin(Act::Undo, &place, vec![keys(&asked)])?;
            let done = undo(&session, &guard, &found, &targets, &wanted, begun.intended()).await;
            begun.settle(done, |given| vec![keys(given)])?
        }
    };
    output.document(&json!({
        "table": guard.table, "targets": targets, "given_back": given, "dry_run": args.dry_run,
    }))?;
    let rows: Vec<_> = targets.iter().map(|target| planned(target, args.to.as_deref())).collect();
    if rows.is_empty() {
        output.talk("nothing to undo: no such exit is recorded");
        return Ok(Exit::Done);
    }
    let head = ["job", "left", "for", "at", "app (claimed)", "role", "beat's age", "now"];
    for line in table::columns(&head, &rows) {
        output.data(line)?;
    }
    if args.dry_run {
        output.data("dry run: nothing was touched")?;
        return Ok(Exit::Done);
    }
    output.data(format!(
        "{} {} of {} jobs are given back",
        styled(GOOD, "ok:"),
        given.len(),
        targets.len()
    ))?;
    let untouched = targets.iter().filter(|target| target.now == Now::Untouched).count();
    Ok(if given.len() == untouched { Exit::Done } else { Exit::VerificationFailed })
}

fn planned(target: &Target, to: Option<&str>) -> Vec<String> {
    let now = match target.now {
        Now::Untouched => format!("goes back to {}", to.unwrap_or(&target.was)),
        Now::Changed => "changed since: left alone".to_owned(),
        Now::Gone => "its row is gone".to_owned(),
    };
    let Target { key, was, became, at, app, role, age, .. } = target;
    [key, was, became, at, app, role, age, &now].map(Clone::clone).to_vec()
}
