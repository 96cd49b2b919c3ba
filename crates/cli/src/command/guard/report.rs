//! `palisade guard report pm2`: what observe has seen, and whether an app may be enforced.

use palisade_core::policy::Mode;
use palisade_core::replay::{AppReport, Objection, Readiness, Replay, Whose, replay};
use palisade_core::text::{Shown, escaped};
use palisade_core::{Exit, Record};
use palisade_host::clock;
use palisade_journal as journal;
use palisade_pm2::dump;
use serde_json::json;

use super::mode;
use crate::args::guard::ReportArgs;
use crate::failure::{Failure, ago};
use crate::output::{BAD, FAINT, GOOD, Output, STRONG, styled};
use crate::render::actor;
use crate::session::Session;

pub(super) async fn report(session: &Session, output: Output, args: &ReportArgs) -> Result<Exit, Failure> {
    let host = session.host_policy()?;
    let records = records(session, args)?;
    let replayed = replay(host.policy(), records.iter().map(|(sequence, record)| (*sequence, record)));
    let modes = mode::modes(host.policy());
    let lacking = lacking(session, args).await;
    output.document(&json!({ "replay": replayed, "dump_lacks": lacking }))?;
    output.data(span(&replayed))?;
    if let Some(took) = replayed.decisions {
        let ms = |us: u64| std::time::Duration::from_micros(us).as_secs_f64() * 1000.0;
        let (half, most, longest) = (ms(took.p50_us), ms(took.p99_us), ms(took.longest_us));
        output.data(format_args!(
            "decisions took {half:.1} ms (p50), {most:.1} ms (p99), {longest:.1} ms at most, without the wait for PM2's list"
        ))?;
    }
    for app in &replayed.apps {
        let is_enforced = modes.get(&app.scope) == Some(&Mode::Enforce);
        for line in lines(app, is_enforced) {
            output.data(line)?;
        }
    }
    if !lacking.is_empty() {
        output.data(format_args!(
            "{} dump.pm2 lacks {}: a restart of the machine would lose them; palisade pm2 save",
            styled(BAD, "also:"),
            escaped(&lacking.join(", "))
        ))?;
    }
    Ok(Exit::Done)
}

/// The records within the time that was asked for, oldest first.
fn records(session: &Session, args: &ReportArgs) -> Result<Vec<(u64, Record)>, Failure> {
    let folder = session.state.journal();
    let since = clock::now().before(args.since);
    let mut records = Vec::new();
    if journal::signed_head(&folder)?.is_none() {
        return Ok(records);
    }
    for entry in journal::Reader::open(&folder)? {
        let entry = entry?;
        let record = entry.record()?;
        if record.at >= since {
            records.push((entry.sequence(), record));
        }
    }
    Ok(records)
}

/// Names that run and that the next start would not bring back. A daemon that cannot be asked has its own commands.
async fn lacking(session: &Session, args: &ReportArgs) -> Vec<String> {
    let Ok(home) = super::home(session, &args.daemon) else { return Vec::new() };
    let Ok(dumped) = dump::read(&home) else { return Vec::new() };
    let Ok(pm2) = super::super::list::daemon(session, &args.daemon) else { return Vec::new() };
    match pm2.list().await {
        Ok(rows) if !dumped.is_empty() => {
            let running = rows.iter().filter(|row| !row.module).map(|row| row.name.as_str());
            dump::lacking(&dumped, running)
        }
        Ok(_) | Err(_) => Vec::new(),
    }
}

fn span(replayed: &Replay) -> String {
    match (replayed.from, replayed.to) {
        (Some(from), Some(to)) => {
            format!("{} calls were recorded, from {} to {to}", replayed.calls, ago(from, clock::now()))
        }
        _ => "no call was recorded yet: is a guard in force? see palisade guard list".to_owned(),
    }
}

fn lines(app: &AppReport, is_enforced: bool) -> Vec<String> {
    let scope = &app.scope;
    let ready = match (app.readiness, is_enforced) {
        (_, true) => styled(STRONG, "enforced"),
        (Readiness::Safe, false) => styled(GOOD, "safe to enforce"),
        (Readiness::WouldRefuse, false) => styled(BAD, "not yet"),
        (Readiness::NothingSeen, false) => styled(FAINT, "not yet: no deployment of it was seen"),
    };
    let mut lines = vec![format!("{scope}: {ready} ({} calls of its own passed)", app.passed)];
    for objection in &app.objections {
        lines.extend(objection_lines(objection));
    }
    if app.readiness == Readiness::Safe && !is_enforced {
        lines.push(format!(
            "  next: palisade guard mode pm2 enforce --app {} --environment {}",
            scope.app, scope.environment
        ));
    }
    lines
}

fn objection_lines(objection: &Objection) -> Vec<String> {
    let whose = match objection.whose {
        Whose::Own => "its own",
        Whose::Unknown => "nobody known",
        Whose::Foreign => "another app, as meant",
    };
    let mut lines = vec![
        format!(
            "  {} {}x {} by {whose}: {}",
            objection.code,
            objection.count,
            objection.method,
            escaped(&objection.message)
        ),
        format!(
            "      last: journal record {}, {}{}",
            objection.sequence,
            actor::brief(&objection.actor),
            objection
                .actor
                .observed
                .cwd
                .as_deref()
                .map(|cwd| format!(", in {}", Shown(cwd)))
                .unwrap_or_default()
        ),
    ];
    lines.extend(objection.allow.as_ref().map(|line| format!("      to allow: {line}")));
    lines
}
