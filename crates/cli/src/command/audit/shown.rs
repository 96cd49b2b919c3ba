//! The answer of an audit.

use palisade_audit::{Client, Collector, Finding, Sighting, Tally};
use palisade_core::text::Shown;
use serde_json::json;

use super::Audit;
use crate::args::audit::AuditArgs;
use crate::failure::Failure;
use crate::output::{BAD, FAINT, GOOD, Output, styled};
use crate::render::table;

/// Kinds of clients that are listed; the document has all of them.
const LISTED: usize = 100;

/// Every kind of client, with how often it was seen.
pub(super) fn clients(collector: &Collector) -> Vec<(&Client, &Tally)> {
    let seen = collector.seen().iter();
    seen.filter_map(|(sighting, tally)| match sighting {
        Sighting::Client(client) => Some((client, tally)),
        _ => None,
    })
    .collect()
}

/// One finding, as lines, or as a document of its own where the audit goes on.
pub(super) fn finding(output: Output, finding: &Finding, goes_on: bool) -> Result<(), Failure> {
    if goes_on && output.json {
        return Output::json_line(finding);
    }
    let times =
        if finding.tally.times > 1 { format!(", {} times", finding.tally.times) } else { String::new() };
    let last = if finding.tally.last.is_empty() {
        String::new()
    } else {
        format!(", last at {}", finding.tally.last)
    };
    output.data(format!(
        "{} [{}] {}{times}{}",
        styled(BAD, "finding:"),
        finding.code,
        Shown(&finding.what),
        Shown(&last)
    ))?;
    if let Some(accept) = &finding.accept {
        output.data(format!("  if it is right: {}", Shown(accept)))?;
    }
    Ok(())
}

/// Everything, at the end.
pub(super) fn answer(audit: &Audit, args: &AuditArgs, found: &[Finding]) -> Result<(), Failure> {
    let output = audit.output;
    let clients = clients(&audit.collector);
    if !args.follow {
        document(audit, &clients, found)?;
    }
    let row = |(client, tally): &(&Client, &Tally)| {
        vec![
            if client.app.is_empty() { "(no name)".to_owned() } else { client.app.clone() },
            client.role.clone(),
            client.database.clone(),
            client.address.clone(),
            tally.times.to_string(),
            tally.last.clone(),
        ]
    };
    let rows: Vec<_> = clients.iter().take(LISTED).map(row).collect();
    if !rows.is_empty() {
        let head = ["app (claimed)", "role", "database", "from", "times", "last"];
        for line in table::columns(&head, &rows) {
            output.data(line)?;
        }
        output.data("")?;
    }
    if clients.len() > LISTED {
        output.talk(format!("{} kinds of clients more: --json lists all", clients.len() - LISTED));
    }
    output.data(format!("source   {}", audit.source))?;
    for miss in &audit.misses {
        output.data(format!("misses   {}", Shown(miss)))?;
    }
    let told = |each: &&Finding| !audit.told.contains(&format!("{}{}", each.code, each.what));
    for each in found.iter().filter(told) {
        finding(output, each, args.follow)?;
    }
    if found.is_empty() {
        output.data(format!("{} nothing contradicts what is expected here", styled(GOOD, "ok:")))?;
    } else {
        output.talk(styled(FAINT, "more: palisade explain CODE"));
    }
    Ok(())
}

fn document(audit: &Audit, clients: &[(&Client, &Tally)], found: &[Finding]) -> Result<(), Failure> {
    let list = |(client, tally): &(&Client, &Tally)| json!({ "client": client, "seen": tally });
    let others: Vec<_> = audit
        .collector
        .seen()
        .iter()
        .filter(|(sighting, _)| !matches!(sighting, Sighting::Client(_)))
        .map(|(sighting, tally)| json!({ "what": sighting, "seen": tally }))
        .collect();
    audit.output.document(&json!({
        "database": audit.database.as_ref().map(|(_, identity)| &identity.id),
        "source": audit.source,
        "misses": audit.misses,
        "read": audit.read,
        "logins": audit.collector.connections(),
        "left_out": audit.collector.left_out(),
        "clients": clients.iter().map(list).collect::<Vec<_>>(),
        "others": others,
        "findings": found,
    }))
}
