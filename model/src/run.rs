//! Runs of the model checker, each with what it has to show.

use std::time::Duration;

use stateright::{Checker, HasDiscoveries, Model, Path};

use crate::design::{DEAF, Design, FULL, Promise, SET_BACK, WEAKENED};
use crate::system::{Action, RESTORED, SECOND, System, TURNED};
use crate::world::{Faults, Tick, World};

/// What was found of one system.
#[derive(Debug)]
pub(crate) struct Found {
    /// The system.
    pub(crate) system: System,
    /// Each broken promise with the steps of its shortest trace.
    pub(crate) broken: Vec<(Promise, Vec<Action>)>,
    /// What has to be seen at least once and was not.
    pub(crate) unseen: Vec<&'static str>,
    /// States that differ.
    pub(crate) unique: usize,
    /// States that were made.
    pub(crate) made: usize,
    /// How long it took.
    pub(crate) took: Duration,
    /// Whether it is as it has to be.
    pub(crate) right: bool,
}

/// The weakened designs that break a promise at any time. Each search ends when all of its promises are broken.
pub(crate) fn weakened() -> Vec<System> {
    WEAKENED.into_iter().map(|design| System::timeless(design, 4, 2, 2, 2)).collect()
}

/// The full design, in each of the sizes. A lease has to last longer than the silence that its term has to see, or
/// nothing is ever reaped.
pub(crate) fn full(large: bool) -> Vec<System> {
    let mut sizes = vec![(4, 2, 2, 1), (3, 1, 2, 2), (4, 2, 2, 2)];
    if large {
        sizes.extend([(4, 1, 2, 1), (5, 2, 2, 1)]);
    }
    let sized = |(horizon, threshold, ttl, work)| System::timeless(FULL, horizon, threshold, ttl, work);
    sizes.into_iter().map(sized).collect()
}

/// Runs with a server that is set back once, to a backup of any moment before.
pub(crate) fn restored(large: bool) -> Vec<System> {
    let sized = |design, horizon| {
        let mut system = System::timeless(design, horizon, 1, 2, 1);
        system.faults.restores = 1;
        system
    };
    let mut systems = vec![sized(SET_BACK, 3), sized(FULL, 2)];
    systems.extend(large.then(|| sized(FULL, 3)));
    systems
}

/// Runs with a bound of time: one worker may stand still, one may die, and one reaper.
///
/// The tight bound is one sweep, for the first look may come just before the claim; twice the silence, for the first
/// judge may be killed just before it decides; and the lease's time. One tick less has to fail, and so has the last
/// weakened design, within the same bound and within a longer one.
pub(crate) fn bounded(threshold: Tick, ttl: Tick) -> [System; 4] {
    let bound = 1 + 2 * (threshold + 1) + ttl;
    let system = |design, bound, horizon| {
        let mut system = System::timeless(design, horizon, threshold, ttl, 1);
        system.bound = Some(bound);
        system.faults = Faults { restores: 0, pauses: 1, crashes: 1, kills: 1 };
        system
    };
    let short = Design { breaks: &[Promise::L1], ..FULL };
    let horizon = bound + 3;
    [
        system(DEAF, bound, horizon),
        system(DEAF, bound + 3, horizon + 3),
        system(short, bound - 1, horizon),
        system(FULL, bound, horizon),
    ]
}

/// Looks at everything that may happen, breadth first and in one thread, so that each trace is a shortest one.
pub(crate) fn check(system: System) -> Found {
    let expected = system.design.breaks;
    let started = now();
    let builder = system.clone().checker();
    let builder = if expected.is_empty() {
        builder
    } else {
        let names = expected.iter().map(|promise| promise.name()).collect();
        builder.finish_when(HasDiscoveries::AllOf(names))
    };
    let checker = builder.spawn_bfs().join();
    let mut discoveries = checker.discoveries();
    let broken: Vec<_> = Promise::ALL
        .into_iter()
        .filter_map(|promise| Some((promise, discoveries.remove(promise.name()).map(steps)?)))
        .collect();
    let unseen: Vec<_> =
        [SECOND, TURNED, RESTORED].into_iter().filter(|name| !discoveries.contains_key(name)).collect();
    let right = if expected.is_empty() {
        broken.is_empty() && unseen.is_empty()
    } else {
        expected.iter().all(|promise| broken.iter().any(|(found, _)| found == promise))
    };
    let (unique, made) = (checker.unique_state_count(), checker.state_count());
    Found { system, broken, unseen, unique, made, took: now() - started, right }
}

fn steps(path: Path<World, Action>) -> Vec<Action> {
    path.into_actions()
}

#[expect(clippy::disallowed_methods, reason = "a program of its own that says how long it took")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}
