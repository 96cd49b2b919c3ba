use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use palisade_core::{AppName, EnvironmentName, Scope};
use palisade_host::lease::{self, Acquired, Applicant, Error, Holder, Joined, Lease};
use palisade_host::process;
use tempfile::TempDir;

use crate::roles::Actor;

const LONG: Duration = Duration::from_secs(60);

pub(crate) fn scope() -> Scope {
    scope_of("site", "production")
}

fn scope_of(app: &str, environment: &str) -> Scope {
    Scope::new(AppName::new(app).unwrap(), EnvironmentName::new(environment).unwrap())
}

pub(crate) fn applicant(program: &str) -> Applicant {
    Applicant { program: program.to_owned(), run: Some("octo/site run 91".to_owned()) }
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) fn ask(folder: &TempDir) -> Result<Acquired, Error> {
    lease::acquire(folder.path(), &scope(), &applicant("test"))
}

pub(crate) fn held(acquired: Result<Acquired, Error>) -> Lease {
    match acquired.unwrap() {
        Acquired::Held(lease) => lease,
        other => panic!("not held: {other:?}"),
    }
}

pub(crate) fn busy(acquired: Result<Acquired, Error>) -> Holder {
    match acquired.unwrap() {
        Acquired::Busy(holder) => holder,
        other => panic!("not busy: {other:?}"),
    }
}

pub(crate) fn term(lease: &Lease) -> u64 {
    lease.term().number
}

/// With the feature `ablation`, `PALISADE_ABLATE=lease` must make this test fail.
#[test]
fn canonical_lease_a_second_deployment_is_kept_out() {
    #[cfg(feature = "ablation")]
    if let Some(check) = palisade_host::Environment::of_this_process().text("PALISADE_ABLATE") {
        palisade_core::ablation::switch_off(&check).unwrap();
    }
    let folder = folder();
    let mut first = Actor::start("hold", folder.path());
    assert_eq!(first.line(), "held 1");
    let holder = busy(ask(&folder));
    assert_eq!((holder.process.pid, holder.term, holder.program.as_str()), (first.pid(), 1, "child"));
}

#[test]
fn a_lease_names_its_holder_until_it_is_given_back() {
    let folder = folder();
    assert_eq!(lease::inspect(folder.path(), &scope()).unwrap(), None);
    let lease = held(ask(&folder));
    let holder = lease::inspect(folder.path(), &scope()).unwrap().unwrap();
    assert_eq!(holder.process, process::this().unwrap());
    assert_eq!(holder.run.as_deref(), Some("octo/site run 91"));
    assert_eq!(lease::list(folder.path()).unwrap(), [(scope(), holder)]);
    drop(lease);
    assert_eq!(lease::inspect(folder.path(), &scope()).unwrap(), None);
    assert_eq!(lease::list(folder.path()).unwrap(), []);
}

#[test]
fn the_same_process_does_not_get_the_lease_twice() {
    let folder = folder();
    let first = held(ask(&folder));
    assert_eq!(busy(ask(&folder)).process, process::this().unwrap());
    first.confirm().unwrap();
}

#[test]
fn the_term_grows_by_one_and_never_falls() {
    let folder = folder();
    for expected in 1..=5 {
        assert_eq!(term(&held(ask(&folder))), expected);
    }
    let mut child = Actor::start("hold", folder.path());
    assert_eq!(child.line(), "held 6");
    child.kill();
    assert_eq!(term(&held(ask(&folder))), 7);
}

#[test]
fn each_scope_has_a_lease_and_a_term_of_its_own() {
    let folder = folder();
    let one = held(ask(&folder));
    for (app, environment) in [("site", "test"), ("site--a", "b"), ("site", "a--b"), ("site.production", "x")]
    {
        let scope = scope_of(app, environment);
        let other = held(lease::acquire(folder.path(), &scope, &applicant("test")));
        assert_eq!(term(&other), 1, "{scope}");
    }
    one.confirm().unwrap();
}

#[test]
fn a_killed_holder_frees_the_lease() {
    let folder = folder();
    let mut child = Actor::start("hold", folder.path());
    assert_eq!(child.line(), "held 1");
    assert_eq!(busy(ask(&folder)).process.pid, child.pid());
    child.kill();
    assert_eq!(lease::inspect(folder.path(), &scope()).unwrap(), None);
    assert_eq!(term(&held(ask(&folder))), 2);
}

#[test]
fn children_that_outlive_the_holder_do_not_keep_the_lease() {
    let folder = folder();
    let mut holder = Actor::start("hold-with-children", folder.path());
    assert_eq!(holder.line(), "held 1");
    let line = holder.line();
    let children: Vec<_> =
        line.split(' ').map(|pid| process::stat(pid.parse().unwrap()).unwrap().process).collect();
    let input = holder.input();
    holder.kill();
    assert!(children.iter().all(|child| process::is_alive(*child)));
    assert_eq!(term(&held(ask(&folder))), 2);
    drop(input);
}

#[test]
fn looking_at_a_lease_never_keeps_anybody_from_it() {
    const ROUNDS: u64 = 50;
    let folder = folder();
    std::thread::scope(|threads| {
        let taker = threads.spawn(|| {
            for expected in 1..=ROUNDS {
                assert_eq!(term(&held(ask(&folder))), expected);
            }
        });
        while !taker.is_finished() {
            lease::inspect(folder.path(), &scope()).unwrap();
        }
        taker.join().unwrap();
    });
}

#[test]
fn a_holder_that_ends_gives_the_lease_back() {
    let folder = folder();
    let mut child = Actor::start("hold", folder.path());
    assert_eq!(child.line(), "held 1");
    child.finish();
    assert_eq!(term(&held(ask(&folder))), 2);
}

#[test]
fn a_waiter_gets_the_lease_when_the_holder_dies_and_is_told_once_of_each_holder() {
    let folder = folder();
    let mut child = Actor::start("hold", folder.path());
    assert_eq!(child.line(), "held 1");
    let mut told = Vec::new();
    let mut on_wait = |holder: &Holder| {
        told.push(holder.process.pid);
        child.kill();
    };
    let lease =
        held(lease::acquire_within(folder.path(), &scope(), &applicant("waiter"), LONG, &mut on_wait));
    assert_eq!(term(&lease), 2);
    assert_eq!(told, [child.pid()]);
}

#[test]
fn a_waiter_whose_time_is_over_is_told_who_holds_the_lease() {
    let folder = folder();
    let _lease = held(ask(&folder));
    for (wait_ms, calls_expected) in [(0, 0), (1, 1)] {
        let mut calls = 0;
        let mut on_wait = |_: &Holder| calls += 1;
        let wait = Duration::from_millis(wait_ms);
        let answer = lease::acquire_within(folder.path(), &scope(), &applicant("waiter"), wait, &mut on_wait);
        assert_eq!(busy(answer).process, process::this().unwrap());
        assert!(calls <= calls_expected, "{calls} calls in {wait_ms} ms");
    }
}

#[test]
fn children_and_grandchildren_of_the_holder_act_under_its_term() {
    let folder = folder();
    let mut parent = Actor::start("hold-and-have-a-child-ask", folder.path());
    assert_eq!(parent.line(), "held 1");
    assert_eq!(parent.line(), "joined 1 of parent");
    assert_eq!(parent.line(), "joined 1 of parent");
    parent.finish();
}

#[test]
fn a_child_of_somebody_else_is_kept_out() {
    let folder = folder();
    let mut holder = Actor::start("hold", folder.path());
    assert_eq!(holder.line(), "held 1");
    assert_eq!(Actor::start("ask", folder.path()).line(), "busy 1 by child");
    assert_eq!(Actor::start("have-a-child-ask", folder.path()).line(), "busy 1 by child");
}

#[test]
fn two_holders_are_never_both_accepted() {
    const THREADS: usize = 4;
    const ROUNDS: usize = 5;
    let folder = folder();
    let (inside, terms) = (AtomicUsize::new(0), std::sync::Mutex::new(Vec::new()));
    let deploy = || {
        for _ in 0..ROUNDS {
            let answer = lease::acquire_within(
                folder.path(),
                &scope(),
                &applicant("thread"),
                LONG,
                &mut |_: &Holder| {},
            );
            let lease = held(answer);
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two inside");
            lease.confirm().unwrap();
            terms.lock().unwrap().push(term(&lease));
            inside.fetch_sub(1, Ordering::SeqCst);
        }
    };
    std::thread::scope(|threads| (0..THREADS).for_each(|_| drop(threads.spawn(deploy))));
    let terms = terms.into_inner().unwrap();
    assert_eq!(terms, (1..=(THREADS * ROUNDS) as u64).collect::<Vec<_>>());
}

#[test]
fn of_many_processes_that_ask_at_once_exactly_one_holds() {
    let folder = folder();
    let mut children: Vec<_> = (0..6).map(|_| Actor::start("hold", folder.path())).collect();
    let answers: Vec<String> = children.iter_mut().map(Actor::line).collect();
    let holding: Vec<_> = answers.iter().filter(|answer| answer.starts_with("held")).collect();
    assert_eq!(holding, ["held 1"], "{answers:?}");
}

#[test]
fn leases_may_cross_threads() {
    fn sendable<T: Send>() {}
    sendable::<Lease>();
    sendable::<Joined>();
}
