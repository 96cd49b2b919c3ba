//! What is recorded, how often, and what the records are good for.

use std::time::Duration;

use palisade_core::record::Event;
use palisade_core::{Exit, Operation, Selection, Timestamp};
use palisade_pipeline::memory::Memory;
use palisade_pipeline::refusals::Recorded;
use palisade_pipeline::{Error, Report};

use crate::memory_resource::Daemon;
use crate::support::{Host, ablate};

fn names(names: &[&str]) -> Selection {
    Selection::Names(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn a_loop_of_equal_refusals_is_one_record_and_a_count() {
    let (host, mut daemon) = (Host::new(), Daemon::with(&["shop-api", "blog-web"]));
    let mut counted = 0;
    for _ in 0..20 {
        let asked = Host::request(Operation::Delete, "shop", names(&["blog-web"]));
        let Report::Refused { recorded, .. } = host.run(&mut daemon, asked).unwrap() else { panic!() };
        counted += usize::from(matches!(recorded, Some(Recorded::Counted { .. })));
    }
    assert_eq!(counted, 19);
    assert_eq!(host.kinds(), ["policy-changed", "refused"]);

    let other = Host::request(Operation::Stop, "shop", names(&["blog-web"]));
    host.run(&mut daemon, other).unwrap();
    assert_eq!(host.kinds(), ["policy-changed", "refused", "repeated", "refused"]);
    let Event::Repeated(repeated) = &host.records()[2].event else { panic!() };
    assert_eq!((repeated.count, &repeated.first), (19, &host.records()[1].op));
}

#[test]
fn refusals_of_two_apps_at_once_are_all_counted() {
    const EACH: usize = 40;
    let host = Host::new();
    // Each app asks for what the other one owns, so that each has a lease of its own and the counts are shared.
    let refuse = |app: &str, foreign: &str| {
        let mut daemon = Daemon::with(&["shop-api", "blog-web"]);
        for _ in 0..EACH {
            let asked = Host::request(Operation::Delete, app, names(&[foreign]));
            let Report::Refused { .. } = host.run(&mut daemon, asked).unwrap() else { panic!() };
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| refuse("shop", "blog-web"));
        scope.spawn(|| refuse("blog", "shop-api"));
    });
    let last = Host::request(Operation::Stop, "shop", names(&["blog-web"]));
    host.run(&mut Daemon::with(&["shop-api", "blog-web"]), last).unwrap();
    let counts = host.records().into_iter().map(|record| match record.event {
        Event::Repeated(repeated) => usize::try_from(repeated.count).unwrap(),
        _ => 0,
    });
    assert_eq!(counts.sum::<usize>(), 2 * (EACH - 1));
}

#[test]
fn a_caller_has_a_quota_of_refusals() {
    let (host, mut daemon) = (Host::new(), Daemon::with(&["shop-api", "blog-web"]));
    for n in 0..80 {
        let asked = Host::request(Operation::Delete, "shop", names(&[&format!("ghost-{n}")]));
        host.run(&mut daemon, asked).unwrap();
    }
    let refused = host.kinds().iter().filter(|kind| *kind == "refused").count();
    assert_eq!(refused, 60);
}

#[test]
fn one_by_one_is_charged_across_operations() {
    let names_of_two_apps = ["shop-api", "shop-worker", "blog-web", "blog-cron"];
    let (host, mut daemon) = (Host::new(), Daemon::with(&names_of_two_apps));
    for name in &names_of_two_apps[..2] {
        let asked = Host::request(Operation::Delete, "shop", names(&[name]));
        assert_eq!(host.run(&mut daemon, asked).unwrap().exit(), Exit::Done);
    }
    let third = Host::request(Operation::Delete, "blog", names(&["blog-web"]));
    assert_eq!(host.run(&mut daemon, third).unwrap().exit(), Exit::Refused);
    assert_eq!(daemon.names(), ["blog-web", "blog-cron"]);
}

#[test]
fn an_act_that_was_under_way_at_the_snapshot_explains_what_is_gone_after_it() {
    let (host, mut daemon) = (Host::new(), Daemon::with(&["shop-api", "blog-web"]));
    let asked = Host::request(Operation::Delete, "shop", Selection::Scope);
    let other = Host::request(Operation::Delete, "blog", Selection::Scope).id;
    assert_eq!(host.run(&mut daemon, asked).unwrap().exit(), Exit::Done);
    let of =
        |wanted: fn(&Event) -> bool| host.records().into_iter().find(|record| wanted(&record.event)).unwrap();
    let (intent, outcome) =
        (of(|event| matches!(event, Event::Intent(_))), of(|event| matches!(event, Event::Outcome(_))));
    let hour = Duration::from_secs(3600);
    let memory = Memory::read(&host.state().journal(), outcome.at, hour).unwrap();
    let touched = |since: u64| memory.touched_by_others(&other, Timestamp::from_unix_ms(since)).len();
    assert_eq!(touched(intent.at.unix_ms()), 1, "it begins with the snapshot");
    assert_eq!(touched(outcome.at.unix_ms()), 1, "it began before the snapshot, and ends with it");
    assert_eq!(touched(outcome.at.unix_ms() + 1), 0, "it was over before");
    assert_eq!(memory.touched_by_others(&intent.op, intent.at).len(), 0, "it is our own");
}

#[test]
fn canonical_revision_ratchet_an_older_policy_is_refused() {
    ablate();
    let (mut host, mut daemon) = (Host::new(), Daemon::with(&["shop-api", "blog-web"]));
    host.run(&mut daemon, Host::request(Operation::Restart, "shop", Selection::Scope)).unwrap();
    host.policy.revision = 6;
    host.policy.limits.all_above = 1000;
    let asked = Host::request(Operation::Restart, "shop", Selection::Scope);
    let refused = host.run(&mut daemon, asked).unwrap_err();
    assert!(matches!(refused, Error::PolicyRolledBack { .. }), "{refused:?}");
    assert_eq!(refused.exit(), Exit::Refused);
}

#[test]
fn a_changed_policy_is_a_record_with_its_principal() {
    let (mut host, mut daemon) = (Host::new(), Daemon::with(&["shop-api", "blog-web"]));
    host.run(&mut daemon, Host::request(Operation::Restart, "shop", Selection::Scope)).unwrap();
    host.policy.revision = 8;
    host.run(&mut daemon, Host::request(Operation::Restart, "shop", Selection::Scope)).unwrap();
    assert_eq!(host.kinds(), ["policy-changed", "intent", "outcome", "policy-changed", "intent", "outcome"]);
    let Event::PolicyChanged(change) = &host.records()[3].event else { panic!() };
    assert_eq!((change.from.as_ref().unwrap().revision, change.to.revision), (7, 8));
}
