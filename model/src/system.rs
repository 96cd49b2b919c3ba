//! What may happen next, and the promises, as stateright asks for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use stateright::{Model, Property};

use crate::design::{Design, Fence, Judge, Promise};
use crate::world::{Faults, Health, Message, PAIR, Reap, Stage, Tick, World};

/// One thing that happens. A number is that of the worker or the reaper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// The server's clock goes on.
    Tick,
    /// A worker without an attempt claims the job.
    Claim(usize),
    /// A worker sends a beat.
    Beat(usize),
    /// A worker does a step and sends its checkpoint.
    Step(usize),
    /// A worker sends that it is done, and is free.
    Finish(usize),
    /// A message comes in. One that never does is lost.
    Deliver(Message),
    /// A message comes in and will once more.
    Double(Message),
    /// A reaper takes the lease.
    Take(usize),
    /// A reaper renews its lease.
    Renew(usize),
    /// A reaper looks at the job.
    Sweep(usize),
    /// A reap reads the lease.
    Begin(usize),
    /// A reap writes the job.
    Commit(usize),
    /// The stale reaper looks at the job.
    StaleLook,
    /// The stale reaper writes the job.
    StaleReap,
    /// A worker stands still.
    Pause(usize),
    /// A worker goes on.
    Wake(usize),
    /// A worker dies.
    Crash(usize),
    /// A reaper dies; its open transaction is rolled back.
    Kill(usize),
    /// The server is backed up.
    Backup,
    /// The server is set back to its backup.
    Restore,
}

/// A design with sizes.
#[derive(Clone, Debug)]
pub(crate) struct System {
    /// The protections that are on.
    pub(crate) design: Design,
    /// The last tick.
    pub(crate) horizon: Tick,
    /// The threshold: silence of more than so many ticks.
    pub(crate) threshold: Tick,
    /// How long a lease lasts, in ticks.
    pub(crate) ttl: Tick,
    /// Steps of the job, each with a checkpoint.
    pub(crate) work: u8,
    /// With a bound: whoever is well does its part within each tick, messages arrive within it, and a job without
    /// a worker may wait so many ticks. Without one, everything is as late as it likes.
    pub(crate) bound: Option<Tick>,
    /// What may go wrong where there is a bound.
    pub(crate) faults: Faults,
    /// The bits of the promises of which a break was told. Stateright keeps the last trace that it finds, and the
    /// first is the shortest: so each is told once.
    told: Arc<AtomicU8>,
}

impl System {
    /// A system without a bound of time.
    pub(crate) fn timeless(design: Design, horizon: Tick, threshold: Tick, ttl: Tick, work: u8) -> Self {
        let faults = Faults { restores: 0, pauses: 0, crashes: 0, kills: 0 };
        Self { design, horizon, threshold, ttl, work, bound: None, faults, told: Arc::default() }
    }

    fn of_worker(&self, world: &World, number: usize, actions: &mut Vec<Action>) {
        let worker = &world.workers[number];
        match worker.health {
            Health::Dead => return,
            Health::Paused => return actions.push(Action::Wake(number)),
            Health::Well => {}
        }
        if worker.attempt == 0 {
            if world.job.stage == Stage::Queued {
                actions.push(Action::Claim(number));
            }
        } else {
            if worker.next_beat <= world.now {
                actions.push(Action::Beat(number));
            }
            let done = worker.step >= self.work;
            actions.push(if done { Action::Finish(number) } else { Action::Step(number) });
        }
        if world.faults.pauses > 0 && worker.attempt != 0 {
            actions.push(Action::Pause(number));
        }
        if world.faults.crashes > 0 {
            actions.push(Action::Crash(number));
        }
    }

    fn of_reaper(&self, world: &World, number: usize, actions: &mut Vec<Action>) {
        let reaper = &world.reapers[number];
        if reaper.dead {
            return;
        }
        let leads = world.leads(number);
        if self.design.fence != Fence::NoLease && reaper.reap == Reap::Nothing {
            if world.lease.expires <= world.now && !self.held(world) {
                actions.push(Action::Take(number));
            }
            if leads && world.lease.expires < world.now + self.ttl {
                actions.push(Action::Renew(number));
            }
        }
        match reaper.reap {
            Reap::Nothing if leads || self.design.fence == Fence::NoLease => {
                actions.push(Action::Sweep(number))
            }
            Reap::Nothing => {}
            Reap::Decided(..) => actions.push(Action::Begin(number)),
            Reap::Open(..) => actions.push(Action::Commit(number)),
        }
        if world.faults.kills > 0 {
            actions.push(Action::Kill(number));
        }
    }

    /// Whether an open reap holds the lease's row, so that a take-over waits.
    fn held(&self, world: &World) -> bool {
        self.design.fence == Fence::Locked
            && world.reapers.iter().any(|reaper| matches!(reaper.reap, Reap::Open(..)))
    }

    /// Whether somebody who is well has not done its part of this tick yet.
    fn owes(&self, world: &World) -> bool {
        let queued = world.job.stage == Stage::Queued;
        let worker = world
            .workers
            .iter()
            .filter(|worker| worker.health == Health::Well)
            .any(|worker| if worker.attempt == 0 { queued } else { worker.next_beat <= world.now });
        let reaper = (0..PAIR).filter(|number| !world.reapers[*number].dead).any(|number| {
            let reaper = &world.reapers[number];
            let renews = world.lease.expires < world.now + self.ttl;
            reaper.reap != Reap::Nothing
                || (world.leads(number) && (renews || reaper.next_sweep <= world.now))
                || (world.lease.expires <= world.now && !self.held(world))
        });
        worker || reaper || !world.messages.is_empty()
    }
}

impl Model for System {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.faults)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if world.now < self.horizon && (self.bound.is_none() || !self.owes(world)) {
            actions.push(Action::Tick);
        }
        for number in 0..PAIR {
            self.of_worker(world, number, actions);
            self.of_reaper(world, number, actions);
        }
        if world.faults.restores > 0 {
            actions.push(if world.backup.is_none() { Action::Backup } else { Action::Restore });
        }
        let mut last = None;
        for message in world.messages.iter().copied() {
            if last == Some(message) {
                continue;
            }
            last = Some(message);
            actions.push(Action::Deliver(message));
            if self.bound.is_none() && !world.doubled {
                actions.push(Action::Double(message));
            }
        }
        if world.stale {
            actions.push(Action::StaleReap);
        } else if self.bound.is_none()
            && world.job.stage == Stage::Running
            && self.is_old_for_the_stale(world)
        {
            actions.push(Action::StaleLook);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let next = self.after(world, action);
        // What changes nothing is no step.
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn kept<const BIT: u8>(system: &System, world: &World) -> bool {
            world.broken & BIT == 0 || system.told.fetch_or(BIT, Ordering::Relaxed) & BIT != 0
        }
        vec![
            Property::always(Promise::S1.name(), kept::<{ Promise::S1 as u8 }>),
            Property::always(Promise::S2.name(), kept::<{ Promise::S2 as u8 }>),
            Property::always(Promise::S3.name(), kept::<{ Promise::S3 as u8 }>),
            Property::always(Promise::S4a.name(), kept::<{ Promise::S4a as u8 }>),
            Property::always(Promise::S4b.name(), kept::<{ Promise::S4b as u8 }>),
            Property::always(Promise::S4c.name(), kept::<{ Promise::S4c as u8 }>),
            Property::always(Promise::L1.name(), kept::<{ Promise::L1 as u8 }>),
            Property::sometimes(SECOND, |_, world: &World| {
                world.job.stage == Stage::Done && world.job.attempt > 1
            }),
            Property::sometimes(TURNED, |_, world: &World| world.lease.term > 1),
            Property::sometimes(RESTORED, |system: &Self, world: &World| {
                system.faults.restores == 0
                    || (world.faults.restores == 0 && world.claims.made > world.claims.old)
            }),
        ]
    }
}

/// Seen at least once: a job done by its second attempt.
pub(crate) const SECOND: &str = "done by a second attempt";

/// Seen at least once, where there is a restore: a claim after it.
pub(crate) const RESTORED: &str = "claimed after a restore";

/// Seen at least once: another leader.
pub(crate) const TURNED: &str = "the lease changed hands";

impl System {
    /// Whether the stale reaper, with a threshold of its own, takes the job's worker for dead. In the design of
    /// one threshold for all it has the same one as everybody.
    pub(crate) fn is_old_for_the_stale(&self, world: &World) -> bool {
        let own = if self.design.judge == Judge::ClientAge { self.threshold } else { 0 };
        world.now - world.job.beat > own
    }
}
