//! What each action does to the world.

use crate::design::{Ending, Fence, Judge, Promise};
use crate::system::{Action, System};
use crate::world::{Health, Look, Message, PAIR, Reap, Reaper, Stage, World};

impl System {
    /// The world after an action.
    pub(crate) fn after(&self, before: &World, action: Action) -> World {
        let mut world = before.clone();
        match action {
            Action::Tick => world.now += 1,
            Action::Claim(number) => claim(&mut world, number),
            Action::Beat(number) => {
                let worker = &mut world.workers[number];
                worker.next_beat = before.now + 1;
                let message = Message::Beat(worker.attempt);
                world.send(message);
            }
            Action::Step(number) => {
                let worker = &mut world.workers[number];
                worker.step += 1;
                let message = Message::Checkpoint(worker.attempt, worker.step);
                world.send(message);
            }
            Action::Finish(number) => {
                let message = Message::Complete(world.workers[number].attempt);
                release(&mut world, number);
                world.send(message);
            }
            Action::Deliver(message) => {
                world.take(message);
                self.receive(&mut world, message);
            }
            Action::Double(message) => {
                world.doubled = true;
                self.receive(&mut world, message);
            }
            Action::Take(number) => self.take_over(&mut world, number),
            Action::Renew(_) => world.lease.expires = world.now + self.ttl,
            Action::Sweep(number) => self.sweep(&mut world, number),
            Action::Begin(number) => self.begin(&mut world, number),
            Action::Commit(number) => self.commit(&mut world, number),
            Action::StaleLook => world.stale = true,
            Action::StaleReap => {
                world.stale = false;
                if !self.design.guard && world.job.stage == Stage::Running {
                    self.reap(&mut world, None);
                }
            }
            Action::Pause(number) => {
                world.faults.pauses -= 1;
                world.workers[number].health = Health::Paused;
            }
            Action::Wake(number) => world.workers[number].health = Health::Well,
            Action::Crash(number) => {
                world.faults.crashes -= 1;
                release(&mut world, number);
                world.workers[number].health = Health::Dead;
            }
            Action::Kill(number) => kill(&mut world, number),
            Action::Backup => world.backup = Some((world.job, world.claims.made)),
            Action::Restore => self.restore(&mut world),
        }
        self.watch(&mut world);
        world
    }

    /// The server is set back. What an operator does then ends the lease and raises its term, and numbers go on above
    /// all that were given out. Transactions that were open are gone.
    fn restore(&self, world: &mut World) {
        let Some((job, made)) = world.backup.take() else { return };
        world.faults.restores -= 1;
        world.job = job;
        world.lease.expires = world.now;
        world.claims.old = world.claims.made;
        world.claims.set_back = if self.design.raises { 0 } else { world.claims.made - made };
        for reaper in &mut world.reapers {
            if matches!(reaper.reap, Reap::Open(..)) {
                reaper.reap = Reap::Nothing;
            }
        }
    }

    /// Another term begins.
    fn take_over(&self, world: &mut World, number: usize) {
        world.lease.term += 1;
        world.lease.expires = world.now + self.ttl;
        world.reapers[number].term = world.lease.term;
        // A new term has to see the silence itself.
        world.reapers[number].seen = None;
    }

    /// A worker's write comes in.
    fn receive(&self, world: &mut World, message: Message) {
        if message == Message::Enqueue {
            // Without a key it is another job, which waits as this one did.
            if world.job.stage == Stage::Absent || !self.design.key {
                world.job.stage = Stage::Queued;
            }
            return;
        }
        let attempt = message.attempt();
        let current = world.runs(attempt);
        if self.design.attempt && !world.seems_to_run(attempt) {
            return self.refuse(world, attempt);
        }
        if let Message::Checkpoint(_, number) = message {
            if self.design.sequence && number <= world.job.checkpoint {
                return;
            }
            broken(world, Promise::S4c, number < world.job.checkpoint);
            world.job.checkpoint = number;
        }
        broken(world, Promise::S3, !current);
        match message {
            Message::Beat(_) => (world.job.beat, world.heard) = (world.now, world.now),
            Message::Enqueue | Message::Checkpoint(..) => {}
            Message::Complete(_) => {
                world.job.stage = Stage::Done;
                world.job.completions += 1;
                let twice = world.job.completions > 1;
                broken(world, Promise::S4b, twice);
            }
        }
    }

    /// A worker is told that its attempt is over. Whether the answer is lost does not matter here: what it has
    /// sent before is still on its way.
    fn refuse(&self, world: &mut World, attempt: u8) {
        if !self.design.drops {
            return;
        }
        for number in 0..PAIR {
            let worker = &world.workers[number];
            if worker.attempt == attempt && worker.health == Health::Well {
                release(world, number);
            }
        }
    }

    /// A judge looks at the job.
    fn sweep(&self, world: &mut World, number: usize) {
        let now = world.now;
        let job = world.job;
        let look = Look { attempt: job.attempt, beat: job.beat, since: now };
        let bounded = self.bound.is_some();
        let ahead = u8::from(number == 0);
        let term = world.reapers[number].term;
        let reaper = &mut world.reapers[number];
        if bounded {
            reaper.next_sweep = now + 1;
        }
        if job.stage != Stage::Running {
            reaper.seen = None;
            return;
        }
        let silence = match self.design.judge {
            Judge::ServerAge => now - job.beat,
            Judge::ClientAge => now + ahead - job.beat,
            Judge::Observed => match reaper.seen {
                Some(seen) if seen.attempt == look.attempt && seen.beat == look.beat => now - seen.since,
                Some(_) | None => {
                    reaper.seen = Some(look);
                    0
                }
            },
        };
        if silence > self.threshold {
            reaper.seen = None;
            reaper.reap = Reap::Decided(look, term);
        }
    }

    /// A reap reads the lease. What it decided long ago is let go of where the lease is no longer its own.
    fn begin(&self, world: &mut World, number: usize) {
        let Reap::Decided(look, term) = world.reapers[number].reap else { return };
        let holds = world.lease.term == term && world.lease.expires > world.now;
        let passes = match self.design.fence {
            Fence::NoLease | Fence::Unfenced => true,
            Fence::Read | Fence::Locked => holds,
        };
        world.reapers[number].reap = if passes { Reap::Open(look, term) } else { Reap::Nothing };
    }

    /// A reap writes the job. Between its beginning and this it may have waited for the row.
    fn commit(&self, world: &mut World, number: usize) {
        let Reap::Open(look, term) = world.reapers[number].reap else { return };
        world.reapers[number].reap = Reap::Nothing;
        let same = world.seems_to_run(look.attempt) && world.job.beat == look.beat;
        let writes = if self.design.recheck { same } else { world.job.stage == Stage::Running };
        if writes {
            self.reap(world, Some(term));
        }
    }

    /// The write itself, and what it breaks.
    fn reap(&self, world: &mut World, term: Option<u8>) {
        let young = world.now - world.heard <= self.threshold;
        let current = term.is_some_and(|term| term != 0 && term == world.lease.term);
        broken(world, Promise::S1, young);
        broken(world, Promise::S2, !current);
        match self.design.ending {
            Ending::Requeue => world.job.stage = Stage::Queued,
            Ending::Cancel => {
                world.job.stage = Stage::Cancelled;
                broken(world, Promise::S4a, true);
            }
        }
    }

    /// How long the job has been without a worker, where somebody could give it one.
    fn watch(&self, world: &mut World) {
        let Some(bound) = self.bound else { return };
        let well = |health| health == Health::Well;
        let works = world.workers.iter().any(|worker| well(worker.health) && world.runs(worker.attempt));
        let could = world.workers.iter().any(|worker| well(worker.health))
            && world.reapers.iter().any(|reaper| !reaper.dead);
        let open = matches!(world.job.stage, Stage::Queued | Stage::Running);
        world.orphan = (open && could && !works).then(|| world.orphan.unwrap_or(world.now));
        let late = world.orphan.is_some_and(|since| world.now - since > bound);
        broken(world, Promise::L1, late);
    }
}

fn claim(world: &mut World, number: usize) {
    world.job.stage = Stage::Running;
    world.claims.made += 1;
    world.job.attempt = world.claims.made;
    (world.job.beat, world.heard) = (world.now, world.now);
    let worker = &mut world.workers[number];
    worker.attempt = world.job.attempt;
    worker.step = world.job.checkpoint;
    worker.next_beat = world.now + 1;
}

fn release(world: &mut World, number: usize) {
    let worker = &mut world.workers[number];
    worker.attempt = 0;
    worker.step = 0;
    worker.next_beat = 0;
}

fn kill(world: &mut World, number: usize) {
    world.faults.kills -= 1;
    world.reapers[number] = Reaper { dead: true, term: 0, seen: None, reap: Reap::Nothing, next_sweep: 0 };
}

fn broken(world: &mut World, promise: Promise, is: bool) {
    if is {
        world.broken |= promise as u8;
    }
}
