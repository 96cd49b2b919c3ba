//! `palisade pm2 runbook`: what is gone, since when and by whom; the restore that would follow; the verification.

use palisade_core::process::EntryId;
use palisade_core::record::Event;
use palisade_core::text::escaped;
use palisade_core::{Exit, Process, Record, Snapshot};
use palisade_host::{clock, files};
use palisade_pipeline::snapshots as store;
use palisade_pm2::restore::newest_with_a_loss;
use serde_json::json;

use crate::args::pm2::RunbookArgs;
use crate::failure::{Failure, ago};
use crate::output::Output;
use crate::render;
use crate::session::Session;

/// One process that is gone.
#[derive(Debug)]
struct Gone {
    name: String,
    pm_id: u32,
    /// The record that explains it, where Palisade has one.
    by: Option<(u64, Record)>,
}

pub(crate) async fn runbook(session: &Session, output: Output, args: &RunbookArgs) -> Result<Exit, Failure> {
    let (_, now) = super::list::look(session, &args.daemon).await?;
    let source = match &args.snapshot {
        Some(named) => Some(store::load(&session.state.snapshots(), &super::restore::snapshot_id(named)?)?),
        None => {
            let window = session.policy()?.policy().limits.window;
            newest_with_a_loss(&session.state, &now, window)?
        }
    };
    let gone = match &source {
        Some(source) => explained(session, &source.lost(&now, None))?,
        None => Vec::new(),
    };
    let text = report(source.as_ref(), &now, &gone);
    output.document(&json!({
        "result": if gone.is_empty() { "nothing-missing" } else { "missing" },
        "snapshot": source.as_ref().map(|source| &source.id),
        "gone": gone.iter().map(|gone| json!({
            "name": gone.name,
            "pm_id": gone.pm_id,
            "record": gone.by.as_ref().map(|(sequence, _)| sequence),
        })).collect::<Vec<_>>(),
        "report": text,
    }))?;
    match &args.out {
        Some(path) => {
            files::write_atomic(path, text.as_bytes(), 0o644)?;
            output.talk(format_args!("wrote {}", path.display()));
        }
        None => output.data(text.trim_end())?,
    }
    Ok(Exit::Done)
}

/// Joins what is gone with the newest intent that named it.
fn explained(session: &Session, lost: &[&Process]) -> Result<Vec<Gone>, Failure> {
    let unexplained = |process: &&Process| {
        let pin = &process.pin;
        (pin.entry(), Gone { name: pin.name.clone(), pm_id: pin.pm_id, by: None })
    };
    let mut gone: Vec<(EntryId, Gone)> = lost.iter().map(unexplained).collect();
    let folder = session.state.journal();
    if palisade_journal::signed_head(&folder)?.is_none() {
        return Ok(gone.into_iter().map(|(_, gone)| gone).collect());
    }
    for entry in palisade_journal::recent(&folder)? {
        let entry = entry?;
        let (sequence, record) = (entry.sequence(), entry.record()?);
        let Event::Intent(intent) = &record.event else { continue };
        if !intent.operation.takes_down() {
            continue;
        }
        for target in &intent.targets {
            let open =
                gone.iter_mut().find(|(entry, gone)| *entry == target.pin.entry() && gone.by.is_none());
            if let Some((_, gone)) = open {
                gone.by = Some((sequence, record.clone()));
            }
        }
        if gone.iter().all(|(_, gone)| gone.by.is_some()) {
            break;
        }
    }
    Ok(gone.into_iter().map(|(_, gone)| gone).collect())
}

fn report(source: Option<&Snapshot>, now: &Snapshot, gone: &[Gone]) -> String {
    let mut lines = vec![
        "# PM2 incident report".to_owned(),
        String::new(),
        format!(
            "* daemon: PM2 {}, pid {}, {}",
            now.daemon.version,
            now.daemon.process.pid,
            escaped(&now.daemon.home)
        ),
        format!("* looked at: {}", now.taken_at),
        format!("* processes now: {}", now.countable().count()),
    ];
    let Some(source) = source.filter(|_| !gone.is_empty()) else {
        lines.push("\nNothing is missing: every process of the compared snapshots is there.".to_owned());
        return lines.join("\n");
    };
    let id = source.id.as_str();
    lines.push(format!("* compared with: snapshot {id} of {}", ago(source.taken_at, clock::now())));
    lines.push("\n## What is gone\n".to_owned());
    lines.extend(
        gone.iter()
            .map(|one| format!("* {} (pm_id {}): {}", escaped(&one.name), one.pm_id, since(one, source))),
    );
    if !now.daemon.is_same_daemon(&source.daemon) {
        lines.push(format!(
            "\nThe daemon is another one than then (pid {} then): it was restarted or replaced.",
            source.daemon.process.pid
        ));
    }
    lines.push(format!(
        "\n## Bring it back\n\n    palisade pm2 restore --snapshot {id} --dry-run\n    palisade pm2 restore --snapshot {id}\n\n\
         What runs is not touched. Each process is compared with its bundle field by field afterwards."
    ));
    lines.push("\n## Verify\n\n    palisade pm2 list\n    palisade journal verify".to_owned());
    lines.join("\n")
}

fn since(gone: &Gone, source: &Snapshot) -> String {
    match &gone.by {
        Some((sequence, record)) => format!(
            "taken down at {} by {} (journal record {sequence}, operation {})",
            record.at,
            render::actor::brief(&record.actor),
            record.op
        ),
        None => format!(
            "gone since some time after {}, and no record of Palisade names it: something called pm2 itself. \
             Look for `Stopping app:{}` in pm2.log",
            source.taken_at,
            escaped(&gone.name)
        ),
    }
}
