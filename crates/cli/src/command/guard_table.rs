//! `palisade guard ... table`: the guard inside PostgreSQL.

use std::time::Duration;

use palisade_core::Exit;
use palisade_core::record::Act;
use palisade_core::text::Shown;
use palisade_dbguard::refused::{Channel, Refused, refused};
use palisade_dbguard::script::{self, Columns};
use palisade_dbguard::upgrade::expect_current;
use palisade_dbguard::{
    Budget, Installed, Mode, Patience, Report, Rules, Table, inspect, installed, report, run,
};
use palisade_postgres::Identity;
use serde_json::json;

use crate::args::database::DatabaseArgs;
use crate::args::guard_table::{InstallTable, ModeTable, RemoveTable, ReportTable};
use crate::command::db::{reach, reach_to_write};
use crate::command::guard_rules::chosen;
use crate::failure::Failure;
use crate::output::{GOOD, Output, STRONG, styled};
use crate::render::table;
use crate::session::Session as Host;

pub(crate) async fn install(output: Output, args: &InstallTable) -> Result<Exit, Failure> {
    let (session, identity) = match args.inspect || args.dry_run {
        true => reach(output, None, &args.database).await?,
        false => reach_to_write(output, &args.database).await?,
    };
    let found = Table::find(&session, &args.table).await?;
    let chosen = if args.inspect { None } else { chosen(&session, args, &found).await? };
    let Some((named, rules)) = chosen else { return propose(output, &found) };
    expect_current(&session).await?;
    rules.check()?;
    let columns = Columns::of(&found, &named, &rules)?;
    rules.check_patterns(&session).await?;
    let patience = Patience::default();
    let sql = script::install(&found, &columns, &rules, patience.lock_timeout);
    if args.dry_run {
        output.document(&json!({ "database": identity.id, "table": found.shown(), "sql": sql }))?;
        output.data(sql.trim_end())?;
        return Ok(Exit::Done);
    }
    let place = place(&found, &identity);
    let begun = Host::open()?.begin(Act::TableInstall, &place, ruled(&rules))?;
    let ran = run(&session, &found.shown(), "install the guard", &sql, patience).await;
    let attempts = begun.settle(ran, attempted)?;
    output.document(&json!({
        "result": "installed", "database": identity.id, "table": found.shown(), "mode": rules.mode,
        "attempts": attempts, "owner": found.owner,
    }))?;
    let done = if found.guarded { "changed" } else { "installed" };
    let name = found.shown();
    output.data(format!(
        "{} the guard of {} is {done}, in mode {}",
        styled(GOOD, "ok:"),
        Shown(&name),
        rules.mode
    ))?;
    if !found.superuser {
        output.talk(format!(
            "the guard belongs to {}: whoever logs in as that role can take it away",
            Shown(&identity.role.name)
        ));
    }
    if rules.done.is_empty() {
        let Budget { jobs, window } = rules.budget;
        output.talk(format!(
            "look: no state is named with --done, so in enforce a worker that completes more than {jobs} jobs within {} is \
             refused: install it again with --done completed, or as that state is called here",
            humantime::format_duration(window)
        ));
    }
    if rules.mode == Mode::Observe {
        output
            .talk(format!("next: palisade guard report table {name}, then guard mode table {name} enforce"));
    }
    Ok(Exit::Done)
}

/// A table as the journal names it.
fn place(table: &Table, identity: &Identity) -> String {
    format!("{} of {}", table.shown(), identity.place())
}

/// What the journal keeps of rules: what a later reader compares, and no pattern that holds a name.
fn ruled(rules: &Rules) -> Vec<String> {
    let time = |duration: Duration| humantime::format_duration(duration).to_string();
    vec![
        format!("mode {}", rules.mode),
        format!(
            "running {}; done {}; own {}",
            rules.running.join(","),
            rules.done.join(","),
            rules.own.join(",")
        ),
        format!("quiet after {}, min age {}", time(rules.quiet_after), time(rules.min_age)),
        format!("budget {}/{}", rules.budget.jobs, time(rules.budget.window)),
    ]
}

fn attempted(attempts: &u32) -> Vec<String> {
    vec![format!("at attempt {attempts}")]
}

/// What the catalogue suggests, as the command that would follow.
fn propose(output: Output, found: &Table) -> Result<Exit, Failure> {
    let proposal = inspect::inspect(found);
    output.document(&json!({ "table": found, "proposal": proposal }))?;
    if let Some(library) = proposal.library {
        output.data(format!("{} looks like a table of {library}", Shown(&found.shown())))?;
    }
    let rows: Vec<_> = found
        .columns
        .iter()
        .map(|column| vec![column.name.clone(), column.kind.clone(), column.labels.join(", ")])
        .collect();
    for line in table::columns(&["column", "type", "states"], &rows) {
        output.data(line)?;
    }
    if let Some(profile) = proposal.profile {
        output.data("")?;
        output.data(format!("palisade guard install table {} --profile {profile}", Shown(&found.shown())))?;
        return advise(output, &proposal.warnings);
    }
    let one = |option: &str, value: Option<&String>| {
        value.map(|value| format!(" {option} {value}")).unwrap_or_else(|| format!(" {option} ?"))
    };
    let many = |option: &str, list: &[String]| match list {
        [] => String::new(),
        list => format!(" {option} {}", list.join(",")),
    };
    let running = if proposal.running.is_empty() {
        " --running ?".to_owned()
    } else {
        many("--running", &proposal.running)
    };
    output.data("")?;
    let reason =
        proposal.reason.as_ref().map(|column| format!(" --reason-column {column}")).unwrap_or_default();
    output.data(format!(
        "palisade guard install table {}{}{running}{}{}{}{reason}",
        Shown(&found.shown()),
        one("--status", proposal.status.as_ref()),
        one("--heartbeat", proposal.heartbeat.as_ref()),
        many("--done", &proposal.done),
        many("--own", &proposal.own),
    ))?;
    advise(output, &proposal.warnings)
}

fn advise(output: Output, warnings: &[String]) -> Result<Exit, Failure> {
    for warning in warnings {
        output.talk(format!("look: {warning}"));
    }
    Ok(Exit::Done)
}

pub(crate) async fn remove(output: Output, args: &RemoveTable) -> Result<Exit, Failure> {
    let (session, identity) = reach_to_write(output, &args.database).await?;
    let guards = installed(&session).await?;
    let found = Table::find(&session, &args.table).await?;
    if !found.guarded {
        return Err(palisade_dbguard::Error::Unguarded { table: args.table.clone() }.into());
    }
    let patience = Patience::default();
    let sql = script::remove(&found, guards.len() == 1, args.keep_history, patience.lock_timeout);
    if args.dry_run {
        output.document(&json!({ "table": found.shown(), "sql": sql }))?;
        output.data(sql.trim_end())?;
        return Ok(Exit::Done);
    }
    let kept = if args.keep_history { "its history is kept" } else { "with its history" };
    let begun = Host::open()?.begin(Act::TableRemove, &place(&found, &identity), vec![kept.to_owned()])?;
    let ran = run(&session, &found.shown(), "remove the guard", &sql, patience).await;
    let attempts = begun.settle(ran, attempted)?;
    if found.superuser && guards.len() == 1 && !args.keep_history && !found.stamped {
        // Other databases of this server may still need the role; then the server keeps it.
        drop(session.run("drop the guards' role", script::DROP_OWNER).await);
    }
    output.document(&json!({ "result": "removed", "table": found.shown(), "attempts": attempts }))?;
    output.data(format!("{} the guard of {} is gone", styled(GOOD, "ok:"), Shown(&found.shown())))?;
    Ok(Exit::Done)
}

pub(crate) async fn mode(output: Output, args: &ModeTable) -> Result<Exit, Failure> {
    let (session, identity) = reach_to_write(output, &args.database).await?;
    let found = Table::find(&session, &args.table).await?;
    if !found.guarded {
        return Err(palisade_dbguard::Error::Unguarded { table: args.table.clone() }.into());
    }
    let mode: Mode = args.mode.into();
    let begun = Host::open()?.begin(Act::TableMode, &place(&found, &identity), vec![format!("to {mode}")])?;
    let changed = palisade_dbguard::mode(&session, found.id, mode).await;
    begun.settle(changed, |()| vec![format!("in mode {mode}")])?;
    output.document(&json!({ "result": "changed", "table": found.shown(), "mode": mode }))?;
    output.data(format!(
        "{} the guard of {} is in mode {mode}",
        styled(GOOD, "ok:"),
        Shown(&found.shown())
    ))?;
    Ok(Exit::Done)
}

pub(crate) async fn list(output: Output, database: &DatabaseArgs) -> Result<Exit, Failure> {
    let (session, _) = reach(output, None, database).await?;
    let guards = installed(&session).await?;
    output.document(&guards)?;
    if guards.is_empty() {
        output.talk("no table of this database is guarded");
    }
    let time = |duration: Duration| humantime::format_duration(duration).to_string();
    let row = |guard: &Installed| {
        let rules = &guard.rules;
        vec![
            guard.table.clone(),
            rules.mode.to_string(),
            rules.running.join(","),
            rules.done.join(","),
            rules.own.join(","),
            time(rules.quiet_after),
            time(rules.min_age),
            format!("{}/{}", rules.budget.jobs, time(rules.budget.window)),
            guard.installed_by.clone(),
        ]
    };
    let rows: Vec<_> = guards.iter().map(row).collect();
    let head = ["table", "mode", "running", "done", "own", "quiet after", "min age", "budget", "by"];
    for line in table::columns(&head, &rows) {
        output.data(line)?;
    }
    Ok(Exit::Done)
}

pub(crate) async fn show_report(output: Output, args: &ReportTable) -> Result<Exit, Failure> {
    let (session, identity) = reach(output, None, &args.database).await?;
    let mut guards = installed(&session).await?;
    if let Some(name) = &args.table {
        let found = Table::find(&session, name).await?;
        guards.retain(|guard| found.guarded && guard.id == found.id);
    }
    if guards.is_empty() {
        let table = args.table.clone().unwrap_or_else(|| format!("database {}", identity.database));
        return Err(palisade_dbguard::Error::Unguarded { table }.into());
    }
    let mut document = Vec::new();
    let (channel, refused) = refused(&session, args.since.as_secs(), identity.role.sees_sessions).await?;
    for guard in &guards {
        let report = report(&session, guard, args.since).await?;
        document.push(json!({
            "table": guard.table, "mode": guard.rules.mode, "report": report, "channel": channel,
            "attribution": channel.to_string(), "refused": refused,
        }));
        text(output, guard, &report, channel)?;
    }
    who_was_refused(output, &refused)?;
    output.document(&document)?;
    Ok(Exit::Done)
}

fn text(output: Output, guard: &Installed, report: &Report, channel: Channel) -> Result<(), Failure> {
    output.data(format!("{}, mode {}", styled(STRONG, Shown(&guard.table)), guard.rules.mode))?;
    let passed: Vec<_> = report.passed.iter().map(|(ground, jobs)| format!("{jobs} {ground}")).collect();
    let passed = if passed.is_empty() { "none".to_owned() } else { passed.join(", ") };
    output.data(format!("  passed:   {passed}"))?;
    output.data(format!("  refused:  {} in this database; {channel}", report.refused))?;
    if report.findings.is_empty() {
        return output.data("  findings: none");
    }
    let row = |finding: &palisade_dbguard::Finding| {
        vec![
            format!("PAL-{}", finding.code),
            finding.change.clone(),
            finding.jobs.to_string(),
            finding.app.clone(),
            finding.role.clone(),
            finding.address.clone(),
            finding.last.clone(),
            finding.statement.clone(),
        ]
    };
    let rows: Vec<_> = report.findings.iter().map(row).collect();
    let head = ["would be refused", "change", "jobs", "app (claimed)", "role", "from", "last", "statement"];
    for line in table::columns(&head, &rows) {
        output.data(format!("  {line}"))?;
    }
    Ok(())
}

/// Clients that were refused in this database, as far as that can be known.
fn who_was_refused(output: Output, refused: &[Refused]) -> Result<(), Failure> {
    if refused.is_empty() {
        return Ok(());
    }
    let row = |one: &Refused| {
        vec![
            format!("PAL-{}", one.code),
            one.times.to_string(),
            one.app.clone(),
            one.role.clone(),
            one.address.clone(),
            one.last.clone(),
        ]
    };
    let rows: Vec<_> = refused.iter().map(row).collect();
    for line in table::columns(&["was refused", "times", "app (claimed)", "role", "from", "last"], &rows) {
        output.data(line)?;
    }
    Ok(())
}
