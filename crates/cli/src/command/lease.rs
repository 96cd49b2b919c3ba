//! `palisade lease`: of this host, and of databases.

use std::path::Path;

use palisade_core::Exit;
use palisade_core::record::Act;
use palisade_core::text::Shown;
use palisade_dbguard::identity::{Raised, raise_minimum_epochs};
use palisade_host::lease;
use palisade_jobs::JobStore as _;
use palisade_lease::{LeaseStore, Name, Seen, Term};
use palisade_postgres::{Target, identify};
use palisade_store::Store;
use palisade_store::lease::{PostgresLeases, RedisLeases, SqliteLeases};
use serde_json::json;

use crate::args::LeaseCommand;
use crate::args::reaper::{LeaseSchema, LeasesArgs};
use crate::command::db::text_of;
use crate::failure::Failure;
use crate::output::{GOOD, Output, styled};
use crate::render::table;
use crate::session::Session;

pub(crate) async fn lease(output: Output, command: &LeaseCommand) -> Result<Exit, Failure> {
    let (args, wanted) = match command {
        LeaseCommand::List(LeasesArgs { store: None, .. }) => return of_this_host(output),
        LeaseCommand::List(args) => (args, Wanted::All),
        LeaseCommand::Show { name, leases } => {
            let name = Name::new(name).map_err(|error| Failure::usage(error.to_string()))?;
            (leases, Wanted::One(name))
        }
        LeaseCommand::AfterRestore { leases, above, above_epoch } => {
            (leases, Wanted::Raised(Term::new(*above), *above_epoch))
        }
    };
    let missing = || Failure::usage("whose leases: name a store with --store URL, @FILE or env:NAME");
    let url = text_of(args.store.as_deref().ok_or_else(missing)?)?;
    let schema = match args.schema {
        LeaseSchema::Palisade => "palisade",
        LeaseSchema::PalisadeJobs => "palisade_jobs",
    };
    if let Some(path) = url.strip_prefix("sqlite:") {
        // Opening would make it: a mistyped name must not look like a store without leases.
        if !Path::new(path).is_file() {
            return Err(Failure::usage(format!("there is no file {path}")));
        }
        let leases = SqliteLeases::open(Path::new(path))?;
        raise_tokens(output, &url, &wanted).await?;
        return answer(output, &leases, &wanted).await;
    }
    if url.starts_with("redis") {
        return answer(output, &RedisLeases::new(&url)?, &wanted).await;
    }
    let target = Target::parse(&url)?;
    match args.schema {
        LeaseSchema::PalisadeJobs => raise_tokens(output, &url, &wanted).await?,
        LeaseSchema::Palisade => raise_epochs(output, &target, &wanted).await?,
    }
    answer(output, &PostgresLeases::new(target, schema), &wanted).await
}

/// In the database of a guard, the restore has set back which builds may begin anything.
async fn raise_epochs(output: Output, target: &Target, wanted: &Wanted) -> Result<(), Failure> {
    let Wanted::Raised(_, shown) = wanted else { return Ok(()) };
    let (session, identity) = identify(target).await?;
    let what = shown.map_or_else(|| "as proven".to_owned(), |shown| format!("above {shown}"));
    let said = format!("after a restore, every minimum {what}");
    let begun = Session::open()?.begin(Act::Epoch, &identity.place(), vec![said])?;
    let line = |one: &Raised| {
        let (app, environment) = (Shown(&one.app), Shown(&one.environment));
        format!("the minimum epoch of {app}/{environment} is raised from {} to {}", one.from, one.to)
    };
    let raised = raise_minimum_epochs(&session, *shown).await;
    let raised = begun.settle(raised, |raised| raised.iter().map(line).collect())?;
    raised.iter().for_each(|one| output.talk(line(one)));
    if raised.is_empty() && shown.is_some() {
        output.talk("no minimum epoch is below that; palisade db epoch list shows them");
    }
    Ok(())
}

/// Where a store of jobs keeps the leases, its tokens repeat after a restore as terms would.
async fn raise_tokens(output: Output, url: &str, wanted: &Wanted) -> Result<(), Failure> {
    if !matches!(wanted, Wanted::Raised(..)) {
        return Ok(());
    }
    let store = match Store::open(url).await {
        Ok(store) => store,
        // A file of leases alone.
        Err(palisade_jobs::Error::Version(_)) if url.starts_with("sqlite:") => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let held = store.after_restore().await?;
    output.talk(format!("every token of a claim is raised; {held} jobs run under tokens of before"));
    Ok(())
}

enum Wanted {
    All,
    One(Name),
    Raised(Term, Option<u64>),
}

async fn answer<S>(output: Output, store: &S, wanted: &Wanted) -> Result<Exit, Failure>
where
    S: LeaseStore,
    Failure: From<S::Error>,
{
    let leases = match wanted {
        Wanted::All => store.list().await?,
        Wanted::One(name) => {
            let missing = || {
                Failure::new(Exit::Failure, format!("nobody ever had a lease called {name}"))
                    .hint("see which there are: palisade lease list")
            };
            vec![store.show(name).await?.ok_or_else(missing)?]
        }
        Wanted::Raised(shown, _) => store.after_restore(*shown).await?,
    };
    output.document(&leases)?;
    for line in table::columns(&["lease", "term", "valid for", "renewals", "holder"], &rows(&leases)) {
        output.data(line)?;
    }
    if leases.is_empty() {
        output.talk("nobody ever had a lease here");
    }
    if matches!(wanted, Wanted::Raised(..)) {
        output.data(format!("{} every lease is over, and every term is raised", styled(GOOD, "ok:")))?;
    }
    Ok(Exit::Done)
}

fn rows(leases: &[Seen]) -> Vec<Vec<String>> {
    let row = |seen: &Seen| {
        let left =
            seen.valid_for.map_or("over".to_owned(), |span| humantime::format_duration(span).to_string());
        let (name, holder) = (Shown(seen.name.as_str()).to_string(), Shown(seen.holder.as_str()).to_string());
        vec![name, seen.term.to_string(), left, seen.renewals.to_string(), holder]
    };
    leases.iter().map(row).collect()
}

fn of_this_host(output: Output) -> Result<Exit, Failure> {
    let session = Session::open()?;
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
