//! The reaper of the job engine: on its own, and as a part of `palisade worker`.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use palisade_core::policy::Mode;
use palisade_core::record::{Act, Phase};
use palisade_core::text::{Shown, escaped};
use palisade_core::{EnvironmentName, Exit};
use palisade_host::{clock, random};
use palisade_jobs::store::{REAPER, Silent};
use palisade_jobs::{JobStore as _, Note};
use palisade_lease::{LeaseStore as _, Name, Ttl};
use palisade_pipeline::act::{Begun, Site};
use palisade_store::Store;
use palisade_store::lease::Leases;
use palisade_worker::reaper::{Clerk, News, Settings, Taking, sit};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::{holder, limits};
use crate::args::job::StoreArgs;
use crate::args::reaper::{JudgeArgs, ReaperStatusArgs, RunArgs};
use crate::command::store;
use crate::failure::Failure;
use crate::output::{BAD, GOOD, Output, styled};
use crate::render::table;
use crate::session::Session;

/// A store that is not there yet is looked for so often.
const AGAIN: Duration = Duration::from_secs(2);
/// So many jobs are named on one line.
const NAMED: usize = 20;

/// Sits until it is told to end.
pub(super) async fn run(output: Output, args: &RunArgs) -> Result<Exit, Failure> {
    if args.database.database.is_some() || args.database.expect.is_some() {
        let hint = "without --table the store of the job engine is named: --store URL";
        return Err(Failure::usage("--database and --expect belong to a guarded table").hint(hint));
    }
    let session = Session::open()?;
    let args_of_store = of_store(args.store.as_ref(), args.database.environment.as_ref());
    let (_, by) = store::note(&session, &args_of_store)?;
    let url = store::url(&session, output, &args_of_store)?;
    let settings = settings(&session, &args.judge, args.reap_after, by, args.dry_run)?;
    let store = store::open(&session, output, &args_of_store).await?;
    let clerk = ForPeople::new(output, &session, store.place(), false);
    if settings.dry && !args.dry_run {
        output.talk(
            "the policy of this host is in observe: what would be reaped is told, and nothing is reaped",
        );
    }
    let stamp = args_of_store.environment.clone().or(settings.by.environment.clone());
    let open = opener(url.clone(), stamp);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let end = async {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    };
    let leases = Leases::of(&url)?;
    drop(store);
    sit(settings, open, &leases, &clerk, end).await.map_err(failed)?;
    output.talk("ended; the lease is free");
    Ok(Exit::Done)
}

/// Beside a worker, until `end`: waits for the store, then for the lease.
pub(crate) async fn beside(
    settings: Settings,
    url: String,
    clerk: &ForPeople<'_>,
    end: impl Future<Output = ()>,
) {
    let open = opener(url.clone(), settings.by.environment.clone());
    let mut end = std::pin::pin!(end);
    let leases = loop {
        // Opening the store makes the table of its leases.
        let problem = match open().await {
            Ok(_) => match Leases::of(&url) {
                Ok(leases) => break leases,
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        clerk.tell(&News::Fault { problem });
        tokio::select! { () = sleep(AGAIN) => {}, () = &mut end => return }
    };
    if let Err(error) = sit(settings, open, &leases, clerk, end).await {
        clerk.tell(&News::Fault { problem: error.to_string() });
    }
}

fn opener(
    url: String,
    stamp: Option<EnvironmentName>,
) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = Result<Store, palisade_jobs::Error>> + Send>> {
    move || {
        let (url, stamp) = (url.clone(), stamp.clone());
        Box::pin(async move { Store::open_as(&url, stamp.as_ref().map(EnvironmentName::as_str)).await })
    }
}

/// What a reaper does, from flags. It only looks where that was said, or where the host's policy observes.
pub(crate) fn settings(
    session: &Session,
    args: &JudgeArgs,
    reap_after: Option<Duration>,
    by: Note,
    dry: bool,
) -> Result<Settings, Failure> {
    let observes = session.policy_if_any()?.is_some_and(|policy| {
        let environment = by.environment.as_ref().and_then(|name| policy.environments.get(name));
        environment.is_some_and(|environment| environment.mode == Mode::Observe)
    });
    Ok(Settings {
        limits: limits(args, reap_after.unwrap_or_default())?,
        lease: Ttl::new(args.lease).map_err(|error| Failure::usage(error.to_string()))?,
        by,
        dry: dry || observes,
        lift_brake: args.lift_brake,
    })
}

pub(crate) fn of_store(store: Option<&String>, environment: Option<&EnvironmentName>) -> StoreArgs {
    StoreArgs { store: store.cloned(), environment: environment.cloned() }
}

fn failed(error: palisade_worker::reaper::Error) -> Failure {
    Failure::new(Exit::Failure, error.to_string()).caused_by(&error)
}

/// Tells people, and writes reaps into the journal of this host.
pub(crate) struct ForPeople<'a> {
    output: Output,
    session: &'a Session,
    place: String,
    /// A part of a worker: all it says goes where the worker's words go.
    beside: bool,
    /// The fault that was told last, and lasts.
    fault: Mutex<Option<String>>,
    /// What was recorded as begun and not yet as ended, by its reason.
    begun: Mutex<Vec<(String, Begun)>>,
}

impl<'a> ForPeople<'a> {
    pub(crate) const fn new(output: Output, session: &'a Session, place: String, beside: bool) -> Self {
        Self { output, session, place, beside, fault: Mutex::new(None), begun: Mutex::new(Vec::new()) }
    }

    /// The same fault with each sweep is told once.
    fn is_old(&self, news: &News) -> bool {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match news {
            News::Fault { problem } if fault.as_ref() == Some(problem) => true,
            News::Fault { problem } => {
                *fault = Some(problem.clone());
                false
            }
            _ => {
                *fault = None;
                false
            }
        }
    }
}

impl Clerk for ForPeople<'_> {
    fn tell(&self, news: &News) {
        if self.is_old(news) {
            return;
        }
        if self.output.json {
            let mut document = json!({ "at": clock::now(), "what": "reaper" });
            if let (Value::Object(all), Ok(Value::Object(fields))) =
                (&mut document, serde_json::to_value(news))
            {
                all.extend(fields);
            }
            // Nobody can be told that it is closed; the store has every reason.
            Output::json_line(&document).unwrap_or_default();
        } else if self.beside {
            self.output.talk(format!("{} reaper: {}", clock::now(), line(news)));
        } else if matches!(news, News::Reaped(_) | News::WouldReap(_)) {
            let style = if matches!(news, News::Reaped(_)) { GOOD } else { BAD };
            self.output.data(format!("{} {}", clock::now(), styled(style, line(news)))).unwrap_or_default();
        } else {
            self.output.talk(format!("{} {}", clock::now(), line(news)));
        }
    }

    fn record(&self, phase: Phase, taking: &Taking) -> bool {
        let named = named(taking);
        let details = vec![format!("{named} of worker {}", taking.worker.incarnation), taking.reason.clone()];
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        if phase != Phase::Begun {
            let at = begun.iter().position(|(reason, _)| *reason == taking.reason);
            if let Some(at) = at {
                begun.swap_remove(at).1.end(phase, details);
            }
            return true;
        }
        let policy = self.session.host_policy().ok().map(|host| host.reference().clone());
        let (Ok(op), Ok(actor)) = (random::operation_id(), self.session.actor()) else { return false };
        // A host without a policy has no journal. The store has the reason in any case.
        match (Site { state: &self.session.state, policy, actor }).begin(op, Act::Reap, &self.place, details)
        {
            Ok(one) => {
                begun.push((taking.reason.clone(), one));
                true
            }
            Err(error) => {
                let problem = format!("{error}; without its record nothing is reaped");
                self.tell(&News::Fault { problem });
                false
            }
        }
    }
}

fn named(taking: &Taking) -> String {
    let first: Vec<String> = taking.jobs.iter().take(NAMED).map(ToString::to_string).collect();
    let more = taking.jobs.len().saturating_sub(NAMED);
    let word = if taking.jobs.len() == 1 { "job" } else { "jobs" };
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{word} {}{more}", first.join(", "))
}

fn line(news: &News) -> String {
    let of = |taking: &Taking| {
        let worker = &taking.worker;
        format!(
            "{} of worker {} on {}, pid {}",
            named(taking),
            Shown(&worker.name),
            Shown(&worker.by.host),
            worker.by.pid
        )
    };
    match news {
        News::Elected { term } => format!("elected, term {term}"),
        News::Waiting { holder, term } => {
            format!("{} is the reaper, under term {term}; waiting", Shown(holder))
        }
        News::TermOver => "the term is over; somebody else may be the reaper".to_owned(),
        News::Fault { problem } => format!("nothing is charged: {}", escaped(problem)),
        News::OtherTimeline => "another history of the store answers; every silence begins anew".to_owned(),
        News::Held { suspects, most, workers } => format!(
            "held: {suspects} of {workers} workers are silent and at most {most} may be: that is a fault of ours, or look \
             and use --lift-brake"
        ),
        News::Released => "released: few are silent again".to_owned(),
        News::Reaped(taking) => format!("{}: {}", of(taking), Shown(&taking.reason)),
        News::WouldReap(taking) => format!("would take {}: {}", of(taking), Shown(&taking.reason)),
        News::Refuted(taking) => format!("{} not taken: it beat or ended since", of(taking)),
        News::NotReaped { taking, problem } => format!("{} not taken: {}", of(taking), escaped(problem)),
    }
}

/// Who the reaper is, and who is silent.
pub(super) async fn status(output: Output, args: &ReaperStatusArgs) -> Result<Exit, Failure> {
    let session = Session::open()?;
    let args_of_store = of_store(args.store.as_ref(), args.database.environment.as_ref());
    let store = store::open(&session, output, &args_of_store).await?;
    let leases = Leases::of(&store::url(&session, output, &args_of_store)?)?;
    let name = Name::new(REAPER).map_err(|error| Failure::usage(error.to_string()))?;
    let lease = leases.show(&name).await?;
    let beats = store.beats().await?;
    let silent = store.recall(&store.timeline().await?).await?;
    let still = |row: &&Silent| beats.workers.contains(&(row.incarnation.clone(), row.beat));
    let silent: Vec<&Silent> = silent.iter().filter(still).collect();
    let who: Vec<_> = silent.iter().map(|row| row.incarnation.clone()).collect();
    let held = store.holders(&who).await?;
    let of = |row: &Silent| held.iter().find(|held| held.worker.incarnation == row.incarnation);
    let document: Vec<Value> = silent
        .iter()
        .map(|row| {
            let held = of(row);
            json!({
                "incarnation": row.incarnation, "beat": row.beat, "silent_ms": row.silent_ms,
                "worker": held.map(|held| &held.worker), "jobs": held.map(|held| held.jobs),
                "reap_after_ms": held.and_then(|held| held.least).map(|least| least.reap_after_ms),
            })
        })
        .collect();
    output.document(&json!({
        "store": store.place(), "lease": lease, "workers": beats.workers.len(), "silent": document,
    }))?;
    output.data(format!("reaper of {}: {}", store.place(), holder(lease.as_ref())))?;
    output.data(format!("{} workers, {} of them silent", beats.workers.len(), silent.len()))?;
    let span = |ms: u64| humantime::format_duration(Duration::from_millis(ms)).to_string();
    let row = |row: &&Silent| {
        let held = of(row)?;
        let by = &held.worker.by;
        let after = held.least.map(|least| span(least.reap_after_ms)).unwrap_or_default();
        let place = format!("{}, pid {}", Shown(&by.host), by.pid);
        Some(vec![
            Shown(&held.worker.name).to_string(),
            place,
            held.jobs.to_string(),
            span(row.silent_ms),
            after,
        ])
    };
    let rows: Vec<_> = silent.iter().filter_map(row).collect();
    if !rows.is_empty() {
        for line in table::columns(&["worker", "on", "jobs", "silent", "reaped after"], &rows) {
            output.data(line)?;
        }
    }
    Ok(Exit::Done)
}
