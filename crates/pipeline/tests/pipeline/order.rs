//! The order of the steps, and what each ending leaves behind.

use std::sync::{Arc, Mutex};

use palisade_core::{Exit, Operation, Selection};
use palisade_pipeline::{Report, snapshots};

use crate::memory_resource::Daemon;
use crate::support::{Host, ablate};

const FOUR: [&str; 4] = ["shop-api", "shop-worker", "blog-web", "blog-cron"];

#[test]
fn an_operation_takes_every_step_in_order() {
    let (host, mut daemon) = (Host::new(), Daemon::with(&FOUR));
    let report = host.run(&mut daemon, Host::request(Operation::Delete, "shop", Selection::Scope)).unwrap();
    let Report::CarriedOut(done) = &report else { panic!("{report:?}") };
    assert_eq!(report.exit(), Exit::Done);
    assert_eq!(daemon.calls, ["identify", "snapshot", "keep values", "execute", "after"]);
    assert_eq!(daemon.names(), ["blog-web", "blog-cron"]);
    assert_eq!(host.kinds(), ["policy-changed", "intent", "outcome"]);
    assert_eq!(done.intent.sequence(), Some(1));
    let kept = snapshots::load(&host.state().snapshots(), &done.before.id).unwrap();
    assert_eq!(kept.processes.len(), 4, "the snapshot shows the state before");
}

#[test]
fn canonical_durable_intent_the_intent_is_on_disk_before_the_act() {
    ablate();
    let (host, mut daemon) = (Host::new(), Daemon::with(&FOUR));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (folder, at_the_act) = (host.state().journal(), Arc::clone(&seen));
    daemon.on_execute = Some(Box::new(move || {
        let entries = palisade_journal::Reader::open(&folder).into_iter().flatten();
        let records = entries.map(|entry| entry.unwrap().record().unwrap());
        at_the_act.lock().unwrap().extend(records);
    }));
    host.run(&mut daemon, Host::request(Operation::Delete, "shop", Selection::Scope)).unwrap();
    let seen = seen.lock().unwrap();
    let last = seen.last().expect("the journal was empty at the act");
    assert!(matches!(last.event, palisade_core::record::Event::Intent(_)), "{last:?}");
}

#[test]
fn a_dry_run_touches_nothing_and_writes_nothing() {
    let (host, mut daemon) = (Host::new(), Daemon::with(&FOUR));
    let asked = Host::request(Operation::Delete, "shop", Selection::Scope);
    let report = host.run_as(&mut daemon, asked, true, None).unwrap();
    assert!(matches!(report, Report::Planned(plan) if plan.targets.len() == 2));
    assert_eq!(daemon.calls, ["identify", "snapshot"]);
    assert!(!host.state().root().exists(), "a dry run left something on disk");

    let all = Host::request(Operation::Delete, "shop", Selection::All);
    assert_eq!(host.run_as(&mut daemon, all, true, None).unwrap().exit(), Exit::Refused);
    assert!(!host.state().root().exists(), "a refused dry run left something on disk");
}

#[test]
fn a_plan_is_carried_out_as_shown_or_not_at_all() {
    let (host, mut daemon) = (Host::new(), Daemon::with(&FOUR));
    let asked = || Host::request(Operation::Delete, "shop", Selection::Scope);
    let Report::Planned(plan) = host.run_as(&mut daemon, asked(), true, None).unwrap() else { panic!() };
    daemon.processes[0].pin.unique_id = "another".into();
    let report = host.run_as(&mut daemon, asked(), false, Some(&plan)).unwrap();
    assert_eq!(report.exit(), Exit::PlanStale);
    assert_eq!(daemon.names(), FOUR, "a stale plan touched something");
    daemon.processes[0].pin.unique_id = "uuid-0".into();
    assert_eq!(host.run_as(&mut daemon, asked(), false, Some(&plan)).unwrap().exit(), Exit::Done);
}

#[test]
fn what_is_not_there_is_a_success_only_where_that_was_asked_for() {
    let (host, mut daemon) = (Host::new(), Daemon::with(&FOUR[2..]));
    let mut asked = Host::request(Operation::Delete, "shop", Selection::Scope);
    assert_eq!(host.run(&mut daemon, asked.clone()).unwrap().exit(), Exit::Refused);
    asked.tolerates_absence = true;
    assert!(matches!(host.run(&mut daemon, asked).unwrap(), Report::NothingToDo(_)));
    assert_eq!(daemon.names(), FOUR[2..]);
}
