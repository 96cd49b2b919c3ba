//! Failures of everything around the act.

use std::os::unix::fs::PermissionsExt as _;

use palisade_core::outcome::Outcome;
use palisade_core::{Exit, Operation, Selection};
use palisade_pipeline::{Error, Report, reconcile};

use crate::memory_resource::Daemon;
use crate::support::Host;

const NAMES: [&str; 3] = ["shop-api", "shop-worker", "blog-web"];

/// Puts a folder where the journal has its lock file: not even root can append then.
fn break_journal(host: &Host) {
    let state = host.state();
    std::fs::create_dir_all(state.root()).unwrap();
    std::fs::set_permissions(state.root(), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::create_dir(state.journal()).unwrap();
    std::fs::set_permissions(state.journal(), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::create_dir(state.journal().join("lock")).unwrap();
}

#[test]
fn a_dead_daemon_is_unreachable_and_not_an_empty_list() {
    let (host, mut daemon) = (Host::new(), Daemon::with(&NAMES));
    daemon.dead = true;
    let asked = Host::request(Operation::Delete, "shop", Selection::Scope);
    assert_eq!(host.run(&mut daemon, asked).unwrap_err().exit(), Exit::Unreachable);
    assert_eq!(daemon.calls, ["identify"]);
}

#[test]
fn what_cannot_be_verified_is_not_called_verified() {
    let (host, mut daemon) = (Host::new(), Daemon::with(&NAMES));
    daemon.dies_after_execute = true;
    let asked = Host::request(Operation::Delete, "shop", Selection::Scope);
    let report = host.run(&mut daemon, asked).unwrap();
    assert_eq!(report.exit(), Exit::VerificationFailed);
    assert_eq!(host.kinds().last().unwrap(), "outcome");
}

#[test]
fn without_a_journal_nothing_is_taken_down_and_a_reload_of_ones_own_passes() {
    let (host, mut daemon) = (Host::new(), Daemon::with(&NAMES));
    break_journal(&host);
    for operation in [Operation::Delete, Operation::Stop] {
        let refused = host.run(&mut daemon, Host::request(operation, "shop", Selection::Scope)).unwrap_err();
        assert!(matches!(refused, Error::Journal(_)), "{refused:?}");
        assert_eq!(refused.exit(), Exit::Journal);
    }
    assert_eq!(daemon.names(), NAMES);
    assert!(!daemon.calls.contains(&"execute"));
    for operation in [Operation::Restart, Operation::Reload] {
        let report = host.run(&mut daemon, Host::request(operation, "shop", Selection::Scope)).unwrap();
        let Report::CarriedOut(done) = &report else { panic!("{report:?}") };
        assert_eq!((done.outcome, done.intent.sequence()), (Outcome::Done, None));
    }
}

#[test]
fn nothing_is_settled_where_nothing_is_open() {
    let (host, mut daemon) = (Host::new(), Daemon::with(&NAMES));
    host.run(&mut daemon, Host::request(Operation::Delete, "shop", Selection::Scope)).unwrap();
    let actor = Host::request(Operation::Delete, "shop", Selection::Scope).actor;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let settled =
        runtime.block_on(reconcile::reconcile(&mut daemon, &host.policy.reference(), &host.state(), &actor));
    assert!(settled.unwrap().is_empty());
}

#[test]
fn a_lease_that_was_taken_away_meanwhile_bars_the_act() {
    let (host, mut daemon) = (Host::new(), Daemon::with(&NAMES));
    let leases = host.state().leases();
    daemon.on_keep = Some(Box::new(move || std::fs::remove_dir_all(&leases).unwrap()));
    let barred =
        host.run(&mut daemon, Host::request(Operation::Delete, "shop", Selection::Scope)).unwrap_err();
    assert!(matches!(barred, Error::Lease(_)), "{barred:?}");
    assert_eq!(daemon.names(), NAMES);
    assert_eq!(host.kinds(), [] as [&str; 0], "no intent of an act that was barred");
}
