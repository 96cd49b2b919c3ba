//! `palisade lease list`.

use palisade_core::Exit;
use palisade_host::lease;
use serde_json::json;

use crate::args::LeaseCommand;
use crate::failure::Failure;
use crate::output::Output;
use crate::render::table;
use crate::session::Session;

pub(crate) fn lease(session: &Session, output: Output, command: &LeaseCommand) -> Result<Exit, Failure> {
    let LeaseCommand::List = command;
    let leases = lease::list(&session.state.leases())
        .map_err(|error| Failure::new(Exit::Failure, error.to_string()).caused_by(&error))?;
    if leases.is_empty() {
        output.talk("no lease is held");
    }
    let document: Vec<_> = leases
        .iter()
        .map(|(scope, holder)| {
            json!({
                "scope": scope,
                "term": holder.term,
                "pid": holder.process.pid,
                "uid": holder.uid,
                "since": holder.since,
                "program": holder.program,
                "run": holder.run,
            })
        })
        .collect();
    output.document(&document)?;
    let rows: Vec<Vec<String>> = leases
        .iter()
        .map(|(scope, holder)| vec![scope.to_string(), holder.term.to_string(), holder.to_string()])
        .collect();
    for line in table::columns(&["scope", "term", "holder"], &rows) {
        output.data(line)?;
    }
    Ok(Exit::Done)
}
