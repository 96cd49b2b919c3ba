//! The world: true time, a network that loses, doubles and delays, machines that stand still or end, and what must
//! hold all the while.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::dice::Dice;
use super::fault::Fault;
use super::judge::{Reaper, Ruled};
use super::message::{Answer, Ask};
use super::store::{Deed, Incarnation, JobRow, Stand, Store};
use super::worker::Worker;
use super::{BEAT_MS, END_MS, Off, SWEEP_MS, THRESHOLD_MS};

/// Who sends or hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Worker(usize),
    Reaper(usize),
}

#[derive(Debug, Clone)]
enum Event {
    /// A machine's own timer; void if the machine was started again since.
    Tick(Node, u64),
    ToStore(Node, u64, u64, Ask),
    ToNode(Node, u64, u64, Answer),
    Strike(Fault),
    /// What a fault has done is over.
    Over(Fault),
    Revive(usize),
    Flap {
        left: u64,
        up_ms: u64,
        down_ms: u64,
    },
}

/// The state of one machine.
#[derive(Debug, Clone, Default)]
pub(super) struct Machine {
    /// Counts its starts.
    start: u64,
    dead: bool,
    paused_until: u64,
    /// Until when it cannot send, or hear.
    cut_to: u64,
    cut_from: u64,
    /// Until when it has not found its way back to a store that restarted.
    lost_until: u64,
    /// Trouble of its own since its last accepted beat: what was, and since when more of it.
    trouble_ms: u64,
    troubled_since: Option<u64>,
}

pub(super) struct World {
    pub(super) now: u64,
    dice: Dice,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    next: u64,
    pub(super) store: Store,
    workers: Vec<Worker>,
    reapers: Vec<Reaper>,
    machines: BTreeMap<Node, Machine>,
    work: Vec<u64>,
    starts: u64,
    down_until: u64,
    stopped_until: u64,
    /// The store's clock: at which true moment it was what, and its rate in percent.
    clock: (u64, u64, u64),
    all_cut: Option<u64>,
    slow_until: u64,
    loss: (u64, u64),
    doubled: (u64, u64),
    late: (u64, u64),
    off: Option<Off>,
    /// Whether what happens is printed.
    pub(super) tells: bool,
    effects: Vec<u64>,
    pub(super) found: BTreeSet<String>,
    pub(super) faults: BTreeMap<&'static str, u64>,
    pub(super) reaps: u64,
    /// When each dead worker died, and whether that can be proven, until its job is reaped.
    pub(super) orphans: BTreeMap<Incarnation, (u64, bool)>,
    pub(super) waits: Vec<(u64, bool)>,
    /// Since when a worker works in vain.
    vain: BTreeMap<Incarnation, u64>,
    pub(super) longest_vain: u64,
}

impl World {
    pub(super) fn new(seed: u64, workers: usize, ttl_ms: u64, off: Option<Off>) -> Self {
        let mut dice = Dice::new(seed);
        let jobs = workers * 2;
        let work = (0..jobs).map(|_| dice.between(40, 160)).collect();
        let mut world = Self {
            now: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next: 0,
            store: Store::new(jobs, off),
            workers: Vec::new(),
            reapers: Vec::new(),
            machines: BTreeMap::new(),
            work,
            starts: 0,
            down_until: 0,
            stopped_until: 0,
            clock: (0, 20_000_000, 100),
            all_cut: None,
            slow_until: 0,
            loss: (0, 0),
            doubled: (0, 0),
            late: (0, 0),
            off,
            tells: false,
            effects: vec![0; jobs],
            found: BTreeSet::new(),
            faults: BTreeMap::new(),
            reaps: 0,
            orphans: BTreeMap::new(),
            waits: Vec::new(),
            vain: BTreeMap::new(),
            longest_vain: 0,
            dice,
        };
        for at in 0..workers {
            world.workers.push(Worker::new(0, 100));
            world.machines.insert(Node::Worker(at), Machine::default());
            world.start_worker(at);
        }
        for at in 0..2 {
            world.machines.insert(Node::Reaper(at), Machine::default());
            let rate = world.dice.between(80, 105);
            world.reapers.push(Reaper::new(0, rate, ttl_ms, off));
            world.start_reaper(at, ttl_ms);
        }
        world
    }

    pub(super) fn dice(&mut self) -> &mut Dice {
        &mut self.dice
    }

    pub(super) fn strike_at(&mut self, at: u64, fault: Fault) {
        self.push(at, Event::Strike(fault));
    }

    fn push(&mut self, at: u64, event: Event) {
        self.next += 1;
        self.queue.push(Reverse((at, self.next)));
        self.events.insert(self.next, event);
    }

    fn start_worker(&mut self, at: usize) {
        self.starts += 1;
        let rate = self.dice.between(80, 125);
        self.workers[at] = Worker::new(self.starts, rate);
        let first = self.now + self.dice.between(0, BEAT_MS);
        self.started(Node::Worker(at), first);
    }

    fn start_reaper(&mut self, at: usize, ttl_ms: u64) {
        self.starts += 1;
        let rate = self.reapers[at].rate;
        self.reapers[at] = Reaper::new(self.starts, rate, ttl_ms, self.off);
        let first = self.now + self.dice.between(0, SWEEP_MS);
        self.started(Node::Reaper(at), first);
    }

    fn started(&mut self, node: Node, first: u64) {
        let start = self.machine(node).start + 1;
        *self.machine(node) = Machine { start, ..Machine::default() };
        self.push(first, Event::Tick(node, start));
    }

    fn machine(&mut self, node: Node) -> &mut Machine {
        self.machines.get_mut(&node).unwrap()
    }

    fn store_us(&self) -> u64 {
        let (since, was, rate) = self.clock;
        (was + (self.now - since) * rate / 100) * 1000
    }

    fn set_clock(&mut self, jump_ms: i64, rate: u64) {
        let now = self.store_us() / 1000;
        self.clock = (self.now, now.saturating_add_signed(jump_ms), rate);
    }

    /// Lets everything happen until the end.
    pub(super) fn run(&mut self) {
        while let Some(Reverse((at, id))) = self.queue.pop() {
            // Once every job is done nothing can happen to one any more.
            if at > END_MS || self.undone() == 0 {
                break;
            }
            self.now = at;
            let event = self.events.remove(&id).unwrap();
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Tick(node, start) => self.tick(node, start),
            Event::ToStore(node, start, id, ask) => self.at_store(node, start, id, ask),
            Event::ToNode(node, start, id, answer) => self.at_node(node, start, id, answer),
            Event::Strike(fault) => {
                *self.faults.entry(fault.name()).or_default() += 1;
                if self.tells {
                    println!("{}: {fault:?}", self.now);
                }
                self.strike(fault);
            }
            Event::Over(fault) => self.over(fault),
            Event::Revive(at) => {
                if self.machine(Node::Worker(at)).dead {
                    self.start_worker(at);
                }
            }
            Event::Flap { left, up_ms, down_ms } => {
                self.restart(down_ms);
                if left > 0 {
                    let at = self.now + down_ms + up_ms;
                    self.push(at, Event::Flap { left: left - 1, up_ms, down_ms });
                }
            }
        }
    }

    fn tick(&mut self, node: Node, start: u64) {
        let now = self.now;
        let machine = self.machine(node);
        if machine.start != start || machine.dead {
            return;
        }
        if machine.paused_until > now {
            let at = machine.paused_until;
            self.push(at, Event::Tick(node, start));
            return;
        }
        let off = self.off;
        let (asks, every) = match node {
            Node::Worker(at) => {
                let (asks, effect) = self.workers[at].tick(now, off, &mut self.next);
                if let Some((job, token)) = effect {
                    self.effect(job, token);
                }
                self.look_for_vain(at);
                (asks, BEAT_MS)
            }
            Node::Reaper(at) => (self.reapers[at].tick(now, &mut self.next), SWEEP_MS),
        };
        for (id, ask) in asks {
            self.send(node, id, ask);
        }
        let jitter = self.dice.between(0, every / 20);
        self.push(now + every - jitter, Event::Tick(node, start));
    }

    /// Something that cannot be taken back is done for a job. It must not be for an attempt after which another one
    /// has done something already.
    fn effect(&mut self, job: usize, token: u64) {
        if token < self.effects[job] {
            self.found.insert("two attempts at one job had effects at once".to_owned());
        }
        self.effects[job] = self.effects[job].max(token);
    }

    fn look_for_vain(&mut self, at: usize) {
        let worker = &self.workers[at];
        let vain = worker.attempt.as_ref().is_some_and(|attempt| {
            let row = &self.store.jobs[attempt.job];
            row.token != attempt.token || row.stand != Stand::Running(worker.who) && row.stand != Stand::Done
        });
        let who = worker.who;
        if vain {
            let since = *self.vain.entry(who).or_insert(self.now);
            self.longest_vain = self.longest_vain.max(self.now - since);
        } else {
            self.vain.remove(&who);
        }
    }

    fn way(&mut self, node: Node) -> u64 {
        let mut way = self.dice.between(1, 40);
        if self.slow_until > self.now {
            way += match node {
                Node::Reaper(_) => self.dice.between(3_850, 4_350),
                Node::Worker(_) => self.dice.between(85_000, 105_000),
            };
        }
        if self.late.0 > self.now && self.dice.chance(self.late.1) {
            way += self.dice.between(1_000, THRESHOLD_MS * 2);
        }
        way
    }

    fn copies(&mut self) -> u64 {
        if self.loss.0 > self.now && self.dice.chance(self.loss.1) {
            return 0;
        }
        if self.doubled.0 > self.now && self.dice.chance(self.doubled.1) { 2 } else { 1 }
    }

    fn send(&mut self, node: Node, id: u64, ask: Ask) {
        let now = self.now;
        let cut_all = matches!(node, Node::Worker(_)) && self.all_cut.is_some();
        let machine = self.machine(node);
        let start = machine.start;
        if cut_all || machine.cut_to > now || machine.lost_until > now {
            return;
        }
        // A reaper may stand still between its decision and its write.
        let still = match ask {
            Ask::Reap { .. } if self.dice.chance(20) => {
                let still = self.dice.between(0, THRESHOLD_MS);
                self.pause(node, still);
                still
            }
            Ask::Reap { .. } if self.dice.chance(200) => self.dice.between(0, SWEEP_MS),
            _ => 0,
        };
        for _ in 0..self.copies() {
            let at = now + still + self.way(node);
            self.push(at, Event::ToStore(node, start, id, ask.clone()));
        }
    }

    fn at_store(&mut self, node: Node, start: u64, id: u64, ask: Ask) {
        if self.down_until > self.now {
            return;
        }
        if self.stopped_until > self.now {
            let at = self.stopped_until;
            self.push(at, Event::ToStore(node, start, id, ask));
            return;
        }
        let answer = self.store.step(&ask, self.store_us());
        self.check();
        let Some(answer) = answer else { return };
        if self.machine(node).cut_from > self.now {
            return;
        }
        for _ in 0..self.copies() {
            let at = self.now + self.way(node);
            self.push(at, Event::ToNode(node, start, id, answer.clone()));
        }
    }

    fn at_node(&mut self, node: Node, start: u64, id: u64, answer: Answer) {
        let now = self.now;
        let machine = self.machine(node);
        if machine.start != start || machine.dead {
            return;
        }
        if machine.paused_until > now {
            let at = machine.paused_until;
            self.push(at, Event::ToNode(node, start, id, answer));
            return;
        }
        match node {
            Node::Worker(at) => self.workers[at].hear(id, &answer, &self.work, now, self.off),
            Node::Reaper(at) => {
                let (asks, ruled) = self.reapers[at].hear(id, answer, now, &mut self.next);
                if let Some(ruled) = ruled {
                    self.check_ruling(&ruled);
                }
                for (id, ask) in asks {
                    self.send(node, id, ask);
                }
            }
        }
    }

    fn check_ruling(&mut self, ruled: &Ruled) {
        if ruled.silent > ruled.most {
            self.found.insert("one pass condemned more than the brake allows".to_owned());
        }
    }

    /// Looks at what the store has just done.
    fn check(&mut self) {
        for deed in std::mem::take(&mut self.store.deeds) {
            let broken = match deed {
                Deed::Beat(who) => {
                    self.accepted(who);
                    continue;
                }
                Deed::Reaped { of, under, now, proven } => {
                    self.reaped(of, under, now, proven);
                    continue;
                }
                Deed::SpentAccepted => "a write with a spent token was accepted",
                Deed::WentBack => "a checkpoint went back",
                Deed::DoneTwice => "a job was done twice",
            };
            self.found.insert(broken.to_owned());
        }
    }

    fn place_of(&self, who: Incarnation) -> Option<usize> {
        self.workers.iter().position(|worker| worker.who == who)
    }

    fn accepted(&mut self, who: Incarnation) {
        let Some(at) = self.place_of(who) else { return };
        let (now, troubled) = (self.now, self.is_troubled(at));
        let machine = self.machine(Node::Worker(at));
        (machine.trouble_ms, machine.troubled_since) = (0, troubled.then_some(now));
    }

    fn is_troubled(&mut self, at: usize) -> bool {
        let (now, stuck) = (self.now, self.workers[at].stuck);
        let cut = self.all_cut.is_some();
        let machine = self.machine(Node::Worker(at));
        stuck || cut || machine.dead || machine.paused_until > now || machine.cut_to > now
    }

    /// Trouble of a worker began or ended.
    fn note_trouble(&mut self, at: usize) {
        let (now, troubled) = (self.now, self.is_troubled(at));
        let machine = self.machine(Node::Worker(at));
        if let Some(since) = machine.troubled_since.take() {
            machine.trouble_ms += now - since;
        }
        machine.troubled_since = troubled.then_some(now);
    }

    fn reaped(&mut self, of: Incarnation, under: u64, now: u64, proven: bool) {
        self.reaps += 1;
        if let Some((died, provable)) = self.orphans.remove(&of) {
            self.waits.push((self.now - died, provable));
        }
        if under != now {
            self.found.insert("a reap was accepted under a term that was over".to_owned());
        }
        let Some(at) = self.place_of(of) else { return };
        let (moment, mass) = (self.now, self.all_cut.map(|since| self.now - since));
        let busy = self.store.jobs.iter().filter(|job| matches!(job.stand, Stand::Running(_))).count();
        let machine = self.machine(Node::Worker(at));
        let own = machine.trouble_ms + machine.troubled_since.map_or(0, |since| moment - since);
        if proven && !machine.dead {
            self.found.insert("a living worker was reaped as dead for certain".to_owned());
        }
        // Judges' clocks run at up to 105 %, and a beat that is on its way is no silence of the worker's.
        if self.tells {
            println!(
                "{moment}: worker {of} at {at} reaped, own trouble {own}, proven {proven}, all cut {mass:?}"
            );
        }
        if !proven && own < THRESHOLD_MS * 95 / 100 - SWEEP_MS {
            self.found
                .insert("a worker was reaped that had no trouble of its own for its threshold".to_owned());
        }
        if !proven && busy >= 8 && mass.is_some_and(|lasted| own <= lasted && lasted < THRESHOLD_MS * 3 / 2) {
            self.found.insert("a worker was reaped while all were cut off".to_owned());
        }
    }

    fn restart(&mut self, down_ms: u64) {
        self.down_until = self.now + down_ms;
        self.store.run += 1;
        for at in 0..self.workers.len() {
            // Some find their way back soon, and some late.
            let slow = self.workers[at].who.is_multiple_of(2);
            let (soonest, latest) = if slow { (15_000, super::GRACE_MS) } else { (0, 5_000) };
            let back = self.down_until + self.dice.between(soonest, latest);
            self.machine(Node::Worker(at)).lost_until = back;
        }
    }

    fn strike(&mut self, fault: Fault) {
        let now = self.now;
        match fault {
            Fault::StorePause(ms) => self.stopped_until = now + ms,
            Fault::StoreRestart(ms) => self.restart(ms),
            Fault::StoreFlaps { times, up_ms, down_ms } => {
                self.push(now, Event::Flap { left: times, up_ms, down_ms });
            }
            Fault::ReadOnly(ms) => self.until(ms, fault, |world| world.store.writable = false),
            Fault::ClockForward(ms) => self.set_clock(i64::try_from(ms).unwrap(), self.clock.2),
            Fault::ClockBack(ms) => self.set_clock(-i64::try_from(ms).unwrap(), self.clock.2),
            Fault::ClockRate(rate) => self.until(THRESHOLD_MS * 5, fault, |world| world.set_clock(0, rate)),
            Fault::WorkerPause(at, ms) => {
                self.until(ms, fault, |world| world.pause(Node::Worker(at), ms));
            }
            Fault::WorkerCrash { worker, proven, away_ms } => self.crash(worker, proven, away_ms),
            Fault::WorkerGoes { worker, away_ms } => self.go(worker, away_ms),
            Fault::BeatsStuck(at, ms) => self.until(ms, fault, |world| world.stick(at, true)),
            Fault::WorkerCut { worker, to, from, ms } => self.until(ms, fault, |world| {
                world.cut(Node::Worker(worker), to, from, ms);
            }),
            Fault::WorkersCut(ms) => self.until(ms, fault, |world| world.all_cut = Some(now)),
            Fault::ReaperPause(at, ms) => self.pause(Node::Reaper(at), ms),
            Fault::ReaperCrash(at) => self.start_reaper(at, self.reapers[at].ttl_ms()),
            Fault::ReaperReleases(at) => {
                for (id, ask) in self.reapers[at].release(&mut self.next) {
                    self.send(Node::Reaper(at), id, ask);
                }
            }
            Fault::ReaperCut { reaper, to, from, ms } => self.cut(Node::Reaper(reaper), to, from, ms),
            Fault::JobHeld(job) => self.until(THRESHOLD_MS, fault, |world| world.store.hold(job, true)),
            Fault::Congestion(ms) => self.slow_until = now + ms,
            Fault::Loss { per_mille, ms } => self.loss = (now + ms, per_mille),
            Fault::Doubled { per_mille, ms } => self.doubled = (now + ms, per_mille),
            Fault::Late { per_mille, ms } => self.late = (now + ms, per_mille),
        }
    }

    fn until(&mut self, ms: u64, fault: Fault, begin: impl FnOnce(&mut Self)) {
        begin(self);
        (0..self.workers.len()).for_each(|at| self.note_trouble(at));
        self.push(self.now + ms, Event::Over(fault));
    }

    fn over(&mut self, fault: Fault) {
        match fault {
            Fault::ReadOnly(_) => self.store.writable = true,
            Fault::ClockRate(_) => self.set_clock(0, 100),
            Fault::BeatsStuck(at, _) => self.stick(at, false),
            Fault::WorkersCut(_) => self.all_cut = None,
            Fault::JobHeld(job) => self.store.hold(job, false),
            _ => {}
        }
        (0..self.workers.len()).for_each(|at| self.note_trouble(at));
    }

    fn pause(&mut self, node: Node, ms: u64) {
        let until = self.now + ms;
        let machine = self.machine(node);
        machine.paused_until = machine.paused_until.max(until);
    }

    fn cut(&mut self, node: Node, to: bool, from: bool, ms: u64) {
        let until = self.now + ms;
        let machine = self.machine(node);
        machine.cut_to = if to { machine.cut_to.max(until) } else { machine.cut_to };
        machine.cut_from = if from { machine.cut_from.max(until) } else { machine.cut_from };
    }

    fn stick(&mut self, at: usize, stuck: bool) {
        if self.machine(Node::Worker(at)).dead {
            return;
        }
        self.workers[at].stuck = stuck;
    }

    fn crash(&mut self, at: usize, proven: bool, away_ms: u64) {
        if self.machine(Node::Worker(at)).dead {
            return;
        }
        self.stick(at, false);
        let who = self.workers[at].who;
        self.machine(Node::Worker(at)).dead = true;
        self.note_trouble(at);
        if self.store.jobs.iter().any(|job| job.stand == Stand::Running(who)) {
            self.orphans.insert(who, (self.now, proven));
        }
        if let Some(row) = self.store.workers.get_mut(&who).filter(|_| proven) {
            row.proof = Some(crate::reaper::Proof::ProcessGone);
        }
        self.push(self.now + away_ms, Event::Revive(at));
    }

    fn go(&mut self, at: usize, away_ms: u64) {
        if self.machine(Node::Worker(at)).dead {
            return;
        }
        self.next += 1;
        let (id, who) = (self.next, self.workers[at].who);
        self.send(Node::Worker(at), id, Ask::Goodbye(who));
        self.stick(at, false);
        self.machine(Node::Worker(at)).dead = true;
        self.note_trouble(at);
        self.push(self.now + away_ms, Event::Revive(at));
    }

    /// Jobs that did not get done.
    pub(super) fn undone(&self) -> usize {
        self.store.jobs.iter().filter(|job: &&JobRow| job.stand != Stand::Done).count()
    }
}
