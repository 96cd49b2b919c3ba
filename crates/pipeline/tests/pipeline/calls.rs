//! What a firewall's calls leave in the journal, and what is remembered of them.

use std::time::Duration;

use palisade_core::actor::ProcessRef;
use palisade_core::process::DaemonIdentity;
use palisade_core::record::{Called, Event, Ruling};
use palisade_core::{Actor, Code, Finding};
use palisade_host::{Environment, clock, context};
use palisade_pipeline::Error;
use palisade_pipeline::calls::CallLog;
use palisade_pipeline::refusals::Recorded;

use crate::support::{Host, scope};

const WINDOW: Duration = Duration::from_secs(600);

fn called(ruling: Ruling, target: &str) -> Called {
    let finding = Finding {
        code: Code::ForeignTarget,
        message: "it is another's".to_owned(),
        fix: "leave it out".to_owned(),
        subjects: Vec::new(),
    };
    Called {
        method: "deleteProcessId".to_owned(),
        ruling,
        scope: Some(scope("shop")),
        evidence: Vec::new(),
        daemon: DaemonIdentity {
            process: ProcessRef { pid: 9, start_ticks: 1 },
            uid: 1,
            boot_id: "b".to_owned(),
            version: "7.0.4".to_owned(),
            home: "/srv/pm2".to_owned(),
            socket: "/srv/pm2/private/rpc.sock".to_owned(),
        },
        targets: vec![target.to_owned()],
        takes_down: true,
        total: 8,
        findings: if ruling == Ruling::Passed { Vec::new() } else { vec![finding] },
        bypass: None,
        decided_us: None,
    }
}

fn actor() -> Actor {
    context::observe(&Environment::default()).unwrap()
}

fn log(host: &Host) -> CallLog {
    CallLog::open(host.state(), host.policy.reference(), WINDOW).unwrap()
}

#[test]
fn equal_refusals_are_one_record_and_a_count_and_calls_that_pass_are_each_a_record() {
    let (host, actor) = (Host::new(), actor());
    let mut log = log(&host);
    assert!(matches!(log.record(&actor, called(Ruling::Refused, "blog-web")), Recorded::Record { .. }));
    for _ in 0..19 {
        let again = log.record(&actor, called(Ruling::Refused, "blog-web"));
        assert!(matches!(again, Recorded::Counted { .. }));
    }
    for _ in 0..2 {
        assert!(matches!(log.record(&actor, called(Ruling::Passed, "shop-api")), Recorded::Record { .. }));
    }
    assert_eq!(host.kinds(), ["policy-changed", "called", "repeated", "called", "called"]);
    let Event::Repeated(repeated) = &host.records()[2].event else { panic!("a count") };
    assert_eq!((repeated.count, &repeated.first), (19, &host.records()[1].op));

    log.record(&actor, called(Ruling::Refused, "blog-web"));
    log.flush().unwrap();
    assert_eq!(host.kinds().last().unwrap(), "repeated");
}

#[test]
fn a_restart_of_the_firewall_forgets_neither_refusals_nor_what_was_taken_down() {
    let (host, actor) = (Host::new(), actor());
    for ruling in [Ruling::Passed, Ruling::Observed, Ruling::Refused] {
        log(&host).record(&actor, called(ruling, &format!("shop-{ruling:?}")));
    }
    let log = log(&host);
    let now = clock::now();
    let taken = log.ledger(now).taken_by(&actor.tree, now.before(WINDOW));
    assert_eq!(taken.into_keys().collect::<Vec<_>>(), ["shop-Observed", "shop-Passed"]);
    let (_, before) = log.refused_before(&actor, now).unwrap();
    assert_eq!(before.targets, ["shop-Refused"]);

    let mut again = called(Ruling::Refused, "shop-api");
    again.findings[0].code = Code::RefusedBefore;
    let mut log = log;
    log.record(&actor, again);
    let (_, before) = log.refused_before(&actor, now).unwrap();
    assert_eq!(before.targets, ["shop-Refused"], "what was refused for that alone does not count again");
}

#[test]
fn a_caller_has_a_quota_and_a_policy_that_went_back_is_refused() {
    let (mut host, actor) = (Host::new(), actor());
    let mut calls = log(&host);
    for n in 0..80 {
        calls.record(&actor, called(Ruling::Refused, &format!("ghost-{n}")));
    }
    assert_eq!(host.kinds().iter().filter(|kind| *kind == "called").count(), 60);
    host.policy.revision -= 1;
    let older = CallLog::open(host.state(), host.policy.reference(), WINDOW);
    assert!(matches!(older, Err(Error::PolicyRolledBack { .. })));
}

#[test]
fn what_the_journal_cannot_take_is_said_to_be_lost() {
    let (host, actor) = (Host::new(), actor());
    let mut log = log(&host);
    std::fs::create_dir_all(host.state().root()).unwrap();
    std::fs::write(host.state().journal(), "").unwrap();
    assert_eq!(log.record(&actor, called(Ruling::Passed, "shop-api")), Recorded::SystemLog);
}
